"""SLIP (Mu et al., ECCV 2022): CLIP with a SimCLR loss on two more views of every image.

Towers, losses and the preset `upstream` are those of facebookresearch/SLIP@c6faf5d. On grey images
hue, saturation and conversion to grey, which its views go through, change nothing and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from bench.classes import spelled
from bench.errors import MethodError
from bench.protocol.batches import Batch
from bench.protocol.captions import absence
from bench.protocol.method import Card, Fit, Weights
from bench.protocol.prompts import POLICIES, Policy, Prompts
from bench.protocol.weights import Checkpoint, fit_of, load_strictly
from methods import _slip
from methods._augment import (
    brightness_contrast,
    gaussian_blur,
    horizontal_flip,
    random_resized_crop,
)
from methods._clip import ClipMethod
from methods._clip_config import ClipConfig
from methods._slip import SlipSizes, SlipTowers, TinySlipTowers
from methods._tokens import Tokens

SIDE = 224
OWN_TEMPLATE = "a {}."
"""What upstream asks with in its one task that is measured by AUC (HatefulMemes)."""


@dataclass(frozen=True)
class SlipConfig(ClipConfig):
    """CLIP's recipe with the SSL branch."""

    tower: Literal["tiny", "small", "base", "large"] = "tiny"  # type: ignore[assignment]
    ssl_scale: float = 1.0
    """Weight of the SimCLR loss."""
    ssl_temperature: float = 0.1
    ssl_mlp_dim: int = 256
    ssl_emb_dim: int = 64
    view: float = 0.5
    """Side of the two SSL views as a share of the image's; of the tower's, but for `tiny`."""
    keep_end: bool = True
    """Long texts keep their end token; upstream's do not (`Tokens`)."""
    groups: Literal["common", "own"] = "common"
    """Which parameters decay, and AdamW's betas: as for all methods, or upstream's."""

    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        **ClipConfig.RANGES,
        "ssl_scale": (0, float("inf")),
        "ssl_temperature": (1e-3, float("inf")),
        "ssl_mlp_dim": (1, float("inf")),
        "ssl_emb_dim": (1, float("inf")),
        "view": (0.1, 1),
    }

    @classmethod
    def paper(cls) -> Self:
        """SLIP's ViT-B/16 with its SSL head."""
        return replace(super().paper(), tower="base", ssl_mlp_dim=4096, ssl_emb_dim=256, view=1.0)

    @classmethod
    def upstream(cls) -> Self:
        """The authors' recipe with its rate scaled from a batch of 4096 to one of 32."""
        return replace(
            cls.paper(),
            preset="upstream",
            image_size=256,
            preprocessing="own",
            epochs=25,
            lr=3e-3 * 32 / 4096,
            weight_decay=0.1,
            schedule="own",
            early_stop=None,
            select="last",
            groups="own",
        )


class Slip(ClipMethod):
    """CLIP's loss plus SimCLR's; the validation loss is CLIP's alone, which draws nothing."""

    card = Card(
        title="SLIP",
        citation="Mu et al., ECCV 2022 (arXiv 2112.12750)",
        licence="code MIT; weights MIT with the code",
        weights=tuple(
            Weights(f"slip_{size}_{epochs}ep.pt", None, "dl.fbaipublicfiles.com/slip/")
            for size in ("small", "base", "large")
            for epochs in (25, 50, 100)
        ),
        seen=("YFCC15M",),
    )
    Config = SlipConfig
    policies = (*POLICIES, "own")

    def tokens(self, texts: Sequence[str], *, compact: bool) -> Tokens:
        pieces, keep_end = self.vocabulary, self.config.keep_end
        return Tokens(texts, compact=compact, keep_end=keep_end, pieces=pieces)

    def towers(self, checkpoint: Checkpoint | None) -> nn.Module:
        config = self.config
        head = (config.ssl_mlp_dim, config.ssl_emb_dim)
        if checkpoint is None and config.tower == "tiny":
            return TinySlipTowers(self._tokens.vocabulary_size, head)
        if checkpoint is None:
            sizes = SlipSizes.of_tower(config.tower, head)
            return SlipTowers(sizes, antialias=config.antialias)
        where = checkpoint.reference
        try:
            sizes = SlipSizes.of_state(checkpoint.state)
        except (KeyError, ValueError) as error:
            raise MethodError(
                f"{where} holds no towers of SLIP's, which come as files. See: bench weights"
            ) from error
        towers = SlipTowers(sizes, antialias=config.antialias)
        load_strictly(towers, checkpoint.state, where=where)
        if sizes.head is None:
            # The SSL branch starts anew; scores do not go through it.
            towers.image_mlp = _slip.ssl_head(sizes.vision_width, *head)
        return towers

    @classmethod
    def fit(cls, state: Mapping[str, Tensor]) -> Fit | None:
        try:
            sizes = SlipSizes.of_state(state)
            with torch.device("meta"):
                expected = SlipTowers(sizes).state_dict()
        except (KeyError, ValueError, AssertionError):  # shapes of something else
            sizes = SlipSizes()
            with torch.device("meta"):
                expected = SlipTowers(sizes).state_dict()
        return fit_of(expected, state, sizes=str(sizes))

    def loss(self, batch: Batch) -> Tensor:
        limit = self.config.max_scale
        if limit is not None:
            # Upstream clamps the parameter after every step, which is before the next use; 4.6052
            # is its ln(100).
            with torch.no_grad():
                self.model.logit_scale.clamp_(0, round(float(np.log(limit)), 4))
        if not self.model.training:
            return self.contrast(self.model.encode_image(batch.images), batch.texts)
        values = batch.images.float() / 255
        side = values.shape[-1] if isinstance(self.model, TinySlipTowers) else self.model.side
        shown = values
        if self.config.preprocessing == "own":
            shown = random_resized_crop(values, side, (0.5, 1.0))
        contrast = self.contrast(self.model.encode_view(shown), batch.texts)
        small = max(1, round(side * self.config.view))
        a, b = self.model.embed_views(ssl_view(values, small), ssl_view(values, small))
        return contrast + self.config.ssl_scale * _slip.simclr_loss(
            a, b, self.config.ssl_temperature
        )

    def temperature(self) -> Tensor:
        return self.model.logit_scale.exp()

    def ask(self, prompts: Prompts) -> Callable[[Any], Tensor]:
        """Cosines; under `own` those of a finding less those of its absence, in SLIP's templates.

        So upstream scores its binary task: by the texts of class 1 less those of class 0.
        """
        if prompts.policy != "own":
            return super().ask(prompts)
        present, absent = (
            self.encode_prompts(names, self._own_templates()) for names in _named(prompts.classes)
        )
        return lambda embedded: embedded @ present.T - embedded @ absent.T

    def parameter_groups(self) -> list[dict[str, Any]]:
        if self.config.groups == "common":
            return super().parameter_groups()
        return _slip.parameter_groups(self.model.named_parameters())

    def rate(self, step: int, steps_per_epoch: int) -> float:
        return _slip.rate(step, steps_per_epoch, self.config.epochs, self.config.lr)

    def frame(self, picture: np.ndarray) -> np.ndarray:
        """(224, 224): the shorter side resized to 224 pixels, bilinearly; the middle of it.

        Upstream cuts its training views from the whole picture, here they come from this square.
        """
        from PIL import Image

        short = min(picture.shape)
        height, width = (max(SIDE, int(SIDE * side / short)) for side in picture.shape)
        resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
        top, left = round((height - SIDE) / 2), round((width - SIDE) / 2)
        return np.asarray(resized)[top : top + SIDE, left : left + SIDE].copy()

    def _own_templates(self) -> list[str]:
        """Those of the configuration, or upstream's one."""
        templates: str = self.config.templates
        return [OWN_TEMPLATE] if templates == "{}" else templates.split("|")

    def _asked(self, policy: Policy, classes: tuple[str, ...]) -> list[str]:
        if policy != "own":
            return super()._asked(policy, classes)
        present, absent = _named(classes)
        templates = self._own_templates()
        return [t.replace("{}", name) for t in templates for name in (*present, *absent)]


def _named(classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Every class in words, and its absence."""
    return [spelled(name) for name in classes], [absence(name) for name in classes]


def ssl_view(values: Tensor, side: int) -> Tensor:
    """(B, 1, side, side) of (B, 1, S, S) values in 0..1: a crop, then light, blur and a mirror.

    The blur is upstream's at 224 pixels, and in proportion at other sizes.
    """
    view = random_resized_crop(values, side, (0.08, 1.0))
    view = brightness_contrast(view, 0.4, 0.4, p=0.8)
    share = side / SIDE
    view = gaussian_blur(view, (0.1 * share, 2.0 * share), p=0.5)
    return horizontal_flip(view)
