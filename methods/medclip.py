"""MedCLIP (Wang et al., EMNLP 2022): images and sentences matched by what their labels share.

The targets of its contrastive loss are soft: a softmax over the dot products of image labels and
sentence labels. On meta labels a sentence is one "x is present", drawn from the image's positive
classes, labelled by that class alone. Loss, towers and scores are those of
RyanWangZf/MedCLIP@9c3396f2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from bench.errors import MethodError
from bench.protocol.batches import Batch
from bench.protocol.config import Config
from bench.protocol.method import Card, Fit, Method, Weights
from bench.protocol.prompts import POLICIES, Policy, Prompts, prompts_for
from bench.protocol.weights import fit_of
from methods._bert import CLINICAL_PIECES, WordPiece
from methods._medclip_images import Framing, augmented, framed, normalised, resized
from methods._medclip_losses import matching_loss, pair_loss, prompt_scores
from methods._medclip_texts import FORMS, drawn_sentences, paraphrases, sentences, units
from methods._medclip_towers import (
    HARMLESS,
    TEXT,
    VISION,
    MedClipModel,
    TinyTower,
    Tower,
    model_like,
    new_model,
    sizes_of,
    upstream_name,
)
from methods._medclip_weights import Start

if TYPE_CHECKING:
    import numpy as np

MAX_TOKENS = 77
_WARM_UP = 0.1
# Names that upstream keeps from weight decay; Swin's norms and the temperature match none of them.
_NO_DECAY = ("bias", "LayerNorm.weight")


@dataclass(frozen=True)
class MedClipConfig(Config):
    """The common recipe, the towers, and how MedCLIP is asked in its own way."""

    tower: Tower = "tiny"
    """The image tower; weights given by file decide for themselves."""
    framing: Framing = "processor"
    """Under `preprocessing=own`: bicubic (the authors' processor) or bilinear (their data set)."""
    pad_prompts: Literal["class", "alone"] = "class"
    """Padding is part of a text's feature: a class's prompts are encoded as one batch, as upstream
    does, or each prompt alone and without padding."""
    own_prompts: Literal["unit", "paraphrases"] = "unit"
    """Under the prompts `own`: the words of the meta captions, or four more ways to say them."""
    ensemble: Literal["mean", "max"] = "mean"
    """Under the prompts `own`: how the logits of a class's prompts become its score."""

    @classmethod
    def paper(cls) -> Self:
        """The paper's recipe for all methods on the towers of the authors' ViT file."""
        return replace(super().paper(), tower="swin")

    @classmethod
    def upstream(cls) -> Self:
        """The authors' pre-training script, in full precision."""
        return cls(
            preset="upstream",
            image_size=512,
            batch_size=100,
            epochs=10,
            lr=2e-5,
            weight_decay=1e-4,
            shift=0.0,
            clauses="all",
            schedule="own",
            select="best",
            clip_gradient=1.0,
            preprocessing="own",
            tower="swin",
            own_prompts="paraphrases",
        )


class MedClip(Method):
    """Two towers and the semantic matching loss."""

    card = Card(
        title="MedCLIP",
        citation="Wang et al., EMNLP 2022, 3876-3887 (arXiv 2210.10163)",
        licence="code: no licence file, its setup script says BSD; weights not stated",
        weights=(
            Weights(
                "pytorch_model.bin (ViT, 546,888,925 bytes)",
                sha256=None,
                where="storage.googleapis.com/pytrial/medclip-vit-pretrained.zip; gives the logits "
                "0.1729 and 0.3899 for the README's image and sentences (issue 29 of the authors')",
            ),
            Weights(
                "pytorch_model.bin (ResNet-50)",
                sha256=None,
                where="storage.googleapis.com/pytrial/medclip-pretrained.zip",
            ),
        ),
        seen=("MIMIC-CXR", "CheXpert"),
    )
    Config = MedClipConfig
    made_by_build = ("_tokens",)
    policies: ClassVar[tuple[Policy, ...]] = (*POLICIES, "own")
    model: MedClipModel

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        self._classes = classes
        learnt = [form(name) for name in classes for form in FORMS]
        if self.config.text == "reports":
            learnt = [sentence for text in texts for sentence in sentences(text)]
        asked = [
            text
            for policy in self.policies
            for prompts in self._lists(prompts_for(policy, classes))
            for text in prompts
        ]
        start = Start(self.checkpoints)
        if start.tokens is None:
            words = self.vocabulary and WordPiece(self.vocabulary)
            self._tokens = words or WordPiece.of_texts([*learnt, *asked])
            self.vocabulary = self._tokens.pieces
        else:
            self._tokens = start.tokens
        self._truncated = sum(self._tokens.is_truncated(text, MAX_TOKENS) for text in learnt)
        model = start.model(self.config.tower, self._tokens.size)
        self.weights, self.complete = str(start), start.whole
        return model.to(device)

    def loss(self, batch: Batch) -> Tensor:
        images = self.embed(batch.images)
        drawing = self.model.training
        if self.config.text == "reports":
            # The authors' labels of sentences are unpublished; without labels their loss is CLIP's.
            texts = drawn_sentences(batch.texts, batch.rows, draw=drawing)
            return pair_loss(self.model.logits(images, self._encode(texts)))
        read = units(
            batch.labels,
            batch.mask,
            batch.rows,
            self._classes,
            draw=drawing,
            signed=self.config.clauses == "some",
        )
        logits = self.model.logits(images, self._encode(read.texts))
        return matching_loss(logits, read.image_labels, read.text_labels)

    def score(self, images: Tensor, prompts: Prompts) -> Tensor:
        return self.ask(prompts)(self.encode(images))

    def encode(self, images: Tensor) -> Any:
        return self.embed(images)

    def ask(self, prompts: Prompts) -> Callable[[Any], Tensor]:
        """Under `own` the scaled cosines of a class's prompts, averaged or the largest; else plain
        cosines, under `pair` the positive less the negative one.
        """
        lists = self._lists(prompts)
        texts = self._encode_lists(lists)

        def answer(embedded: Any) -> Tensor:
            if prompts.policy == "own":
                logits = self.model.logits(embedded, texts)
                return prompt_scores(logits, [len(part) for part in lists], self.config.ensemble)
            cosines: Tensor = embedded @ texts.T
            return cosines if prompts.negative is None else cosines[:, ::2] - cosines[:, 1::2]

        return answer

    def embed(self, images: Tensor) -> Tensor:
        return self.model.encode_image(self._pixels(images))

    def frame(self, picture: np.ndarray) -> np.ndarray:
        return framed(picture, self.config.framing)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Under the upstream preset, biases and BERT's norms are kept from weight decay."""
        if self.config.preset != "upstream":
            return super().parameter_groups()
        decayed: list[Tensor] = []
        kept: list[Tensor] = []
        for key, parameter in self.model.named_parameters():
            spared = any(part in upstream_name(key) for part in _NO_DECAY)
            (kept if spared else decayed).append(parameter)
        return [{"params": decayed}, {"params": kept, "weight_decay": 0.0}]

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Linear from 0 over the first tenth of all steps, then half a cosine down to 0."""
        steps = steps_per_epoch * self.config.epochs
        warm = math.ceil(_WARM_UP * steps)
        if step < warm:
            return self.config.lr * step / warm
        done = (step - warm) / max(1, steps - warm)
        return self.config.lr * max(0.0, (1 + math.cos(math.pi * done)) / 2)

    def diagnostics(self) -> dict[str, Any]:
        return {
            "texts_truncated": self._truncated,
            "vocabulary": self._tokens.size,
            "logit_scale": float(self.model.logit_scale.detach().exp()),
        }

    @classmethod
    def fit(cls, state: Mapping[str, Tensor]) -> Fit | None:
        if not any(key.startswith((VISION, TEXT)) for key in state):
            return None
        with torch.device("meta"):
            try:
                model = model_like(state)
            except MethodError:
                model = new_model("swin", CLINICAL_PIECES)
        expected = {upstream_name(key): value for key, value in model.state_dict().items()}
        return fit_of(expected, state, sizes=sizes_of(model), harmless=HARMLESS)

    def _pixels(self, images: Tensor) -> Tensor:
        """What the image tower takes of (N, 1, S, S) uint8 images."""
        values = images.float() / 255
        if self.config.preprocessing == "own" and self.model.training:
            values = augmented(values)
        if not isinstance(self.model.vision_model, TinyTower):
            values = resized(values)
        return normalised(values)

    def _encode(self, texts: Sequence[str]) -> Tensor:
        """(n, d) unit embeddings of texts that are padded to the longest of them.

        Equal texts are read once, which changes no padding; under dropout each has its own draw.
        """
        dropout = self.model.training and self.model.text_model.model.config.hidden_dropout_prob > 0
        read = list(texts) if dropout else list(dict.fromkeys(texts))
        ids, mask = self._tokens(read, MAX_TOKENS)
        device = self.model.logit_scale.device
        encoded = self.model.encode_text(ids.to(device), mask.to(device))
        if dropout:
            return encoded
        place = {text: index for index, text in enumerate(read)}
        return encoded[torch.tensor([place[text] for text in texts], device=device)]

    def _encode_lists(self, lists: Sequence[Sequence[str]]) -> Tensor:
        """(n, d) unit embeddings of the texts of all lists, each list padded by itself.

        The length to which a text is padded is all that matters of its list, so texts of one such
        length go through the tower together.
        """
        lengths = [[min(self._tokens.length(text), MAX_TOKENS) for text in part] for part in lists]
        if self.config.pad_prompts == "class":
            lengths = [[max(part)] * len(part) for part in lengths]
        texts = [text for part in lists for text in part]
        padded = torch.tensor([length for part in lengths for length in part])
        encoded: dict[int, Tensor] = {}
        for length in padded.unique().tolist():
            places = (padded == length).nonzero()[:, 0].tolist()
            found = self._encode([texts[place] for place in places])
            encoded |= dict(zip(places, found, strict=True))
        return torch.stack([encoded[place] for place in range(len(texts))])

    def _lists(self, prompts: Prompts) -> list[list[str]]:
        """What is asked of each class, in the order of the classes."""
        if prompts.negative is not None:
            return [list(pair) for pair in zip(prompts.positive, prompts.negative, strict=True)]
        if prompts.policy != "own" or self.config.own_prompts == "unit":
            return [[text] for text in prompts.positive]
        asked = zip(prompts.positive, prompts.classes, strict=True)
        return [[unit, *paraphrases(name)] for unit, name in asked]
