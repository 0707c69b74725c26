"""What MedCLIP starts from: a file of its authors, or published towers, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from bench.errors import MethodError
from bench.protocol.weights import Checkpoint, load_checkpoint
from methods._bert import WordPiece, bert_like, bert_state, is_bert, weight_file
from methods._medclip_towers import (
    TEXT,
    VISION,
    MedClipModel,
    Tower,
    load,
    model_like,
    new_model,
    swin_like,
)


class _Part(NamedTuple):
    reference: str
    state: Mapping[str, Tensor]
    folder: Path


class Start:
    """The given weights by what they are for: the whole model, its image tower, its text tower."""

    def __init__(self, checkpoints: Sequence[Checkpoint]) -> None:
        """
        Raises:
            MethodError: a file is none of the three, or two are for the same part.
            UsageError: no vocabulary lies beside the weights of a text tower.
        """
        parts: dict[str, _Part] = {}
        for checkpoint in checkpoints:
            state = checkpoint.state
            if checkpoint.named:
                state = load_checkpoint(str(weight_file(checkpoint.folder))).state
            kind, state = _recognised(state, checkpoint.reference)
            if parts.keys() & {kind, "model"} or (kind == "model" and parts):
                raise MethodError(
                    f"{checkpoint.reference} is MedCLIP's {kind}, which other weights were given "
                    "for. Give one file of the whole model, or one of each tower."
                )
            parts[kind] = _Part(checkpoint.reference, state, checkpoint.folder)
        self._parts = parts
        text = parts.get("model") or parts.get("text tower")
        self.tokens = None if text is None else WordPiece.from_folder(text.folder)

    def model(self, tower: Tower, vocabulary: int) -> MedClipModel:
        """The model with these weights in it; what they do not hold is random.

        Args:
            tower: the image tower where no file of the whole model decides.
            vocabulary: tokens of the text.

        Raises:
            MethodError: weights that do not fit to the last key.
        """
        whole = self._parts.get("model")
        if whole is not None:
            model = model_like(whole.state)
            load(model, whole.state, whole.reference)
        else:
            image, text = self._parts.get("image tower"), self._parts.get("text tower")
            model = new_model(
                tower,
                vocabulary,
                image and swin_like(image.state),
                text and bert_like(text.state),
            )
            for part, prefix in ((image, VISION), (text, TEXT)):
                if part is not None:
                    load(model, part.state, part.reference, prefix)
        known = model.text_model.model.config.vocab_size
        if known != vocabulary:
            raise MethodError(
                f"vocab.txt has {vocabulary} pieces and the text tower {known}: they do not "
                "belong together. Fetch the vocab.txt of the text tower."
            )
        return model

    @property
    def whole(self) -> bool:
        """Whether it is a file of the whole model; towers alone lack their projections."""
        return "model" in self._parts

    def __str__(self) -> str:
        """What the weights are and where they came from."""
        if not self._parts:
            return "random"
        if self.whole:
            return self._parts["model"].reference
        kinds = ("image tower", "text tower")
        told = (f"{k} {self._parts[k].reference if k in self._parts else 'random'}" for k in kinds)
        return ", ".join(told)


def _recognised(state: Mapping[str, Tensor], reference: str) -> tuple[str, Mapping[str, Tensor]]:
    """What a state is for, and its tensors under the names that it has there."""
    if any(key.startswith((VISION, TEXT)) for key in state):
        return "model", state
    if is_bert(state):
        return "text tower", bert_state(state)
    swin = {
        key.removeprefix("swin."): v
        for key, v in state.items()
        if key.split(".")[0] != "classifier"
    }
    if "embeddings.patch_embeddings.projection.weight" in swin:
        return "image tower", swin
    raise MethodError(
        f"{reference} is none of what MedCLIP can start from: a file of its authors, a Swin of "
        "transformers (microsoft/swin-tiny-patch4-window7-224) or a BERT "
        "(emilyalsentzer/Bio_ClinicalBERT). See what it fits: bench weights FILE"
    )
