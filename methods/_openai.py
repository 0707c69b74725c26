"""CLIP towers of any size under OpenAI's names, and what a file under these names fits.

Names, head counts and the activation are those of openai/CLIP@d05afc4 (model.py), which CheXzero's
files share. The activation is in no file: the plain GELU loads as well and is silently wrong, so it
is QuickGELU here, always.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.errors import MethodError
from bench.protocol.method import Fit
from bench.protocol.weights import Checkpoint, fit_of
from methods._torchvision import make_torchvision_importable

HARMLESS = ("input_resolution", "context_length", "vocab_size")
"""Scalars in OpenAI's own archive that repeat the shapes."""
_HEAD_WIDTH = 64


@dataclass(frozen=True)
class ClipSizes:
    """A ViT and a text transformer; the defaults are ViT-B/32."""

    resolution: int = 224
    patch: int = 32
    vision_width: int = 768
    vision_layers: int = 12
    vision_heads: int = 12
    joint: int = 512
    context: int = 77
    vocabulary: int = 49408
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> Self:
        """The sizes that the shapes speak of; head counts are in no file and follow the width.

        Raises:
            KeyError: a tensor that says a size is not there.
        """
        vision_width, _, patch, _ = state["visual.conv1.weight"].shape
        grid = math.isqrt(len(state["visual.positional_embedding"]) - 1)
        text_width = len(state["ln_final.weight"])
        return cls(
            resolution=grid * patch,
            patch=patch,
            vision_width=vision_width,
            vision_layers=layers(state, "visual.transformer.resblocks."),
            vision_heads=max(1, vision_width // _HEAD_WIDTH),
            joint=state["text_projection"].shape[1],
            context=len(state["positional_embedding"]),
            vocabulary=len(state["token_embedding.weight"]),
            text_width=text_width,
            text_layers=layers(state, "transformer.resblocks."),
            text_heads=max(1, text_width // _HEAD_WIDTH),
        )

    def __str__(self) -> str:
        name = {384: "S", 768: "B", 1024: "L"}.get(self.vision_width)
        vision = (
            f"ViT-{name}/{self.patch}"
            if name
            else f"ViT {self.vision_layers}x{self.vision_width}/{self.patch}"
        )
        text = f"text {self.text_layers}x{self.text_width}"
        return f"{vision} at {self.resolution}, {text}, QuickGELU"

    def model(self) -> Any:
        """The open_clip model of these sizes, freshly initialised."""
        make_torchvision_importable()
        import open_clip

        return open_clip.model.CLIP(
            embed_dim=self.joint,
            quick_gelu=True,
            vision_cfg={
                "image_size": self.resolution,
                "patch_size": self.patch,
                "width": self.vision_width,
                "layers": self.vision_layers,
                "head_width": self.vision_width // self.vision_heads,
            },
            text_cfg={
                "context_length": self.context,
                "vocab_size": self.vocabulary,
                "width": self.text_width,
                "layers": self.text_layers,
                "heads": self.text_heads,
            },
        )


def layers(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered blocks have keys that begin with `prefix`."""
    return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})


def at_side(pixels: Tensor, side: int, antialias: bool) -> Tensor:
    """(N, 3, side, side) of (N, 1, S, S) pixels, bicubic; one channel three times."""
    if pixels.shape[-2:] != (side, side):
        pixels = F.interpolate(pixels, size=(side, side), mode="bicubic", antialias=antialias)
    return pixels.expand(-1, 3, -1, -1)


def transformed(clip: Any, tokens: Tensor) -> Tensor:
    """(n, d) features of (n, length) tokens by CLIP's causal transformer, read at the end token."""
    length = tokens.shape[1]
    hidden = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    hidden = clip.transformer(hidden, attn_mask=clip.attn_mask[:length, :length])
    rows = torch.arange(len(tokens), device=tokens.device)
    pooled = hidden[rows, tokens.argmax(dim=-1)]
    return clip.ln_final(pooled) @ clip.text_projection


def fit_of_clip(state: Mapping[str, Tensor]) -> Fit:
    """What strict loading would meet; a file that tells no sizes is held against ViT-B/32."""
    try:
        sizes = ClipSizes.of_state(state)
        with torch.device("meta"):
            expected = sizes.model().state_dict()
    except (KeyError, ValueError, AssertionError):  # shapes of something else
        sizes = ClipSizes()
        with torch.device("meta"):
            expected = sizes.model().state_dict()
    return fit_of(expected, state, sizes=str(sizes), harmless=HARMLESS)


def state_of(checkpoint: Checkpoint) -> Mapping[str, Tensor]:
    """The tensors of a file, or of a named model that open_clip opens, under OpenAI's names.

    Raises:
        MethodError: open_clip cannot open the named model, or it has another activation.
    """
    if not checkpoint.named:
        return checkpoint.state
    make_torchvision_importable()
    import open_clip

    try:
        model = open_clip.create_model(f"local-dir:{checkpoint.folder}")
    except Exception as error:  # open_clip raises many kinds for a folder that is not its own
        raise MethodError(
            f"{checkpoint.reference} is no model of open_clip's ({type(error).__name__}: {error})."
        ) from error
    if not any(type(module).__name__ == "QuickGELU" for module in model.modules()):
        raise MethodError(
            f"{checkpoint.reference} was trained with another activation than OpenAI's CLIP. "
            "It runs as itself: --method openclip."
        )
    return model.state_dict()
