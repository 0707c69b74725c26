"""The configuration of the CLIP-type methods."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from bench.errors import UsageError
from bench.protocol.config import Config, added


@dataclass(frozen=True)
class ClipConfig(Config):
    """The recipe plus the choice of towers."""

    tower: Literal["tiny", "ViT-B-32-quickgelu"] = "tiny"
    """Without `--weights`, whose shapes decide."""
    max_scale: float | None = added(100.0)
    """Largest factor of the cosines in the loss; None = as large as training makes it."""
    antialias: bool = added(True)
    """Whether pixels are smoothed where images are resized to the tower's resolution."""
    templates: str = added("{}")
    """Prompt ensemble: texts around each prompt, `|` between them; a class is then asked by the
    mean of their embeddings."""
    equal_texts: Literal["negatives", "shared"] = added("negatives")
    """Images of a batch with one text: each other's negatives, as upstream, or joint targets."""

    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        **Config.RANGES,
        "max_scale": (1, math.inf),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all("{}" in template for template in self.templates.split("|")):
            raise UsageError(f"templates={self.templates}: every template needs a {{}}.")

    @classmethod
    def paper(cls) -> Self:
        """ViT-B/32 at 224 pixels with the activation that OpenAI's weights were trained with."""
        return replace(super().paper(), tower="ViT-B-32-quickgelu")
