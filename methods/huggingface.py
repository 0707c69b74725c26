"""Any dual encoder that transformers opens: CLIP, SigLIP, VisionTextDualEncoder, MedSigLIP, ...

    bench run --method huggingface --track released --weights hf-hub:OWNER/NAME
    bench run --method huggingface --track released --weights local-dir:FOLDER

The folder is what `save_pretrained` writes: config.json, weights, the image processor's and the
tokenizer's files. Code that a repository brings along is never run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import MethodError
from bench.protocol.method import Card
from bench.protocol.weights import LISTED, Checkpoint
from methods._dual import DualEncoder, Normalisation, square, trainable
from methods._torchvision import make_torchvision_importable

# Indices that older versions of transformers wrote into their files.
_HARMLESS = ("position_ids", "relative_position_index")


class HuggingFace(DualEncoder):
    """A model of transformers with `get_image_features` and `get_text_features`."""

    card = Card(
        title="transformers",
        citation="Wolf et al., EMNLP 2020 (transformers); cite the model's own paper",
        licence="the model's own",
        seen=None,
    )

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        make_torchvision_importable()
        checkpoint = self._only(self.checkpoints)
        if not checkpoint.named:
            raise MethodError(
                f"{checkpoint.reference} is a file; transformers opens a folder with config.json, "
                "weights, image processor and tokenizer: --weights local-dir:FOLDER."
            )
        model = _model(checkpoint)
        self._processor = _opened(checkpoint, "AutoImageProcessor", "preprocessor_config.json")
        self._tokenizer = _opened(
            checkpoint, "AutoTokenizer", "tokenizer.json, vocab.txt or spiece.model"
        )
        self.normalise = _normalisation(self._processor, checkpoint)
        # SigLIP learnt from texts padded to their full length, and attends to the padding.
        self._padded = model.config.model_type.startswith("siglip")
        limit = model.config.text_config.max_position_embeddings
        self._length = min(limit, self._tokenizer.model_max_length)
        self.weights = checkpoint.name
        return trainable(model).to(device)

    @property
    def towers(self) -> Any:
        return self.model

    def embed(self, images: Tensor) -> Tensor:
        return _unit(self.towers.get_image_features(pixel_values=self.normalise(images)))

    def encode_text(self, texts: list[str]) -> Tensor:
        tokens = self._tokenizer(
            texts,
            padding="max_length" if self._padded else "longest",
            truncation=True,
            max_length=self._length,
            return_tensors="pt",
        ).to(self.towers.logit_scale.device)
        if self._padded:
            return _unit(self.towers.get_text_features(input_ids=tokens["input_ids"]))
        return _unit(self.towers.get_text_features(**tokens))

    def frame(self, picture: np.ndarray) -> np.ndarray:
        """As the model's image processor frames it, before it becomes numbers."""
        from PIL import Image

        framed = self._processor(
            Image.fromarray(picture).convert("RGB"),
            do_rescale=False,
            do_normalize=False,
            return_tensors="np",
        )["pixel_values"][0]
        return np.asarray(framed)[0].round().clip(0, 255).astype(np.uint8)


def _model(checkpoint: Checkpoint) -> Any:
    """The model with its weights, every key of which fits.

    Raises:
        MethodError: transformers cannot open it, it is no dual encoder, or keys do not fit.
    """
    import transformers

    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()  # one for each trial and worker would drown bench's own line
    try:
        model, told = transformers.AutoModel.from_pretrained(
            checkpoint.folder,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise MethodError(
            f"{checkpoint.reference}: transformers {transformers.__version__} cannot open it "
            f"({type(error).__name__}: {_first_line(error)}). It needs config.json and "
            "model.safetensors as save_pretrained writes them; a model that brings code of its own "
            "needs an adapter of its own (bench new-method)."
        ) from error
    finally:
        if shown:
            bars.enable_progress_bar()
    towers = ("get_image_features", "get_text_features", "logit_scale")
    if not all(hasattr(model, name) for name in towers):
        raise MethodError(
            f"{checkpoint.reference} is a {type(model).__name__}, which has not one embedding for "
            "images and one for texts. It needs an adapter of its own (bench new-method)."
        )
    wrong = {
        kind: sorted(str(key) for key in told[f"{kind}_keys"] if not str(key).endswith(_HARMLESS))
        for kind in ("missing", "unexpected", "mismatched")
    }
    if any(wrong.values()):
        said = "; ".join(
            f"{len(keys)} {kind} ({', '.join(keys[:LISTED])})"
            for kind, keys in wrong.items()
            if keys
        )
        raise MethodError(
            f"{checkpoint.reference}: the weights do not fit {type(model).__name__} of its "
            f"config.json: {said}. Fetch config.json and weights of one revision."
        )
    return model


def _opened(checkpoint: Checkpoint, kind: str, files: str) -> Any:
    """The image processor or the tokenizer of the folder."""
    import transformers

    try:
        return getattr(transformers, kind).from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise MethodError(
            f"{checkpoint.reference}: {kind} cannot be opened ({type(error).__name__}: "
            f"{_first_line(error)}). Install the library it names, or put {files} of the same "
            "model beside its config.json."
        ) from error


def _normalisation(processor: Any, checkpoint: Checkpoint) -> Normalisation:
    """What the processor does with pixels once they have their size."""
    size = (processor.crop_size if getattr(processor, "do_center_crop", False) else None) or (
        processor.size
    )
    sides = dict(size)
    side = square(
        [sides["height"], sides["width"]] if "height" in sides else sides["shortest_edge"],
        checkpoint.name,
    )
    plain = not processor.do_normalize
    return Normalisation(
        side,
        (0.0,) * 3 if plain else tuple(processor.image_mean),
        (1.0,) * 3 if plain else tuple(processor.image_std),
        processor.rescale_factor if processor.do_rescale else 1.0,
    )


def _unit(features: Any) -> Tensor:
    """Unit vectors of what a tower gives: a tensor before transformers 5, an output since."""
    vectors = features if isinstance(features, Tensor) else features.pooler_output
    return F.normalize(vectors, dim=-1)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
