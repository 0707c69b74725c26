"""CheXzero's features, scores, loss and pictures (rajpurkarlab/CheXzero@5c341db)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.protocol.weights import Checkpoint, load_strictly
from methods._clip import PIXEL_MEAN, PIXEL_STD, ClipTowers
from methods._openai import HARMLESS, ClipSizes, at_side
from methods._tokens import CONTEXT, Tokens
from methods.chexzero import CheXzero, pair_probability, standardised_probability
from tests.parity import Rule, state

INPUTS = ("images", "*/raw")
COMPANIONS = ("model2",)
TOLERANCE = (
    Rule("tokens"),
    Rule("grad*", relative=1e-4),
    Rule("logits_*", absolute=1e-4),
    # Cosines divided by their spread over classes, which is a tenth or less: features that agree to
    # 3e-6 give 1e-6 here, and so does the same forward pass in float64.
    Rule("prob_single_template_standardised", absolute=1e-5),
    Rule("prob_*", absolute=1e-6),
    Rule("train_loss", absolute=1e-5),
    # One grey level, for another version of Pillow.
    Rule("*/padded320", absolute=1),
    Rule("*/tensor224_*", absolute=1e-4),
    Rule("*", absolute=1e-5),
)


def reproduce(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> dict[str, Any]:
    """Pictures from raw ones, or everything that weights, images and captions give."""
    found = dict(_pictures(arrays))
    weights = state(arrays)
    if weights and "images" not in arrays:
        _method(weights, meta)
    elif weights:
        found |= _outputs(arrays, meta)
    return found


def _pictures(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    method = CheXzero(CheXzero.Config.upstream())
    found: dict[str, np.ndarray] = {}
    for key in arrays:
        name, _, what = key.rpartition("/")
        if what == "raw":
            found[f"{name}/padded320"] = method.frame(arrays[key])
        elif what.startswith("tensor"):
            # Upstream resizes the exact frame it stored; another Pillow's would differ by a level.
            frame = torch.from_numpy(arrays[f"{name}/padded320"])[None, None]
            pixels = (frame.float() - PIXEL_MEAN) / PIXEL_STD
            antialias = what.endswith("true")
            found[key] = at_side(pixels, arrays[key].shape[-1], antialias)[0, 0].numpy()
    return found


def _method(weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> CheXzero:
    """The adapter with these weights under the upstream recipe.

    The upstream model is told its head counts; the adapter derives them, as upstream's loader does.
    """
    method = CheXzero(
        CheXzero.Config.upstream(), [Checkpoint("weights.npz", "", weights, Path("."))]
    )
    method.model = method.build(("Edema",), (), torch.device("cpu"))
    sizes = ClipSizes.of_state(weights)
    heads = {
        "vision_heads": meta.get("vision_heads", sizes.vision_heads),
        "text_heads": meta.get("cfg", {}).get("transformer_heads", sizes.text_heads),
    }
    if replace(sizes, **heads) != sizes:
        method.model = ClipTowers(sizes=replace(sizes, **heads), antialias=False)
        load_strictly(method.model.clip, weights, where="the fixture", harmless=HARMLESS)
    method.model.eval()
    return method


def _outputs(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> dict[str, Any]:
    method = _method(state(arrays), meta)
    towers = method.model
    pixels = torch.from_numpy(arrays["images"])
    # A caption that is missing is fed as a blank.
    captions = [caption or " " for caption in meta["captions"]]
    tokens = Tokens(captions, compact=False)(captions)
    labels, templates = meta["labels"], meta["templates"]
    image, text = towers.image_features(pixels), towers.text_features(tokens)
    embedded = F.normalize(image, dim=-1)
    logits = method.temperature() * embedded @ F.normalize(text, dim=-1).T
    loss = method.contrast(embedded, captions)
    loss.backward()
    single = next(template for template in templates if template not in ("{}", "no {}"))
    several = f"zs_weights_{len(templates)}templates"
    # Upstream's classifier takes a list of templates a call: "{}" alone, "no {}" alone, or all.
    positive, negative = (method.encode_prompts(labels, [one]) for one in ("{}", "no {}"))
    asked, refused = embedded @ positive.T, embedded @ negative.T
    found: dict[str, Any] = {
        "tokens": F.pad(tokens, (0, CONTEXT - tokens.shape[1])),
        "image_features": image,
        "text_features": text,
        "logits_per_image": logits,
        "logits_per_text": logits.T,
        "zs_weights_pos": positive.T,
        "zs_weights_neg": negative.T,
        several: method.encode_prompts(labels, templates).T,
        "cos_pos": asked,
        "cos_neg": refused,
        "prob_pair": pair_probability(asked - refused),
        "prob_single_template_standardised": standardised_probability(
            embedded @ method.encode_prompts(labels, [single]).T
        ),
        "train_loss": loss,
    }
    gradients = {name: p.grad for name, p in towers.clip.named_parameters()}
    found |= {
        key: gradients[key.removeprefix("grad/")] for key in arrays if key.startswith("grad/")
    }
    found["grad_token_embedding_norm"] = gradients["token_embedding.weight"].norm()
    if second := state(arrays, "model2/"):
        other = _method(second, meta)
        embedded = F.normalize(other.model.image_features(pixels), dim=-1)
        positive, negative = (other.encode_prompts(labels, [one]) for one in ("{}", "no {}"))
        probability = pair_probability(embedded @ positive.T - embedded @ negative.T)
        found["prob_pair_model2"] = probability
        found["prob_pair_ensemble"] = (found["prob_pair"] + probability) / 2
    return {key: value.detach().numpy() for key, value in found.items()}
