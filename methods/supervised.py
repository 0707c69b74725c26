"""The supervised reference: the CLIP-type methods' image tower with a linear head on the labels.

Not a vision-language method and no competitor: it is told the answers that the others read from
text, so it says how much of the labels such a tower can see at all, and where the ceiling of a data
set lies. It knows the classes it was built with and reads no prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import MethodError
from bench.protocol.batches import Batch
from bench.protocol.config import Config
from bench.protocol.method import Card, Method
from bench.protocol.prompts import Prompts
from methods._clip import ClipTowers


@dataclass(frozen=True)
class SupervisedConfig(Config):
    """The common recipe plus the choice of the image tower."""

    tower: Literal["tiny", "ViT-B-32-quickgelu"] = "tiny"

    @classmethod
    def paper(cls) -> Self:
        """ViT-B/32 at 224 pixels, as the CLIP-type methods."""
        return replace(super().paper(), tower="ViT-B-32-quickgelu")


class Supervised(Method):
    """Mean binary cross-entropy over the labels that are known."""

    card = Card(title="Supervised (reference)", citation="cxr-bench", licence="MIT")
    Config: ClassVar[type[Config]] = SupervisedConfig
    made_by_build = ("_pixels",)
    model: Any

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        towers = ClipTowers(self.config.tower, vocabulary_size=1)
        self._pixels = towers.pixels
        self._place = {name: index for index, name in enumerate(classes)}
        image = towers.clip.visual
        with torch.no_grad():
            width = image(self._pixels(torch.zeros(2, 1, 64, 64, dtype=torch.uint8))).shape[1]
        return nn.ModuleDict({"image": image, "head": nn.Linear(width, len(classes))}).to(device)

    def loss(self, batch: Batch) -> Tensor:
        wrong = F.binary_cross_entropy_with_logits(
            self._logits(batch.images), batch.labels.float(), reduction="none"
        )
        return (wrong * batch.mask).sum() / batch.mask.sum().clamp(min=1)

    def score(self, images: Tensor, prompts: Prompts) -> Tensor:
        return self.ask(prompts)(self.encode(images))

    def encode(self, images: Tensor) -> Any:
        return self._logits(images)

    def ask(self, prompts: Prompts) -> Callable[[Any], Tensor]:
        unknown = [name for name in prompts.classes if name not in self._place]
        if unknown:
            raise MethodError(
                f"A supervised head answers for its {len(self._place)} classes only, not for "
                f"{', '.join(unknown)}."
            )
        columns = [self._place[name] for name in prompts.classes]
        return lambda logits: logits[:, columns]

    def embed(self, images: Tensor) -> Tensor:
        return self.model["image"](self._pixels(images))

    def _logits(self, images: Tensor) -> Tensor:
        return self.model["head"](self.embed(images))
