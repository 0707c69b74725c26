"""MedKLIP (Wu et al., ICCV 2023): texts ask a decoder over image places whether they are present.

Network and objective are those of MediaBrain-SJTU/MedKLIP@8e60b03 (`_medklip.py`,
`_medklip_loss.py`). Meta labels know no positions, so the existence term alone is trained, which is
upstream's own switch `no_cl`; the queries are the clauses of the classes ("edema is present"), and
0 trains as absent wherever the data's mask says that a source labels the class.

How it is asked. A query is a text's vector, and the answer is already a pair, present against
absent: so under `pair` the bare name is asked and the negative text is not, under `positive` the
clause. `own` is upstream's procedure: released weights are asked with the 75 entities of their
training, of which a class map reads one for each class; classes without an entity are asked beside
them with a definition. What has been trained here is asked with what it was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import MethodError, UsageError
from bench.protocol.batches import Batch, Split
from bench.protocol.config import Config
from bench.protocol.method import Card, Fit, Method, Weights
from bench.protocol.prompts import POLICIES, Policy, Prompts, prompts_for
from bench.protocol.weights import Checkpoint, fit_of, load_strictly
from methods._bert import is_bert
from methods._clip import PIXEL_MEAN, PIXEL_STD, TINY_WIDTH, tiny_image_tower
from methods._medklip import (
    PRESENT,
    MedKlipNet,
    Reading,
    Sizes,
    Stage,
    sizes_of,
    start_like_upstream,
)
from methods._medklip_augment import training_view
from methods._medklip_loss import objective
from methods._medklip_names import DEFINITIONS, ENTITIES, ENTITY_OF
from methods._medklip_queries import BERT_FOLDER, ClinicalBert, Encoder, RandomWords
from methods._torchvision import make_torchvision_importable

SIDE = 224
_FEWEST_PLACES = 7  # a side, for a map to be worth showing
COLOUR_MEAN, COLOUR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, on 0..1
_TINY = Sizes(
    stages=(Stage(False, 1, TINY_WIDTH, TINY_WIDTH),),
    text_width=128,
    width=64,
    inner=64,
    layers=2,
    heads=2,
)


@dataclass(frozen=True)
class MedKlipConfig(Config):
    """The recipe plus the choice of trunk."""

    tower: Literal["tiny", "resnet50"] = "tiny"
    """With `--weights` the file decides."""
    heads: int = 4
    """Attention heads of the full decoder, which no file of weights tells."""
    alone: bool = False
    """Whether a query sees no other. Upstream's 75 always see each other."""

    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {**Config.RANGES, "heads": (1, 64)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text == "reports":
            raise UsageError(
                "text=reports: MedKLIP trains on labels, which its authors drew from reports with "
                "RadGraph; the reports' own words are of no use to it. Leave text=meta."
            )

    @classmethod
    def paper(cls) -> Self:
        """The full network under the common recipe."""
        return replace(super().paper(), tower="resnet50")

    @classmethod
    def upstream(cls) -> Self:
        """The authors' recipe; pictures are kept at 320 pixels, to be squashed from enough."""
        return replace(
            cls.paper(),
            preset="upstream",
            image_size=320,
            batch_size=48,
            epochs=100,
            lr=1e-4,
            weight_decay=0.02,
            schedule="own",
            early_stop=None,
            select="last",
            preprocessing="own",
        )


class _Question(NamedTuple):
    """What is asked at once, and which answers are read."""

    book: Tensor
    """(Q, width) text vectors."""
    columns: list[int]
    """The query of each class."""
    blocked: Tensor | None
    """(Q, Q) bool, true where a query (row) must not see another."""


class MedKLIP(Method):
    """A query decoder over the places of an image."""

    card = Card(
        title="MedKLIP",
        citation="Wu et al., ICCV 2023, 21372-21383 (arXiv 2301.02228)",
        licence="none: the code and weights carry no licence",
        weights=(
            Weights(
                "checkpoint_final.pth",
                sha256=None,
                where="the authors' Google Drive folder 1HBShH7J_pO8onkzuweDgDq2QPqj6zjG_, linked "
                "from MediaBrain-SJTU/MedKLIP; gives a mean AUROC of 0.7233 on ChestX-ray14 with "
                "their script (issues 12 and 17)",
            ),
        ),
        seen=("MIMIC-CXR",),
    )
    Config = MedKlipConfig
    made_by_build = ("_device", "_encoder")
    policies: ClassVar[tuple[Policy, ...]] = (*POLICIES, "own")
    model: MedKlipNet

    @classmethod
    def fit(cls, state: Mapping[str, Tensor]) -> Fit:
        sizes = sizes_of(state)
        with torch.device("meta"):
            expected = MedKlipNet(sizes).state_dict()
        return fit_of(expected, state, sizes=str(sizes))

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        self._classes, self._device = classes, device
        own = [file for file in self.checkpoints if not _is_clinical_bert(file)]
        if len(own) > 1:
            raise UsageError("MedKLIP starts from one file of its weights; leave out the others.")
        self._as_released = bool(own)
        self._tiny = self.config.tower == "tiny" and not own
        sizes = _TINY if self._tiny else sizes_of(own[0].state if own else {}, self.config.heads)
        if own:
            net = MedKlipNet(sizes)
            load_strictly(net, own[0].state, where=own[0].reference)
        self._encoder = self._encoder_of(own, sizes.text_width)
        sizes = replace(sizes, text_width=self._width_of_texts(own, sizes.text_width))
        if not own:
            net = MedKlipNet(sizes, _TinyTrunk() if self._tiny else None)
        if not own and not self._tiny:  # 0.02 is too little for narrow layers: torch's own start
            start_like_upstream(net)
        start = own[0].name if own else "random"
        self.weights, self.complete = f"{start}; queries: {self._encoder.source}", bool(own)
        return net.to(device)

    def _encoder_of(self, own: list[Checkpoint], width: int) -> Encoder:
        """Bio_ClinicalBERT where it was named or stands by the weights; else words of no meaning.

        Weights that were trained with its vectors are never asked with others.
        """
        beside = own[0].folder if own else None
        for file in self.checkpoints:
            if _is_clinical_bert(file):
                return ClinicalBert(file.folder, beside)
        return RandomWords(width) if beside is None else ClinicalBert(beside / BERT_FOLDER, beside)

    def _width_of_texts(self, own: list[Checkpoint], width: int) -> int:
        """Width of the encoder's vectors; all texts of the common prompts are encoded here."""
        asked = [text for p in POLICIES for text in prompts_for(p, self._classes).positive]
        found = self._encoder(asked).shape[1] if asked else width
        if own and found != width:
            raise MethodError(
                f"{own[0].reference} asks with vectors of {width} numbers, and those of "
                f"{self._encoder.source} beside it have {found}. They do not belong together."
            )
        return found

    def frame(self, picture: np.ndarray) -> np.ndarray:
        """Squashed to a square, whatever the picture's shape (bilinear, as upstream tests)."""
        from PIL import Image

        side = self.config.image_size if self.config.tower == "tiny" else SIDE
        squashed = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(squashed)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over the classes that the images' sources label."""
        texts = prompts_for("positive", self._classes).positive
        # A tower that knows no language must have met the spelling that it will be asked with.
        if self.config.clauses == "some" and self.model.training and torch.rand(()) < 0.5:
            texts = prompts_for("pair", self._classes).positive
        question = self._asked_together(list(texts))
        reading = self._read(batch.images, question)
        labels = torch.where(batch.mask, batch.labels.long(), -1)
        return objective(reading.logits, labels).total

    def start_epoch(self, epoch: int, train: Split) -> None:
        self._as_released = False

    def score(self, images: Tensor, prompts: Prompts) -> Tensor:
        return self.ask(prompts)(self.encode(images))

    def encode(self, images: Tensor) -> Any:
        """(N, h * w, d) places, which every question reads anew."""
        return self.model.seen(self._pixels(images))

    def ask(self, prompts: Prompts) -> Callable[[Any], Tensor]:
        question = self._question(prompts)

        def answer(places: Any) -> Tensor:
            reading = self.model.read(places, question.book, question.blocked)
            probabilities: Tensor = reading.logits[:, question.columns].softmax(-1)
            return probabilities[..., PRESENT]

        return answer

    def attention_maps(self, images: Tensor, prompts: Prompts) -> Tensor:
        """(N, C, h, w): where the decoder looked for each class, mean over layers and heads.

        Every map sums to 1; of the published network at 224 pixels it is 14 x 14.
        """
        question = self._question(prompts)
        reading = self._read(images, question, maps=True)
        maps = torch.stack(reading.attention).mean(0)[:, question.columns]
        side = math.isqrt(maps.shape[-1])
        return maps.unflatten(-1, (side, side))

    def saliency(self, images: Tensor, prompts: Prompts) -> Tensor | None:
        """The attention maps, where they have more than a handful of places."""
        # Those of the tiny trunk are 2 x 2 at 64 pixels: a gradient says more than which quarter.
        maps = self.attention_maps(images, prompts)
        return maps if maps.shape[-1] >= _FEWEST_PLACES else None

    def diagnostics(self) -> dict[str, Any]:
        return {"queries_digest": self._encoder.digest()}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Under upstream's recipe vectors (norms, biases) do not decay."""
        if self.config.preset != "upstream":
            return super().parameter_groups()
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        others = [p for p in self.model.parameters() if p.ndim > 1]
        return [{"params": others}, {"params": vectors, "weight_decay": 0.0}]

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """A tenth of lr, then five stairs to lr in the first epoch; a cosine by epochs after it.

        A stair comes after each 100 steps. The cosine ends at a tenth of lr after `epochs`.
        """
        low, high = self.config.lr / 10, self.config.lr
        epoch = step // steps_per_epoch
        if epoch == 0:
            return low + (high - low) * min(max(step - 1, 0) // 100, 5) / 5
        return low + (high - low) * (1 + math.cos(math.pi * epoch / self.config.epochs)) / 2

    def _question(self, prompts: Prompts) -> _Question:
        if prompts.policy != "own" or not self._as_released:
            return self._asked_together(list(prompts.positive))
        known, others = len(ENTITIES), [c for c in prompts.classes if c not in ENTITY_OF]
        texts = dict(zip(prompts.classes, prompts.positive, strict=True))
        book = self._encoder.entities()
        if others:
            words = [DEFINITIONS.get(name, texts[name]) for name in others]
            book = torch.cat([book, self._encoder(words)])
        # No entity sees what is asked beside it: its answer is upstream's, whatever is asked.
        blocked = ~torch.eye(len(book), dtype=torch.bool)
        blocked[:known, :known] = False
        if not self.config.alone:
            blocked[known:, :known] = False
        columns = [
            ENTITIES.index(ENTITY_OF[name]) if name in ENTITY_OF else known + others.index(name)
            for name in prompts.classes
        ]
        return _Question(book.to(self._device), columns, blocked.to(self._device))

    def _asked_together(self, texts: list[str]) -> _Question:
        book = self._encoder(texts).to(self._device)
        alone = ~torch.eye(len(book), dtype=torch.bool, device=self._device)
        return _Question(book, list(range(len(texts))), alone if self.config.alone else None)

    def _read(self, images: Tensor, question: _Question, maps: bool = False) -> Reading:
        pixels = self._pixels(images)
        return self.model(pixels, question.book, question.blocked, maps=maps)

    def _pixels(self, images: Tensor) -> Tensor:
        """Normalised input of (N, 1, S, S) uint8 images, augmented in training if that is asked."""
        augment = self.config.preprocessing == "own" and self.model.training
        if self._tiny:
            grey = training_view(images, images.shape[-1]) if augment else images.float()
            pixels = (grey - PIXEL_MEAN) / PIXEL_STD
            return pixels.contiguous(memory_format=torch.channels_last)
        if augment:
            grey = training_view(images, SIDE)
        else:
            grey = images.float()
            if grey.shape[-2:] != (SIDE, SIDE):
                grey = F.interpolate(grey, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        mean, std = (grey.new_tensor(v)[:, None, None] for v in (COLOUR_MEAN, COLOUR_STD))
        return (grey / 255 - mean) / std


class _TinyTrunk(nn.Module):
    """The feature map of the image tower that all methods share in the `tiny` preset."""

    tower: Any

    def __init__(self) -> None:
        super().__init__()
        make_torchvision_importable()
        tower: Any = tiny_image_tower()
        tower.reset_classifier(0)
        self.tower = tower.to(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 128, S / 32, S / 32) of (N, 1, S, S) normalised pixels."""
        return self.tower.forward_features(pixels)


def _is_clinical_bert(file: Checkpoint) -> bool:
    return file.named or is_bert(file.state)
