"""SLIP's features, losses, gradients, recipe and scores (facebookresearch/SLIP@c6faf5d)."""

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
from methods._slip import SlipSizes, SlipTowers, decays, rate, simclr_logits, simclr_loss
from methods._tokens import CONTEXT
from methods.slip import Slip
from tests.parity import Rule, state

INPUTS = ("images", "aug1", "aug2", "loss_in_*")
TOLERANCE = (
    Rule("tokens"),
    Rule("grad/*", relative=1e-4),
    # Batch statistics of a few rows magnify what rounding makes of the features.
    Rule("train_*", absolute=1e-4),
    Rule("bn_after/*", absolute=1e-4),
    Rule("sched", absolute=1e-9),
    Rule("*", absolute=1e-5),
)
_CLIP_ALONE = "loss_clip_scale"


def reproduce(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that weights, images, views and captions give, then what needs no weights.

    Raises:
        ValueError: weight decay does not hold for the parameters that `meta` says.
    """
    found: dict[str, Any] = {}
    weights = state(arrays)
    if weights:
        method = _method(weights, meta)
        _check_decay(method.model, meta.get("weight_decay_on", {}))
        if "images" in arrays:
            found |= _outputs(arrays, meta, method)
    if "loss_in_a" in arrays:
        found |= _losses_alone({key: torch.from_numpy(value) for key, value in arrays.items()})
    if "sched" in arrays:
        found["sched"] = _rates(arrays["sched"])
    return {
        key: value.detach().numpy() if isinstance(value, Tensor) else value
        for key, value in found.items()
    }


def _method(weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Slip:
    """The adapter with these weights under the upstream recipe, its tokeniser included.

    Head counts are in no file; the adapter derives them from the authors' models, and small models
    have others, which `meta` tells.
    """
    config = replace(Slip.Config.upstream(), keep_end=False)
    method = Slip(config, [Checkpoint("weights.npz", "", weights, Path("."))])
    method.model = method.build(("Edema",), (), torch.device("cpu"))
    sizes = SlipSizes.of_state(weights)
    heads = {
        "vision_heads": meta.get("vit", {}).get("num_heads", sizes.vision_heads),
        "text_heads": meta.get("cfg", {}).get("transformer_heads", sizes.text_heads),
    }
    if replace(sizes, **heads) != sizes:
        method.model = SlipTowers(replace(sizes, **heads))
        load_strictly(method.model, weights, where="the fixture")
    return method


def _check_decay(towers: SlipTowers, expected: Mapping[str, bool]) -> None:
    ours = {name: decays(name, parameter) for name, parameter in towers.named_parameters()}
    wrong = [name for name, decayed in expected.items() if ours.get(name) != decayed]
    if wrong:
        raise ValueError(f"weight decay differs for {', '.join(wrong)}")


def _outputs(
    arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], method: Slip
) -> dict[str, Any]:
    towers = method.model
    captions = list(meta["captions"])
    tokens = method.tokens(captions, compact=False)(captions)
    images, aug1, aug2 = (torch.from_numpy(arrays[key]) for key in ("images", "aug1", "aug2"))
    found: dict[str, Any] = {"tokens": F.pad(tokens, (0, CONTEXT - tokens.shape[1]))}
    towers.eval()
    with torch.no_grad():
        found |= {
            "visual_features": towers.visual(images),
            "image_features": towers.image_features(images),
            "text_features": towers.text_features(tokens),
        }
        text = method.encode_prompts(meta["labels"], meta["templates"])
        found["zs_text"] = text
        found["zs_logits"] = F.normalize(found["image_features"], dim=-1) @ text.T
    for mode in ("eval", "train"):
        towers.train(mode == "train")
        a, b = (towers.image_mlp(towers.visual(view)) for view in (aug1, aug2))
        image = F.normalize(towers.image_features(images), dim=-1)
        values = _losses(method, image, F.normalize(towers.text_features(tokens), dim=-1), a, b)
        found |= {f"{mode}_aug1_embed": a, f"{mode}_aug2_embed": b}
        found |= {f"{mode}_loss/{key}": value for key, value in values.items()}
    found["train_loss/loss"].backward()
    parameters, buffers = dict(towers.named_parameters()), dict(towers.named_buffers())
    for key in arrays:
        kind, _, name = key.partition("/")
        if kind == "grad":
            found[key] = parameters[name].grad
        elif kind == "bn_after":
            found[key] = buffers[name]
    return found


def _losses(method: Slip, image: Tensor, text: Tensor, a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """The two terms, their sum, and how many per cent of a batch are matched right."""
    clip = method.contrast_pairs(image, text)
    ssl = simclr_loss(a, b, method.config.ssl_temperature)
    return {
        "loss": clip + method.config.ssl_scale * ssl,
        "clip_loss": clip,
        "clip_acc": _accuracy(image @ text.T),
        "ssl_loss": ssl,
        "ssl_acc": _accuracy(simclr_logits(a, b, method.config.ssl_temperature)),
    }


def _accuracy(logits: Tensor) -> Tensor:
    target = torch.arange(len(logits))
    return 100 * (logits.argmax(1) == target).float().mean()


def _rates(theirs: np.ndarray) -> np.ndarray:
    """Upstream's rate of every step of the recipe that a schedule tells.

    It is highest at the end of the warm-up, which takes one epoch, and as high at the next step, up
    to rounding.
    """
    total, highest = len(theirs), theirs.max()
    steps = int(np.isclose(theirs, highest, rtol=1e-12, atol=0).argmax()) + 1
    return np.array([rate(step, steps, total // steps, highest) for step in range(total)])


def _losses_alone(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The two losses of given embeddings, CLIP's at the scales that names of arrays end in."""
    method = Slip(Slip.Config.upstream())
    method.model = torch.nn.Module()
    image, text = (F.normalize(arrays[f"loss_in_{key}"], dim=-1) for key in ("img", "txt"))
    found = {"loss_simclr": simclr_loss(arrays["loss_in_a"], arrays["loss_in_b"], 0.1)}
    for key in arrays:
        if key.startswith(_CLIP_ALONE):
            scale = float(key.removeprefix(_CLIP_ALONE))
            method.model.logit_scale = torch.tensor(scale).log()
            found[key] = method.contrast_pairs(image, text)
    return found
