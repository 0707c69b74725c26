"""How well scores rank images, one class at a time, and means over groups of classes.

Scores are ranked exactly as given: no sigmoid, no rounding, no cast; equal scores share their
rank. A metric that the labels cannot define is None, never 0 and never NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench.errors import UsageError
from bench.stats._checks import checked, checked_rows


class Macro(NamedTuple):
    """The mean over the classes where a metric is defined; `0.720 (11/12)` in a table."""

    value: float | None
    defined: int
    total: int


def auroc(scores: np.ndarray, labels: np.ndarray, mask: np.ndarray | None = None) -> float | None:
    """Area under the ROC curve by mid-ranks; None when either class is absent.

    AUC = (#{positive > negative} + #{positive = negative} / 2) / (positives x negatives), the
    Mann-Whitney statistic (Hanley & McNeil 1982).

    Args:
        scores: (N,) any real dtype, higher = more likely present.
        labels: (N,) 0 or 1.
        mask: (N,) bool, True where the label is known; others are not read.

    Raises:
        UsageError: shapes differ. DataError: labels not 0/1, or NaN scores.
    """
    return _aurocs(*(side[:, None] for side in checked(scores, labels, mask)))[0]


def class_aurocs(
    scores: np.ndarray, labels: np.ndarray, mask: np.ndarray | None = None
) -> list[float | None]:
    """AUC of each class: exactly `auroc` of each column, in a twentieth of scikit-learn's time.

    Args:
        scores: (N, C). labels: (N, C) 0 or 1. mask: (N, C) bool.
    """
    if np.ndim(scores) != 2:
        raise UsageError(f"scores has shape {np.shape(scores)}; images by classes is meant.")
    return _aurocs(*checked(scores, labels, mask))


def stratified_auroc(
    scores: np.ndarray,
    labels: np.ndarray,
    strata: np.ndarray,
    mask: np.ndarray | None = None,
) -> float | None:
    """AUC within each stratum, averaged with the strata's numbers of positives as weights.

    sum_s P_s AUC_s / sum_s P_s over the strata with both a positive and a negative: pairs are
    compared within a hospital only, so that knowing the hospital is worth nothing (the
    covariate-adjusted AUC of Janes & Pepe 2009). None where no stratum is defined.

    Args:
        scores, labels, mask: as in `auroc`.
        strata: (N,) the source of each image, any dtype.
    """
    scores, positive, negative = checked(scores, labels, mask)
    strata = checked_rows("strata", strata, len(scores))
    total, weight = 0.0, 0
    for stratum in np.unique(strata):
        here = strata == stratum
        (within,) = _aurocs(*(side[here, None] for side in (scores, positive, negative)))
        if within is not None:
            positives = int(positive[here].sum())
            total += positives * within
            weight += positives
    return total / weight if weight else None


def average_precision(
    scores: np.ndarray, labels: np.ndarray, mask: np.ndarray | None = None
) -> float | None:
    """Average precision, sum_n (R_n - R_(n-1)) P_n over distinct scores; None as in `auroc`.

    Written as the mean, over the positives, of the precision at each one's own score: recall
    does not change at a score that no positive has. No interpolation.

    Args and errors: as in `auroc`.
    """
    scores, positive, negative = checked(scores, labels, mask)
    return _average_precision(np.sort(scores[positive]), np.sort(scores[negative]))


def average_precision_ratio(
    scores: np.ndarray, labels: np.ndarray, mask: np.ndarray | None = None
) -> float | None:
    """Average precision over prevalence: how many times better than ranking blindly.

    Args and errors: as in `auroc`.
    """
    value = average_precision(scores, labels, mask)
    if value is None:
        return None
    _, positive, negative = checked(scores, labels, mask)
    return value * float(positive.sum() + negative.sum()) / float(positive.sum())


def macro(values: Sequence[float | None]) -> Macro:
    """The mean of the values that are defined, with how many they are of how many.

    >>> macro([0.5, None, 0.75])
    Macro(value=0.625, defined=2, total=3)
    """
    defined = [value for value in values if value is not None]
    return Macro(float(np.mean(defined)) if defined else None, len(defined), len(values))


def group_macros(
    values: Sequence[float | None], groups: Mapping[str, Sequence[int]]
) -> dict[str, Macro]:
    """`macro` over each group of class indices: total, base, rare, total without Normal, ..."""
    return {name: macro([values[c] for c in members]) for name, members in groups.items()}


def _aurocs(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> list[float | None]:
    # Here and not above: numba's import is felt, and other metrics do not need it.
    from bench.stats._columns import column_aurocs

    return column_aurocs(scores, positive, negative)


def _average_precision(positives: np.ndarray, negatives: np.ndarray) -> float | None:
    if not len(positives) or not len(negatives):
        return None
    hits = len(positives) - np.searchsorted(positives, positives, side="left")
    alarms = len(negatives) - np.searchsorted(negatives, positives, side="left")
    return float(np.mean(hits / (hits + alarms)))
