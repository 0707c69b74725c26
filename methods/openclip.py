"""Any model that open_clip opens: BiomedCLIP, WhyXrayCLIP, or a file of weights for a named tower.

    bench run --method openclip --track released --weights hf-hub:OWNER/NAME
    bench run --method openclip --track released --weights local-dir:FOLDER
    bench run --method openclip --track released --weights FILE --set tower=ViT-L-14

A folder holds `open_clip_config.json` beside its weights, as open_clip's own `local-dir:` has it;
towers, activation, preprocessing and tokens are what that file says. Weights are read by the
harness, strictly and without unpickling anything but tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import MethodError, UsageError
from bench.protocol.method import Card, Fit
from bench.protocol.weights import Checkpoint, load_strictly, read_folder
from methods._dual import DualEncoder, DualEncoderConfig, Normalisation, square, trainable
from methods._openclip import (
    HARMLESS,
    first_line,
    fit_of_towers,
    make_towers,
    read_config,
    settings_of_tower,
)
from methods._torchvision import make_torchvision_importable

# Order of open_clip's own search in a folder.
_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
)


@dataclass(frozen=True)
class OpenClipConfig(DualEncoderConfig):
    """The common recipe, and which towers a bare file of weights is for."""

    tower: str | None = None
    """A model of `open_clip.list_models()`; only for `--weights FILE`."""


class OpenClip(DualEncoder):
    """An open_clip model with its own preprocessing and tokens."""

    card = Card(
        title="open_clip",
        citation="Ilharco et al., OpenCLIP (2021); cite the model's own paper",
        licence="the model's own",
        seen=None,
    )
    Config = OpenClipConfig

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        make_torchvision_importable()
        import open_clip

        checkpoint = self._only(self.checkpoints)
        settings, preprocess, state = self._parts(checkpoint)
        model = make_towers(settings, checkpoint)
        load_strictly(model, _reshaped(model, state), where=checkpoint.reference, harmless=HARMLESS)
        self.weights = checkpoint.name
        size = square(getattr(model.visual, "image_size", preprocess.get("size")), checkpoint.name)
        known = open_clip.transform.merge_preprocess_dict({}, preprocess | {"size": size})
        self._preprocess = open_clip.transform.PreprocessCfg(**known)
        self.normalise = Normalisation(
            size, tuple(self._preprocess.mean), tuple(self._preprocess.std)
        )
        self._tokenizer = self._tokens(checkpoint, settings)
        return trainable(model).to(device)

    @classmethod
    def fit(cls, state: Mapping[str, Tensor]) -> Fit | None:
        return fit_of_towers(state)

    @property
    def towers(self) -> Any:
        return self.model

    def embed(self, images: Tensor) -> Tensor:
        return self.towers.encode_image(self.normalise(images), normalize=True)

    def encode_text(self, texts: list[str]) -> Tensor:
        tokens = self._tokenizer(texts).to(self.towers.logit_scale.device)
        return self.towers.encode_text(tokens, normalize=True)

    def frame(self, picture: np.ndarray) -> np.ndarray:
        """As open_clip's evaluation transform frames it, before it becomes numbers."""
        import open_clip
        from PIL import Image

        transform = open_clip.transform.image_transform_v2(self._preprocess, is_train=False)
        image: Any = Image.fromarray(picture)
        for step in transform.transforms[:-2]:  # the last two are ToTensor and Normalize
            image = step(image)
        return np.array(image)[..., 0]

    def _parts(
        self, checkpoint: Checkpoint
    ) -> tuple[dict[str, Any], dict[str, Any], Mapping[str, Tensor]]:
        """Settings of the towers and of the preprocessing, and the weights."""
        if not checkpoint.named:
            settings, preprocess = settings_of_tower(self.config.tower, checkpoint)
            return settings, preprocess, checkpoint.state
        if self.config.tower is not None:
            raise UsageError(
                f"--set tower={self.config.tower}: {checkpoint.reference} says itself what its "
                "towers are; tower= is for --weights FILE."
            )
        told = read_config(checkpoint)
        state = read_folder(checkpoint.folder, _FILES)
        return told["model_cfg"], dict(told.get("preprocess_cfg") or {}), state

    def _tokens(self, checkpoint: Checkpoint, settings: Mapping[str, Any]) -> Any:
        import open_clip

        name = f"local-dir:{checkpoint.folder}" if checkpoint.named else self.config.tower
        try:
            return open_clip.get_tokenizer(name)
        except (OSError, ValueError, ImportError) as error:
            source = settings["text_cfg"].get("hf_tokenizer_name", name)
            raise MethodError(
                f"{checkpoint.reference}: its tokenizer cannot be opened "
                f"({type(error).__name__}: {first_line(error)}). Put the tokenizer files of "
                f"{source} (tokenizer.json, tokenizer_config.json, vocab.txt or spiece.model) "
                "beside the weights."
            ) from error


def _reshaped(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`logit_scale` and `logit_bias` are written as scalars or as one-element vectors."""
    expected = model.state_dict()
    return {
        key: value.reshape(expected[key].shape)
        if key in ("logit_scale", "logit_bias") and key in expected and value.numel() == 1
        else value
        for key, value in state.items()
    }
