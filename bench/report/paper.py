"""The paper's printed numbers beside ours, with a verdict where the two can be compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.classes import CLASSES
from bench.report.options import METRICS, Group, Options
from bench.report.results import RowResults
from bench.report.table import Cell
from bench.stats.significance import corrected_resampled_ttest

PAPER_DATA = "MIMIC-CXR"
_HALF_A_DIGIT = 0.0005  # the paper prints three


def paper_cell(row: RowResults, group: Group, printed: float | None, options: Options) -> Cell:
    """What the paper prints for a cell, and whether ours agrees."""
    if printed is None:
        return Cell("-")
    reason = _not_comparable(row, options)
    interval = None if reason else procedure_interval(row, group)
    if interval is None:
        reason = reason or "ours has no interval: fewer than two defined values"
        verdict = "not comparable"
    else:
        low, high = interval[0] - _HALF_A_DIGIT, interval[1] + _HALF_A_DIGIT
        verdict = "reproduced" if low <= printed <= high else "outside the interval"
    return Cell(f"{printed:.3f}: {verdict}", {"auc": printed, "verdict": verdict, "reason": reason})


def paper_notes(rows: Sequence[RowResults], options: Options) -> list[str]:
    """Whose the numbers are, what the verdicts mean, and why cells cannot be compared."""
    notes = [
        "Columns 'Paper' are the numbers printed in the paper (MIMIC-CXR-JPG, ViT-B/32); they "
        "were not measured here. Reproduced: the printed number, rounded as it is, lies in the "
        "95 % interval of ours over new training sets (Nadeau-Bengio)."
    ]
    reasons = dict.fromkeys(_not_comparable(row, options) for row in rows)
    return notes + [f"Not comparable: {reason}." for reason in reasons if reason]


def procedure_interval(row: RowResults, group: Group) -> tuple[float, float] | None:
    """95 % interval of a row's own mean over runs and folds with the correction."""
    values = row.by_fold(group)
    sizes = row.train_test
    if values.shape != sizes.shape[:2]:
        return None
    return corrected_resampled_ttest(values, sizes[..., 0], sizes[..., 1]).ci


def _not_comparable(row: RowResults, options: Options) -> str | None:
    data, preset = row.told["data"], row.told["spec"]["config"]["preset"]
    if data["synthetic"]:
        return f"the data are synthetic ({data['name']}), the paper's are {PAPER_DATA}-JPG"
    if not _plain(data["name"]).startswith(_plain(PAPER_DATA)):
        return f"the data are {data['name']}, the paper's are {PAPER_DATA}-JPG"
    if options.metric != "auroc":
        return f"the table shows {METRICS[options.metric].title}, the paper prints AUC"
    if preset != "paper":
        return f"{row.title} ran with preset {preset}, not with the paper's values"
    defined = ~np.isnan(row.by_class()).any(axis=0)
    here = {name for name, known in zip(row.classes, defined, strict=True) if known}
    if set(CLASSES) != here:
        return f"{row.title} has {len(here)} defined classes, the paper reports {len(CLASSES)}"
    return None


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-")
