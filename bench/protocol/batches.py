"""Rows of a data set as batches: pixels stay uint8 and one channel until a method wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from bench.data import Dataset
    from bench.protocol.method import Method

EVALUATION_BATCH = 128  # what a core's cache holds; 256 took 1.4 times as long an image
# Bytes of images that a process on the CPU prepares once and keeps, beside others like it.
_IN_MEMORY = 2**29
# Of the free memory of a GPU: the rest is for the model, its activations and its neighbours.
_SHARE_OF_GPU = 0.5


@dataclass(frozen=True)
class Batch:
    """What a loss sees."""

    images: Tensor
    """(B, 1, S, S) uint8."""
    texts: list[str]
    """What is trained on: `captions` or `reports`, as the configuration's `text` says."""
    captions: list[str]
    reports: list[str]
    labels: Tensor
    """(B, C) uint8, read only where `mask` is set."""
    mask: Tensor
    """(B, C) bool."""
    rows: Tensor
    """(B,) int64, the images' places in the data set: a key for what a method keeps per image."""


class Split:
    """Some rows of a data set with the texts they are trained on.

    Pixels stay where they are cheapest to read batch by batch. On the CPU those of the stored size
    are read from the data set, whose memory map all processes of a machine share; on a GPU they lie
    there as uint8 when they fit. What has to be shrunk or framed first is prepared once where it
    fits in memory, and anew for every batch where it does not, with the same result.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: np.ndarray,
        captions: tuple[str, ...],
        texts: tuple[str, ...],
        image_size: int,
        device: torch.device,
        frame: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """
        Args:
            image_size: longest side of a picture in pixels; smaller ones are used as they are.
            frame: makes a method's own (S, S) input of a picture without padding; without it
                images are the padded squares that all methods share.
        """
        self.dataset = dataset
        self.rows = rows
        self.device = device
        self._captions = captions
        self._texts = texts
        self._reports = dataset.reports
        self._image_size = image_size
        self._frame = frame
        self.side = self._side()
        """Of the images of a batch, in pixels."""
        self._ready = self._resident() if self._fits() else None

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, places: np.ndarray, moves: np.ndarray | None = None) -> Batch:
        """The images at `places`, counted within this split, moved by (B, 2) pixels."""
        rows = self.rows[places]
        images = self._at(places)
        return Batch(
            images=images if moves is None else _move(images, moves),
            texts=[self._texts[row] for row in rows],
            captions=[self._captions[row] for row in rows],
            reports=[self._reports[row] for row in rows],
            labels=torch.from_numpy(self.dataset.labels[rows]).to(self.device),
            mask=torch.from_numpy(self.dataset.mask[rows]).to(self.device),
            rows=torch.from_numpy(rows.astype(np.int64)).to(self.device),
        )

    def batches(
        self,
        size: int,
        rng: np.random.Generator,
        *,
        order: np.ndarray | None = None,
        shift: float = 0.0,
        words: Callable[[int, np.random.Generator], str] | None = None,
    ) -> Iterator[Batch]:
        """Full batches in random order; a smaller one only when there is no full one.

        In-batch contrast and batch statistics need comparable batches, and under a fresh order
        every epoch each image is seen all the same.

        Args:
            order: the places of the split in the order of an epoch, instead of a random one.
            shift: images are moved by up to this share of their side in both directions.
            words: the text of the image in a row of the data set, instead of its own.
        """
        if order is None:
            order = rng.permutation(len(self))
        reach = round(shift * self.side)
        moves = rng.integers(-reach, reach + 1, (len(order), 2)) if reach else None
        full = max(1, len(order) // size)
        for start in range(0, full * size, size):
            part = slice(start, start + size)
            batch = self.batch(order[part], None if moves is None else moves[part])
            if words is not None:
                batch = replace(batch, texts=[words(row, rng) for row in self.rows[order[part]]])
            yield batch

    def images(self) -> Iterator[Tensor]:
        """All images in row order, in evaluation batches."""
        if self._ready is not None:
            yield from self._ready.split(EVALUATION_BATCH)
            return
        for start in range(0, max(1, len(self)), EVALUATION_BATCH):
            yield self._prepared(self.rows[start : start + EVALUATION_BATCH]).to(self.device)

    @torch.no_grad()
    def embed(self, method: Method) -> Tensor:
        """(N, d) embeddings of all images in row order, in evaluation mode without gradient."""
        was_training = method.model.training
        method.model.eval()
        parts = []
        for images in self.images():
            part = method.embed(images)
            if part is None:
                raise TypeError(f"{type(method).__name__}.embed returned None")
            parts.append(part)
        method.model.train(was_training)
        return torch.cat(parts)

    def _side(self) -> int:
        if self._frame is None:
            return min(self.dataset.size, self._image_size)
        # A small fold may leave no image with a text to the validation part.
        return self._prepared(self.rows[:1]).shape[-1] if len(self) else self._image_size

    def _fits(self) -> bool:
        """Whether all images are made ready at once: they fit, and that saves work."""
        size = len(self) * self.side**2
        if self.device.type == "cuda":
            return size <= _SHARE_OF_GPU * torch.cuda.mem_get_info(self.device)[0]
        as_stored = self._frame is None and self.side == self.dataset.size
        return not as_stored and size <= _IN_MEMORY

    def _resident(self) -> Tensor:
        """(N, 1, S, S) images on the device, made ready block by block."""
        shape = (len(self), 1, self.side, self.side)
        ready = torch.empty(shape, dtype=torch.uint8, device=self.device)
        for start in range(0, len(self), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            ready[part] = self._prepared(self.rows[part])
        return ready

    def _at(self, places: np.ndarray) -> Tensor:
        """(B, 1, S, S) images on the device."""
        if self._ready is None:
            return self._prepared(self.rows[places]).to(self.device)
        return self._ready[torch.from_numpy(places).to(self.device)]

    def _prepared(self, rows: np.ndarray) -> Tensor:
        """(B, 1, S, S) images of some rows of the data set, on the CPU."""
        if self._frame is None or not len(rows):
            return _shrink(_gathered(self.dataset.pixels, rows), self._image_size)
        framed = [self._frame(_picture(self.dataset, row)) for row in rows]
        return torch.from_numpy(np.stack(framed)).unsqueeze(1)


def _gathered(pixels: np.ndarray, rows: np.ndarray) -> Tensor:
    """(B, 1, S, S) a copy of some rows of (N, S, S) uint8 pixels."""
    images = torch.empty((len(rows), 1, *pixels.shape[1:]), dtype=torch.uint8)
    # "clip" writes into `out` directly; under "raise" numpy gathers into a buffer first. Rows come
    # from the folds and are all there.
    np.take(pixels, rows, axis=0, out=images[:, 0].numpy(), mode="clip")
    return images


def _picture(dataset: Dataset, row: int) -> np.ndarray:
    """The (h, w) uint8 picture of a row without the padding around it."""
    top, left, height, width = dataset.boxes[row]
    return np.ascontiguousarray(dataset.pixels[row, top : top + height, left : left + width])


def _move(images: Tensor, moves: np.ndarray) -> Tensor:
    """(B, 1, S, S) images moved by (B, 2) pixels down and right; edge pixels are repeated."""
    side = images.shape[-1]
    steps = torch.arange(side, device=images.device) - torch.from_numpy(moves).to(
        images.device
    ).unsqueeze(-1)
    down, right = steps.clamp_(0, side - 1).unbind(1)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    return images[image, 0, down[:, :, None], right[:, None, :]].unsqueeze(1)


def _shrink(images: Tensor, size: int) -> Tensor:
    """(N, 1, S, S) uint8 at most `size` pixels a side, by antialiased bicubic resampling."""
    if images.shape[-1] <= size:
        return images
    return (
        torch.nn.functional.interpolate(
            images.float(), size=(size, size), mode="bicubic", antialias=True
        )
        .clamp_(0, 255)
        .round_()
        .to(torch.uint8)
    )
