"""What the MedCLIP adapter gives for a parity file: weights in upstream names in, arrays out.

Two kinds of file: a model with inputs (`fixture`), and pictures with their pixels (`preprocess`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from methods._medclip_images import framed, normalised, pad_square
from methods._medclip_losses import matching_loss, pair_loss, prompt_scores, soft_loss
from methods._medclip_towers import MedClipModel, SwinTower, load, model_like, upstream_name
from tests.parity import Rule, state

INPUTS = (
    "pixel_values_1ch",
    "input_ids",
    "attention_mask",
    "aug_input_ids",
    "aug_attention_mask",
    "img_labels",
    "text_labels",
    "prompt_ids/*",
    "soft_in_*",
    "*/raw",
)
TOLERANCE = (
    Rule("grad_*", absolute=1e-8, relative=1e-4),
    # Logits of up to 100, where float32 has steps of 7.6e-6.
    Rule("clamp_rows", absolute=1e-5, relative=2e-7),
    Rule("*/padded_size"),
    Rule("*/processor", absolute=1e-4),
    Rule("*/zeroshot_dataset", absolute=1e-4),
    Rule("*/pretrain_dataset_tensor_resize", absolute=1e-4),
    Rule("*", absolute=1e-5),
)


def reproduce(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> dict[str, Any]:
    """Every output that a file of this kind can hold."""
    found: dict[str, Any] = {}
    if state(arrays):
        found |= _model(arrays, meta)
    for key in arrays:
        if key.endswith("/raw"):
            found |= _pictures(key.removesuffix("raw"), arrays)
    return {
        key: value.detach().numpy() if isinstance(value, Tensor) else value
        for key, value in found.items()
    }


def _model(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> dict[str, Any]:
    model = model_like(state(arrays), meta.get("bert", {}).get("num_attention_heads"))
    load(model, state(arrays), "the parity file")
    model.eval()
    given = {key: torch.from_numpy(arrays[key]) for key in arrays if not key.startswith("sd/")}
    pixels, ids, mask = (given[k] for k in ("pixel_values_1ch", "input_ids", "attention_mask"))
    found: dict[str, Any] = {}
    for name, hidden in zip(("1", "2", "last"), model.text_model.hidden(ids, mask), strict=True):
        found[f"hidden_{name}"] = hidden
    found["text_raw"], found["image_raw"] = model.text_model(ids, mask), model.vision_model(pixels)
    if isinstance(model.vision_model, SwinTower):
        found["image_pooled_noproj"] = model.vision_model.pooled(pixels)
    images, texts = model.encode_image(pixels), model.encode_text(ids, mask)
    logits = model.logits(images, texts)
    found |= {"img_embeds": images, "text_embeds": texts, "logits": logits}
    found["logits_per_text"] = logits.T
    found |= _losses(model, given)
    found |= _zero_shot(model, given)
    return found


def _losses(model: MedClipModel, given: Mapping[str, Tensor]) -> dict[str, Any]:
    """Losses and gradients: CLIP's, with soft targets, and with a second text of each image."""
    labels = given["img_labels"], given["text_labels"]
    hard = pair_loss(_logits(model, given))
    found: dict[str, Any] = {"clip_loss": hard, "loss_hard": hard}
    found["grad_logit_scale_hard"] = torch.autograd.grad(hard, model.logit_scale)[0]
    soft = matching_loss(_logits(model, given), *labels)
    found["loss_soft"] = soft
    found["grad_logit_scale_soft"] = torch.autograd.grad(soft, model.logit_scale)[0]
    both = [matching_loss(_logits(model, given, prefix), *labels) for prefix in ("", "aug_")]
    found["loss_soft_aug"] = sum(both) / 2
    named = {upstream_name(key): value for key, value in model.named_parameters()}
    asked = [key.removeprefix("grad_aug/") for key in given if key.startswith("grad_aug/")]
    gradients = torch.autograd.grad(found["loss_soft_aug"], [named[key] for key in asked])
    found |= {f"grad_aug/{key}": g for key, g in zip(asked, gradients, strict=True)}
    found["soft_alone"] = soft_loss(given["soft_in_logits"], given["soft_in_sim"])
    return found


def _logits(model: MedClipModel, given: Mapping[str, Tensor], prefix: str = "") -> Tensor:
    texts = model.encode_text(given[f"{prefix}input_ids"], given[f"{prefix}attention_mask"])
    return model.logits(model.encode_image(given["pixel_values_1ch"]), texts)


@torch.no_grad()
def _zero_shot(model: MedClipModel, given: Mapping[str, Tensor]) -> dict[str, Any]:
    """Scores over the prompts of each class, and what the clamp makes of some temperatures."""
    images = model.encode_image(given["pixel_values_1ch"])
    prompts = [given[key] for key in given if key.startswith("prompt_ids/")]
    texts = torch.cat([model.encode_text(ids, torch.ones_like(ids)) for ids in prompts])
    logits, counts = model.logits(images, texts), [len(ids) for ids in prompts]
    found: dict[str, Any] = {
        f"zs_{how}": prompt_scores(logits, counts, how) for how in ("max", "mean")
    }
    texts = model.encode_text(given["input_ids"], given["attention_mask"])
    rows = []
    for asked in given["clamp_rows"][:, 0]:
        model.logit_scale.copy_(asked)
        first = model.logits(images, texts)[0, 0]
        rows.append([float(asked), float(first), float(model.logit_scale)])
    found["clamp_rows"] = np.array(rows, np.float64)
    return found


def _pictures(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    picture = arrays[f"{prefix}raw"]
    square = torch.from_numpy(pad_square(picture))[None, None] / 255
    found: dict[str, Any] = {
        f"{prefix}padded_size": np.array(square.shape[-2:]),
        f"{prefix}processor": _pixels(framed(picture, "processor")),
        f"{prefix}zeroshot_dataset": _pixels(framed(picture, "dataset")),
    }
    key = f"{prefix}pretrain_dataset_tensor_resize"
    if key in arrays:
        size = arrays[key].shape[-2:]
        found[key] = F.interpolate(normalised(square), size, mode="bilinear", antialias=True)[0]
    return {key: value for key, value in found.items() if key in arrays}


def _pixels(picture: np.ndarray) -> Tensor:
    return normalised(torch.from_numpy(picture)[None] / 255)
