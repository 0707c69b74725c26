"""What the records of a row tell of training: losses by epoch and the fits of a clustering."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.report.results import RowResults

Fit = Mapping[str, Any]
"""`epoch`, and what is told of it: `occupancy`, `churn`, `nmi`, `class_purity`."""


class History(NamedTuple):
    """The epochs of one trial."""

    run: int
    fold: int
    epochs: Sequence[Mapping[str, Any]]
    """`epoch`, `loss`, `validation` of each."""
    kept: int | None
    """The epoch whose weights were kept."""


def records_of(row: RowResults) -> list[dict[str, Any]]:
    """The records behind a row's numbers, which `load_results` has checked; no others that lie in
    its folder."""
    return [
        json.loads((folder / "record.json").read_text(encoding="utf-8"))
        for _, folder in sorted(row.folders.items())
    ]


def histories(row: RowResults) -> list[History]:
    """Of each trial that was trained, in the order of runs and folds."""
    found = []
    for record in records_of(row):
        training = record.get("training") or {}
        if training.get("history"):
            spec = record["spec"]
            found.append(
                History(spec["run"], spec["fold"], training["history"], training.get("kept_epoch"))
            )
    return found


def clusterings(row: RowResults) -> list[list[Fit]]:
    """Of each trial that tells of a clustering, its fits. `diagnostics` are the method's own, so
    what is not of the shape that `Method.diagnostics` names is passed over."""
    told = [(record.get("diagnostics") or {}).get("clusterings") for record in records_of(row)]
    return [
        [_usable(fit, len(row.classes)) for fit in fits]
        for fits in told
        if isinstance(fits, list) and fits and all(_is_fit(fit) for fit in fits)
    ]


def _is_fit(fit: Any) -> bool:
    return isinstance(fit, dict) and _is_count(fit.get("epoch"))


def _usable(fit: Mapping[str, Any], classes: int) -> Fit:
    """The parts of a fit that can be drawn."""
    sizes, purity = fit.get("occupancy"), fit.get("class_purity")
    found: dict[str, Any] = {"epoch": fit["epoch"]}
    found |= {key: fit[key] for key in ("churn", "nmi") if _is_number(fit.get(key))}
    if isinstance(sizes, list) and sizes and all(_is_count(size) for size in sizes):
        found["occupancy"] = sizes
    if _is_purity(purity, classes):
        found["class_purity"] = purity
    return found


def _is_purity(value: Any, classes: int) -> bool:
    if not isinstance(value, list) or len(value) != classes:
        return False
    return all(share is None or _is_number(share) for share in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
