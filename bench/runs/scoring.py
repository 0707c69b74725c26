"""A model's scores of some images, and what stands beside them in a trial's arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data import Dataset
from bench.errors import MethodError
from bench.protocol.batches import Split
from bench.protocol.method import Method
from bench.protocol.prompts import Policy, prompts_for
from bench.runs.trial import TrialSpec

# Bytes of encoded images that a process keeps: 500,000 embeddings of 512 numbers.
_KEPT = 2**30

_Encode = Callable[[Tensor], Any]


class Encodings:
    """What one frozen model encoded of images, kept for the next trial of the same weights.

    Images are known by the rows that were read together, in their order, so that what is kept is
    what would be computed again: how images fall into batches can change the last bits.
    """

    def __init__(self, limit: int = _KEPT) -> None:
        self._limit = limit
        self._model: str | None = None
        self._kept: dict[str, list[Any]] = {}
        self._bytes = 0

    def of(self, method: Method, spec: TrialSpec) -> Encodings:
        """This, for the method as it is now; what is kept of any other one is forgotten."""
        model = _digest_of_model(method, spec)
        if model != self._model:
            self._model, self._kept, self._bytes = model, {}, 0
        return self

    def batches(self, encode: _Encode, part: Split) -> Iterator[Any]:
        """What `encode` makes of the evaluation batches of a part."""
        key = _digest_of_images(part)
        if key in self._kept:
            yield from self._kept[key]
            return
        found: list[Any] | None = []
        size = 0
        for images in part.images():
            encoded = encode(images)
            if found is not None:
                found.append(encoded)
                size += _bytes(encoded)
                if self._bytes + size > self._limit:
                    found = None
            yield encoded
        if found is not None:
            self._kept[key] = found
            self._bytes += size


@torch.no_grad()
def score(
    method: Method, part: Split, classes: Sequence[str], frozen: Encodings | None = None
) -> dict[str, np.ndarray]:
    """(N, C) float32 scores of each prompt policy, in one pass over the images.

    Args:
        frozen: where encoded images of the method are kept, when nothing trains it.

    Raises:
        MethodError: a shape or value that cannot be ranked.
    """
    method.model.eval()
    encode, asked = _asking(method, classes)
    if encode is None:
        batches: Iterator[Any] = part.images()
    elif frozen is None:
        batches = map(encode, part.images())
    else:
        batches = frozen.batches(encode, part)
    parts: dict[str, list[np.ndarray]] = {policy: [] for policy in asked}
    for batch in batches:
        for policy, answer in asked.items():
            parts[policy].append(answer(batch).float().cpu().numpy())
    scores: dict[str, np.ndarray] = {}
    for policy in asked:
        values = np.concatenate(parts[policy])
        if values.shape != (len(part), len(classes)):
            raise MethodError(
                f"score() gave {values.shape} for {len(part)} images and {len(classes)} classes."
            )
        if not np.isfinite(values).all():
            raise MethodError(f"score() gave values that are not finite under policy '{policy}'.")
        scores[policy] = values
    return scores


def _asking(
    method: Method, classes: Sequence[str]
) -> tuple[_Encode | None, Mapping[Policy, Callable[[Any], Tensor]]]:
    """How images are encoded, and what each policy makes of them.

    A class that defines `score` alone, whatever it inherits, is asked by that, without encoding.
    """
    newest = next(cls for cls in type(method).__mro__ if {"ask", "score"} & vars(cls).keys())
    prompts = {policy: prompts_for(policy, classes) for policy in method.policies}
    if newest is not Method and "ask" in vars(newest):
        return method.encode, {policy: method.ask(asked) for policy, asked in prompts.items()}
    return None, {policy: Method.ask(method, asked) for policy, asked in prompts.items()}


def _digest_of_model(method: Method, spec: TrialSpec) -> str:
    """Of the weights as they are in memory, and of what else decides what they make of an image."""
    read = hashlib.sha256()
    told = [spec.method_reference, spec.method_code, dict(spec.config), list(spec.weights)]
    read.update(json.dumps(told, sort_keys=True).encode())
    for name, value in method.model.state_dict().items():
        read.update(f"{name} {value.dtype} {tuple(value.shape)} {value.device}".encode())
        read.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return read.hexdigest()


def _digest_of_images(part: Split) -> str:
    read = hashlib.sha256(f"{part.dataset.fingerprint} {part.side} {part.device} ".encode())
    read.update(np.ascontiguousarray(part.rows, dtype=np.int64).data)
    return read.hexdigest()


def _bytes(encoded: Any) -> int:
    parts = encoded if isinstance(encoded, tuple) else (encoded,)
    return sum(part.nbytes for part in parts)


def arrays_beside(
    dataset: Dataset, rows: np.ndarray, labels: np.ndarray, mask: np.ndarray
) -> dict[str, np.ndarray]:
    """What of the scored images stands beside their scores; patients and sources as codes."""
    _, patients = np.unique(dataset.patients, return_inverse=True)
    _, sources = np.unique(dataset.sources, return_inverse=True)
    return {
        "labels": labels,
        "mask": mask,
        "rows": rows.astype(np.int32),
        "patients": patients[rows].astype(np.int32),
        "sources": sources[rows].astype(np.int16),
    }
