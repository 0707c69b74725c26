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
    """Some rows of a data set with the texts they are trained on."""

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
        # The part is gathered once: an epoch then reads memory, whatever the disk does.
        if frame is None:
            pixels = torch.from_numpy(np.ascontiguousarray(dataset.pixels[rows])).unsqueeze(1)
            self._images = _shrink(pixels, image_size).to(device)
        else:
            framed = [frame(_picture(dataset, row)) for row in rows]
            # A small fold may leave no image with a text to the validation part.
            empty = np.empty((0, image_size, image_size), np.uint8)
            stacked = np.stack(framed) if framed else empty
            self._images = torch.from_numpy(stacked).unsqueeze(1).to(device)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, places: np.ndarray, moves: np.ndarray | None = None) -> Batch:
        """The images at `places`, counted within this split, moved by (B, 2) pixels."""
        rows = self.rows[places]
        images = self._images[torch.from_numpy(places).to(self.device)]
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
        reach = round(shift * self._images.shape[-1])
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
        yield from self._images.split(EVALUATION_BATCH)

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
    blocks = [
        torch.nn.functional.interpolate(
            block.float(), size=(size, size), mode="bicubic", antialias=True
        )
        .clamp_(0, 255)
        .round_()
        .to(torch.uint8)
        for block in images.split(EVALUATION_BATCH)
    ]
    return torch.cat(blocks)
