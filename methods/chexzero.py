"""CheXzero (Tiu et al., Nat. Biomed. Eng. 2022): CLIP trained on chest X-ray reports.

The baseline. `text=reports` trains on the impression of each report, `text=meta` on captions made
from the labels, which is the paper's row "+ meta labels". Loss, scores and the preset `upstream`
are those of rajpurkarlab/CheXzero@5c341db.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import MethodError
from bench.protocol.batches import Batch
from bench.protocol.config import added
from bench.protocol.method import Card, Weights
from bench.protocol.prompts import Prompts
from methods._clip import ClipMethod
from methods._clip_config import ClipConfig

FRAME = 320
_BEST = "best_64_5e-05_original_22000_0.864.pt"
_DIGEST = "567a2efbabc6a02370de6e18178afd22ee72d7e6f29a789db1535e5c798d6ae8"
_WHERE = "the authors' Google Drive folder, linked from rajpurkarlab/CheXzero"
# Batch size, learning rate, step and validation AUC are in the names.
_ENSEMBLE = (
    _BEST,
    "best_128_0.0002_original_15000_0.859.pt",
    "best_128_0.0002_original_8000_0.857.pt",
    "best_128_5e-05_original_22000_0.855.pt",
    "best_64_0.0001_original_16000_0.861.pt",
    "best_64_0.0001_original_17000_0.863.pt",
    "best_64_0.0001_original_35000_0.864.pt",
    "best_64_0.0002_original_23000_0.854.pt",
    "best_64_5e-05_original_16000_0.858.pt",
    "best_64_5e-05_original_18000_0.862.pt",
)


@dataclass(frozen=True)
class CheXzeroConfig(ClipConfig):
    """CLIP's recipe on reports."""

    text: Literal["meta", "reports"] = "reports"
    scoring: Literal["pair", "standardised"] = added("pair")
    """`standardised` is the authors' other path, which has no negative text and mixes classes
    (`standardised_probability`)."""

    @classmethod
    def upstream(cls) -> Self:
        """The authors' script: SGD at a constant rate, their own pictures, no augmentation.

        They keep the step of highest validation AUC; here it is the epoch of lowest validation
        loss.
        """
        return replace(
            cls.paper(),
            preset="upstream",
            image_size=FRAME,
            preprocessing="own",
            batch_size=16,
            epochs=4,
            optimiser="sgd",
            lr=1e-4,
            weight_decay=0.0,
            schedule="constant",
            early_stop=None,
            max_scale=None,
            antialias=False,
        )


class CheXzero(ClipMethod):
    """CLIP towers, symmetric InfoNCE, and the pair score.

    Several checkpoints are scored as the authors' ensemble of ten: each for itself, and the mean of
    their probabilities. An ensemble is not trained.
    """

    card = Card(
        title="CheXzero",
        citation="Tiu et al., Nature Biomedical Engineering 6, 1399-1406 (2022)",
        licence="code MIT; weights not stated",
        weights=tuple(
            Weights(name, sha256=_DIGEST if name == _BEST else None, where=_WHERE)
            for name in _ENSEMBLE
        ),
        seen=("MIMIC-CXR",),
    )
    Config = CheXzeroConfig
    made_by_build = ("_members",)
    loss_on_device = True
    _members: tuple[CheXzero, ...] = ()

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        if len(self.checkpoints) < 2:
            return super().build(classes, texts, device)
        self._members = tuple(CheXzero(self.config, [one]) for one in self.checkpoints)
        for member in self._members:
            member.model = member.build(classes, texts, device).requires_grad_(False)
        self.weights = ", ".join(member.weights for member in self._members)
        return nn.ModuleList(member.model for member in self._members)

    def loss(self, batch: Batch) -> Tensor:
        if self._members:
            raise MethodError(
                f"An ensemble of {len(self._members)} checkpoints is scored and not trained; to "
                "train, name one file."
            )
        return super().loss(batch)

    def inputs(self, batch: Batch) -> dict[str, Tensor] | None:
        return None if self._members else super().inputs(batch)

    def encode(self, images: Tensor) -> Any:
        if self._members:
            return tuple(member.encode(images) for member in self._members)
        return super().encode(images)

    def ask(self, prompts: Prompts) -> Callable[[Any], Tensor]:
        if self._members:
            return self._ask_members(prompts)
        if self.config.scoring == "pair":
            return super().ask(prompts)
        texts = self.encode_prompts(prompts.positive).T
        return lambda embedded: standardised_probability(embedded @ texts)

    def _ask_members(self, prompts: Prompts) -> Callable[[Any], Tensor]:
        """The mean over the ensemble: of probabilities under `pair`, else of scores."""
        asked = [member.ask(prompts) for member in self._members]
        in_pairs = prompts.negative is not None and self.config.scoring == "pair"

        def answer(encoded: Any) -> Tensor:
            scores = [ask(one) for ask, one in zip(asked, encoded, strict=True)]
            return torch.stack([pair_probability(s) if in_pairs else s for s in scores]).mean(0)

        return answer

    def embed(self, images: Tensor) -> Tensor | None:
        return None if self._members else super().embed(images)

    def frame(self, picture: np.ndarray) -> np.ndarray:
        """(320, 320): the longer side resized to 320 pixels by Lanczos, in the middle of black.

        Lengths are cut to whole pixels, so that the longer side becomes 319 for some (77, 581 and
        1,077 among them), as in data_process.py.
        """
        from PIL import Image

        ratio = FRAME / max(picture.shape)
        height, width = (max(1, int(side * ratio)) for side in picture.shape)
        resized = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
        framed = np.zeros((FRAME, FRAME), np.uint8)
        top, left = (FRAME - height) // 2, (FRAME - width) // 2
        framed[top : top + height, left : left + width] = np.asarray(resized)
        return framed

    def diagnostics(self) -> dict[str, Any]:
        if self._members:
            return {"ensemble": len(self._members)}
        return super().diagnostics()


def pair_probability(difference: Tensor) -> Tensor:
    """The authors' probability of a finding, from its positive cosine less its negative one.

    It is exp(cos+) / (exp(cos+) + exp(cos-)) without the logit scale, so it lies between 0.119 and
    0.881: only its ranks mean something.
    """
    return torch.sigmoid(difference)


def standardised_probability(cosines: Tensor) -> Tensor:
    """The authors' path without a negative text (`softmax_eval=False` in zero_shot.py).

    (N, C) cosines less their mean over the classes of the image, divided by the population's
    standard deviation, through a sigmoid: a class then depends on which others are asked.
    """
    spread = cosines.std(dim=1, correction=0, keepdim=True)
    return torch.sigmoid((cosines - cosines.mean(dim=1, keepdim=True)) / spread)
