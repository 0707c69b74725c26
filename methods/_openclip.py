"""Towers of open_clip: from a folder's settings, from a name, or guessed from a file's shapes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from bench.errors import MethodError, UsageError, unknown
from bench.protocol.method import Fit
from bench.protocol.weights import Checkpoint, fit_of
from methods._torchvision import make_torchvision_importable

CONFIG = "open_clip_config.json"
# Sizes that OpenAI's archives state as scalars, and indices that transformers no longer keeps.
HARMLESS = ("input_resolution", "context_length", "vocab_size", "*position_ids", "*attn_mask")


def read_config(checkpoint: Checkpoint) -> dict[str, Any]:
    path = checkpoint.folder / CONFIG
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise MethodError(
            f"{checkpoint.reference} has no {CONFIG}, so open_clip cannot open it. A folder with "
            "config.json is opened by the adapter of transformers (see: bench methods)."
        ) from None
    except ValueError as error:
        raise MethodError(f"{path} is not JSON: {error}.") from error
    if not isinstance(told, dict) or "model_cfg" not in told:
        raise MethodError(f"{path} has no 'model_cfg', which says what the towers are.")
    return told


def settings_of_tower(
    tower: str | None, checkpoint: Checkpoint
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a tower that open_clip knows, and the preprocessing its published weights share.

    Raises:
        UsageError: none is named, or open_clip knows none of that name.
    """
    import open_clip

    if tower is None:
        raise UsageError(
            f"--weights {checkpoint.reference} is a file, which does not say what its towers are "
            "(nor their activation): give --set tower=NAME, as in open_clip.list_models()."
        )
    settings = open_clip.get_model_config(tower)
    if settings is None:
        raise UsageError(unknown("tower", tower, open_clip.list_models()))
    keys = [field for field in asdict(open_clip.transform.PreprocessCfg()) if field != "size"]
    published = {
        tuple((key, told[key]) for key in keys if told.get(key) is not None)
        for told in (
            open_clip.get_pretrained_cfg(tower, tag)
            for tag in open_clip.list_pretrained_tags_by_model(tower)
        )
    }
    return settings, dict(published.pop()) if len(published) == 1 else {}


def make_towers(settings: Mapping[str, Any], checkpoint: Checkpoint) -> Any:
    """The modules, without weights and without fetching any."""
    import open_clip

    told = deepcopy(dict(settings))
    text, vision = told["text_cfg"], told["vision_cfg"]
    custom = told.pop("custom_text", False) or "hf_model_name" in text
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False
        beside = checkpoint.folder / "text"
        if (beside / "config.json").is_file():
            text["hf_model_name"] = str(beside)
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    if "multimodal_cfg" in told:
        kind = open_clip.CoCa
    try:
        return kind(**told)
    except OSError as error:
        name = text.get("hf_model_name", "its text tower")
        raise MethodError(
            f"{checkpoint.reference}: the text tower is built from the settings of {name}, which "
            f"cannot be fetched ({first_line(error)}). On a machine with network: hf download "
            f"{name} config.json --local-dir text; put that folder beside {CONFIG} and give "
            "--weights local-dir:FOLDER."
        ) from error
    except (TypeError, KeyError, RuntimeError) as error:
        raise MethodError(
            f"{checkpoint.reference}: open_clip {open_clip.__version__} cannot build what "
            f"{CONFIG} says ({type(error).__name__}: {first_line(error)})."
        ) from error


def fit_of_towers(state: Mapping[str, Tensor]) -> Fit | None:
    """How a state fits the towers of open_clip that have its shapes; None where there are none.

    Only plain CLIP towers (two transformers) can be told by their shapes; others come in a folder
    that says what they are.
    """
    shapes = _shapes(state)
    if shapes is None:
        return None
    make_torchvision_importable()
    import open_clip

    settings = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    names = [name for name, told in settings.items() if _numbers(told) == shapes]
    if not names:
        return None
    with torch.device("meta"):
        model = open_clip.CLIP(**settings[names[0]])
    sizes = f"towers of {' or '.join(names)}, which differ in what no file says: --set tower=NAME"
    if len(names) == 1:
        sizes = f"towers of {names[0]} (--set tower={names[0]})"
    return fit_of(model.state_dict(), state, sizes=sizes, harmless=HARMLESS)


def _shapes(state: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """Joint, image and text sizes of a plain CLIP state in the order of `_numbers`."""
    keys = (
        "text_projection",
        "visual.conv1.weight",
        "visual.positional_embedding",
        "token_embedding.weight",
        "positional_embedding",
    )
    if any(key not in state for key in keys):
        return None
    projection, conv, places, words, context = (tuple(state[key].shape) for key in keys)
    if [len(shape) for shape in (projection, conv, places, words, context)] != [2, 4, 2, 2, 2]:
        return None
    layers = Counter(key.partition(".resblocks.")[0] for key in state if ".ln_1.weight" in key)
    image = conv[2] * round((places[0] - 1) ** 0.5)
    image_layers, text_layers = layers["visual.transformer"], layers["transformer"]
    return (projection[1], conv[0], conv[2], image, image_layers, *words, context[0], text_layers)


def _numbers(told: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Joint size; width, patch, image, layers; vocabulary, width, context, layers."""
    vision, text = told["vision_cfg"], told["text_cfg"]
    plain = not (told.get("custom_text") or told.get("multimodal_cfg"))
    if not plain or "patch_size" not in vision or "hf_model_name" in text:
        return None
    return (
        told["embed_dim"],
        vision["width"],
        vision["patch_size"],
        vision["image_size"],
        vision["layers"],
        text.get("vocab_size", 49408),
        text["width"],
        text.get("context_length", 77),
        text["layers"],
    )


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
