"""Does an adapter reproduce what the upstream code gave? `python -m tests.parity NAME FILE.npz`.

A file holds upstream's weights (`sd/<upstream key>`), inputs, outputs and `meta_json`. The module
`tests.parity.NAME` turns weights and inputs into outputs through the adapter's public code:

    INPUTS      patterns of arrays that are given to it, beside the weights
    TOLERANCE   `Rule`s; the first whose pattern fits an array holds for it
    COMPANIONS  optional: stems of files beside FILE whose arrays it needs, seen as "<stem>/<array>"
    reproduce(arrays, meta) -> {array: value}

Every other array of the file must be reproduced within its tolerance; what the adapter gives beside
them is not compared. Sizes come from the file, so that files of other sizes and seeds work as well.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

WEIGHTS = "sd/"
META = "meta_json"


@dataclass(frozen=True)
class Rule:
    """The largest difference allowed: `absolute`, plus `relative` times the array's largest value.

    Both zero means equal.
    """

    pattern: str
    absolute: float = 0.0
    relative: float = 0.0

    def limit(self, expected: np.ndarray) -> float:
        """The largest difference allowed in this array."""
        largest = float(np.abs(expected.astype(np.float64)).max()) if expected.size else 0.0
        return self.absolute + self.relative * largest


@dataclass(frozen=True)
class Comparison:
    """One array: how far it was off, what was allowed, or why it could not be compared."""

    name: str
    difference: float | None
    limit: float | None
    problem: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the array was reproduced within its tolerance."""
        return self.problem is None

    def __str__(self) -> str:
        verdict = "ok" if self.passed else f"FAIL  {self.problem}"
        if self.difference is None or self.limit is None:
            return f"{self.name:<44} {'':>25} {verdict}"
        return f"{self.name:<44} {self.difference:>11.3g} of {self.limit:>10.3g} {verdict}"


def compare_file(name: str, path: Path) -> list[Comparison]:
    """Every array of a parity file against what the adapter called `name` gives for it."""
    module = importlib.import_module(f"tests.parity.{name}")
    arrays, meta = read(path)
    expected = [
        key
        for key in arrays
        if not key.startswith(WEIGHTS)
        and not any(fnmatchcase(key, pattern) for pattern in module.INPUTS)
    ]
    for stem in getattr(module, "COMPANIONS", ()):
        beside = companion(path, stem)
        if beside is not None:
            arrays |= {f"{stem}/{key}": value for key, value in read(beside)[0].items()}
    return compare(arrays, expected, module.reproduce(arrays, meta), module.TOLERANCE)


def companion(path: Path, stem: str) -> Path | None:
    """The file beside `path` that goes with it: fixture-7.npz has model2-7.npz, else model2.npz."""
    names = (path.name.replace("fixture", stem), f"{stem}.npz")
    beside = (path.with_name(name) for name in names)
    return next((file for file in beside if file.is_file() and file != path), None)


def compare(
    arrays: Mapping[str, np.ndarray],
    expected: Sequence[str],
    reproduced: Mapping[str, Any],
    rules: Sequence[Rule],
) -> list[Comparison]:
    """The expected arrays against the reproduced ones."""
    found = []
    for key in expected:
        if key in reproduced:
            rule = next((rule for rule in rules if fnmatchcase(key, rule.pattern)), Rule(key))
            found.append(_compared(key, arrays[key], np.asarray(reproduced[key]), rule))
        else:
            found.append(Comparison(key, None, None, "nothing reproduces it"))
    return found


def _compared(key: str, theirs: np.ndarray, ours: np.ndarray, rule: Rule) -> Comparison:
    if theirs.shape != ours.shape:
        return Comparison(key, None, None, f"shape {ours.shape} where {theirs.shape} is expected")
    limit = rule.limit(theirs)
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    worst = float(difference.max()) if difference.size else 0.0
    # A NaN is never within a tolerance.
    return Comparison(key, worst, limit, None if worst <= limit else "above tolerance")


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file and its `meta_json` as a dict; nothing in it is ever executed."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    meta = arrays.pop(META, None)
    return arrays, {} if meta is None else json.loads(str(meta))


def state(arrays: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, Any]:
    """The weights of a file, or of a companion (`prefix` "<stem>/"), as tensors by upstream key."""
    import torch

    start = prefix + WEIGHTS
    return {
        key.removeprefix(start): torch.from_numpy(np.array(value))
        for key, value in arrays.items()
        if key.startswith(start)
    }
