"""ROC and precision-recall of a class, thinned so far that they say nothing of a single image.

A curve with a step for each positive image tells the rank of each of them. The page may be given
away, so a curve here is a mean over the folds of one run at a few fixed places, at most one for
every two patients with the finding, in two decimals; a class too thin for the tables has none. A
mean over one fold would be no mean: only a complete run is shown, and of it the folds that may
leave by the rule of `bench export`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.report.few import enough_patients
from bench.report.options import Options
from bench.report.results import RowResults
from bench.report.scores import Stack, stack

MOST, FEWEST = 40, 5
"""Intervals of a curve."""
_FOLDS = 2


class Curves(NamedTuple):
    """Both curves of one row for one class over the same places between 0 and 1."""

    places: np.ndarray
    """(points,) false positive rates of the ROC, recalls of the other."""
    sensitivity: np.ndarray
    """(points,) mean true positive rate at each false positive rate."""
    precision: np.ndarray
    """(points,) mean precision where each recall is first reached."""
    prevalence: float
    """What blind ranking reaches as precision."""


def row_curves(row: RowResults, options: Options) -> tuple[int, list[Curves | None]]:
    """The run that is shown, the first complete one, and the curves of each class; None where the
    tables have no value, or no two folds have enough patients. Of a row with a complete run and the
    scores of every trial."""
    run = row.complete[0]
    images = stack(row, tuple(sorted(t for t in row.folders if t[0] == run)), options.policy)
    defined = ~np.isnan(row.values[row.runs.index(run)]).all(axis=0)
    patients = row.told["data"]["positive_patients"]
    enough = np.array([_enough(images, fold) for fold in range(int(images.fold.max()) + 1)])
    shown = np.array([patients[name] or 0 for name in row.classes]) * enough.mean(axis=0)
    return run, [
        _class_curves(images, c, int(shown[c]), np.flatnonzero(enough[:, c]).tolist())
        if defined[c]
        else None
        for c in range(len(row.classes))
    ]


def _enough(images: Stack, fold: int) -> np.ndarray:
    here = images.fold == fold
    return enough_patients(images.labels[here], images.mask[here], images.patients[here])


def _class_curves(images: Stack, c: int, patients: int, folds: Sequence[int]) -> Curves | None:
    places = np.linspace(0, 1, int(np.clip(patients // 2, FEWEST, MOST)) + 1)
    sensitivity, precision, share = [], [], []
    for fold in folds:
        here = (images.fold == fold) & images.mask[:, c].astype(bool)
        scores, present = images.scores[here, c], images.labels[here, c].astype(bool)
        sensitivity.append(_roc(scores, present, images.sources[here], places))
        precision.append(_precision(scores, present, places))
        share.append(present.mean())
    if len(folds) < _FOLDS:
        return None
    return Curves(
        places,
        np.asarray(np.mean(sensitivity, axis=0)).round(2),
        np.asarray(np.mean(precision, axis=0)).round(2),
        float(np.round(np.mean(share), 3)),
    )


def _roc(
    scores: np.ndarray, present: np.ndarray, sources: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """Within each source, weighed by positives, as the AUC of the tables is."""
    total, weight = np.zeros(len(places)), 0
    for source in np.unique(sources):
        here = sources == source
        true, false = _counts(scores[here], present[here])
        if true[-1] and false[-1]:
            total += true[-1] * np.interp(places, false / false[-1], true / true[-1])
            weight += true[-1]
    return total / weight if weight else np.full(len(places), np.nan)


def _precision(scores: np.ndarray, present: np.ndarray, places: np.ndarray) -> np.ndarray:
    true, false = _counts(scores, present)
    recall = true[1:] / true[-1]
    at = np.searchsorted(recall, np.maximum(places, recall[recall > 0].min()) - 1e-12)
    return true[1:][at] / (true[1:] + false[1:])[at]


def _counts(scores: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives at each distinct threshold, from none to all; ties step together."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    true = np.cumsum(present[order])[ends]
    return np.append(0, true), np.append(0, ends + 1 - true)
