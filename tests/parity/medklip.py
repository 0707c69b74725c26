"""What MediaBrain-SJTU/MedKLIP@8e60b03 gave, from the adapter with the file's weights and its loss.

The network is in evaluation mode throughout, as it was when the file was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.protocol.weights import Checkpoint
from methods._medklip import MedKlipNet, Reading
from methods._medklip_loss import Losses, Positions, existence_labels, kept, objective
from methods._medklip_names import ENTITIES
from methods.medklip import MedKLIP, MedKlipConfig
from tests.parity import Rule, state

INPUTS = ("images", "disease_book", "ana_book", "adj")
TOLERANCE = (
    Rule("labels"),
    Rule("sample_index"),
    Rule("trunk_shape"),
    Rule("probs", absolute=1e-5),
    Rule("grad/*", relative=1e-4),
    Rule("*", absolute=1e-4),
)


def reproduce(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every output of the file; sizes come from its weights, the number of heads from its meta."""
    config = MedKlipConfig.upstream()
    config = replace(config, heads=meta.get("cfg", {}).get("H", config.heads))
    method = MedKLIP(config, [Checkpoint("the file", "", state(arrays), Path())])
    net = method.build((), (), torch.device("cpu")).eval()
    if "images" not in arrays:
        return {}
    pixels = torch.from_numpy(arrays["images"].astype(np.float32))
    book = torch.from_numpy(arrays["disease_book"])
    features = net.features(pixels)
    reading: Reading = net(pixels, book, maps=True)
    found: dict[str, Tensor] = {
        "trunk_mean": features.mean((2, 3)),
        "trunk_shape": torch.tensor(features.shape),
        "patches": net.places(features),
        "query": net.queries(book),
        "decoder_out": reading.decoded.transpose(0, 1),
        "logits": reading.logits,
        "probs": reading.logits.softmax(-1),
        "attn_first": reading.attention[0],
        "attn_last": reading.attention[-1],
    }
    if "adj" in arrays:
        adjacency = torch.from_numpy(arrays["adj"].astype(np.int64))
        found["labels"] = existence_labels(adjacency)
        given = torch.from_numpy(arrays["sample_index"])
        found["sample_index"] = _checked(given, adjacency)
        found |= _losses(net, reading, arrays, meta, given)
    return {key: value.detach().numpy() for key, value in found.items()}


def _checked(candidates: Tensor, adjacency: Tensor) -> Tensor:
    """The drawn candidates, with -1 for a first one that is not a true position."""
    first = candidates[..., 0]
    there = adjacency.transpose(1, 2).gather(2, first.unsqueeze(-1)).squeeze(-1)
    wrong = (existence_labels(adjacency) == 1) & (there != 1)
    checked = candidates.clone()
    checked[..., 0] = torch.where(wrong, -1, first)
    return checked


def _losses(
    net: MedKlipNet,
    reading: Reading,
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
    candidates: Tensor,
) -> dict[str, Tensor]:
    labels = torch.from_numpy(arrays["labels"]).long()
    book = torch.from_numpy(arrays["ana_book"])
    positions = Positions(net.positions(reading.decoded), book, candidates)
    keep = kept(meta.get("disease_name", ENTITIES))
    losses: dict[str, Losses] = {
        "full": objective(reading.logits, labels, positions),
        "no_cl": objective(reading.logits, labels),
        "excl": objective(reading.logits, labels, positions, keep),
    }
    losses["full"].total.backward()
    found = {
        f"loss_{name}/{term}": value
        for name, (total, ce, cl) in losses.items()
        for term, value in (("total", total), ("ce", ce), ("cl", cl))
    }
    for key in arrays:
        if key.startswith("grad/"):
            gradient = net.get_parameter(key.removeprefix("grad/")).grad
            if gradient is not None:
                found[key] = gradient
    return found
