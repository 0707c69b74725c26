"""What dual encoders from other libraries share: pixels as their authors normalise them, the loss
of their family, and cosine scores under the common prompts.

The model decides its size, its normalisation, its tokens and its loss; nothing here is tuned.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import MethodError
from bench.protocol.batches import Batch
from bench.protocol.config import Config
from bench.protocol.method import Method
from bench.protocol.prompts import Prompts
from bench.protocol.weights import Checkpoint

MAX_LOGIT_SCALE = math.log(100)
# Pictures are kept at this size, for the authors' own resampling to start from.
KEPT_SIZE = 512


@dataclass(frozen=True)
class DualEncoderConfig(Config):
    """The common recipe; `upstream` frames pictures by the model's own preprocessing file."""

    @classmethod
    def upstream(cls) -> Self:
        """The paper's recipe for fine-tuning, on pictures framed by the model's own settings."""
        return replace(cls.paper(), preset="upstream", preprocessing="own", image_size=KEPT_SIZE)


@dataclass(frozen=True)
class Normalisation:
    """(pixel * scale - mean) / std for 0..255 pixels, with a mean and std for each channel."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1 / 255

    def __call__(self, images: Tensor) -> Tensor:
        """(N, 3, size, size) of (N, 1, S, S) uint8 images; other sizes are resampled."""
        pixels = images.float()
        if pixels.shape[-1] != self.size:
            pixels = F.interpolate(
                pixels, size=(self.size, self.size), mode="bicubic", antialias=True
            ).clamp_(0, 255)
        mean = torch.tensor(self.mean, device=pixels.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(-1, 1, 1)
        return (pixels * self.scale - mean) / std


class DualEncoder(Method, abc.ABC):
    """A model of one image and one text tower; a subclass opens it and calls its towers."""

    Config = DualEncoderConfig
    made_by_build = ("normalise", "_preprocess", "_processor", "_tokenizer")
    normalise: Normalisation
    """Set by `build`."""

    @abc.abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """(N, d) unit embeddings of (N, 1, S, S) uint8 images."""

    @abc.abstractmethod
    def encode_text(self, texts: list[str]) -> Tensor:
        """(n, d) unit embeddings."""

    @property
    @abc.abstractmethod
    def towers(self) -> Any:
        """The library's model, with `logit_scale` and, for SigLIP's loss, `logit_bias`."""

    def loss(self, batch: Batch) -> Tensor:
        """InfoNCE, or SigLIP's loss over all pairs for a model that has a bias.

        Equal texts of a batch are encoded once and are each other's negatives, as upstream.
        """
        distinct = list(dict.fromkeys(batch.texts))
        place = {text: index for index, text in enumerate(distinct)}
        gather = torch.tensor([place[text] for text in batch.texts], device=batch.images.device)
        images, texts = self.embed(batch.images), self.encode_text(distinct)[gather]
        with torch.autocast(images.device.type, enabled=False):
            cosines = images.float() @ texts.float().T
        bias = getattr(self.towers, "logit_bias", None)
        if bias is None:
            logits = self.towers.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp() * cosines
            target = torch.arange(len(cosines), device=cosines.device)
            return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        logits = self.towers.logit_scale.exp() * cosines + bias
        sign = 2 * torch.eye(len(cosines), device=cosines.device) - 1
        return -F.logsigmoid(sign * logits).sum() / len(cosines)

    def score(self, images: Tensor, prompts: Prompts) -> Tensor:
        """Cosine with the positive text, less the negative one's where there is one.

        Neither the scale nor the bias, which are the same for all images, changes a ranking.
        """
        return self.ask(prompts)(self.encode(images))

    def encode(self, images: Tensor) -> Any:
        return self.embed(images)

    def ask(self, prompts: Prompts) -> Callable[[Any], Tensor]:
        positive, negative = self._asked(prompts)
        if negative is None:
            return lambda embedded: embedded @ positive.T
        return lambda embedded: embedded @ positive.T - embedded @ negative.T

    def diagnostics(self) -> dict[str, Any]:
        return {
            "image_size": self.normalise.size,
            "logit_scale": float(self.towers.logit_scale.detach().exp()),
        }

    def _asked(self, prompts: Prompts) -> tuple[Tensor, Tensor | None]:
        """Embeddings of the prompts, made once for as long as no parameter changes."""
        if torch.is_grad_enabled():
            return self._encoded(prompts)
        version = sum(parameter._version for parameter in self.model.parameters())
        key = (prompts, version, id(self.model))
        if getattr(self, "_kept_for", None) != key:
            self._kept, self._kept_for = self._encoded(prompts), key
        return self._kept

    def _encoded(self, prompts: Prompts) -> tuple[Tensor, Tensor | None]:
        negative = None
        if prompts.negative is not None:
            negative = self.encode_text(list(prompts.negative))
        return self.encode_text(list(prompts.positive)), negative

    def _only(self, checkpoints: Sequence[Checkpoint]) -> Checkpoint:
        """The one checkpoint there has to be.

        Raises:
            MethodError: there is none, or there are several.
        """
        if len(checkpoints) != 1:
            raise MethodError(
                f"{self.card.title} is one model, given by --weights hf-hub:OWNER/NAME or "
                f"--weights local-dir:FOLDER; {len(checkpoints)} were given."
            )
        return checkpoints[0]


def square(size: Any, where: str) -> int:
    """The side of a square input.

    Raises:
        MethodError: it is not square.
    """
    sides = set(size) if isinstance(size, (tuple, list)) else {size}
    if len(sides) != 1:
        raise MethodError(f"{where} takes images of {size} pixels; only squares are supported.")
    return int(sides.pop())


def trainable(model: nn.Module) -> nn.Module:
    """The model in 32-bit floats with every parameter trained."""
    return model.float().requires_grad_(True)
