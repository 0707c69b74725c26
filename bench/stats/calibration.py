"""What needs a threshold or a probability, found on other images than those it is judged on.

Scores of a contrastive model are no probabilities. Here every fold is scaled (or cut) by what the
other folds say, so that no image has a part in its own calibration. The folds are any grouping of
the images by patient, such as halves of a test fold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.errors import DataError, UsageError
from bench.stats._checks import checked, checked_rows


class F1(NamedTuple):
    """F1 at thresholds that were found on other folds, and the thresholds by fold."""

    value: float | None
    thresholds: tuple[float | None, ...]


def max_f1_threshold(
    scores: np.ndarray, labels: np.ndarray, mask: np.ndarray | None = None
) -> float | None:
    """The score at or above which calling an image positive gives the highest F1.

    F1 = 2 TP / (2 TP + FP + FN); of several equal thresholds the highest. None without a positive
    or without a negative. F1 at this threshold on the same images is optimistic.

    Args and errors: as `bench.stats.metrics.auroc`.
    """
    scores, positive, negative = checked(scores, labels, mask)
    pos, neg = np.sort(scores[positive]), np.sort(scores[negative])
    if not len(pos) or not len(neg):
        return None
    # Between two positives a threshold only adds false alarms, so positives are the candidates.
    hits = len(pos) - np.searchsorted(pos, pos, side="left")
    alarms = len(neg) - np.searchsorted(neg, pos, side="left")
    f1 = 2 * hits / (hits + alarms + len(pos))
    return float(pos[len(f1) - 1 - np.argmax(f1[::-1])])


def cross_fitted_f1(
    scores: np.ndarray, labels: np.ndarray, folds: np.ndarray, mask: np.ndarray | None = None
) -> F1:
    """F1 over all folds, each cut at the threshold that is best on the others.

    Hits and errors are counted over the folds and divided once (the F1 of a mean of folds is
    biased, Forman & Scholz 2010). Folds whose others define no threshold are left out; None where
    all are, or where no positive is left.

    Args:
        scores, labels, mask: (N,). folds: (N,) group of each image; no patient in two.
    """
    scores, positive, negative = checked(scores, labels, mask)
    folds = checked_rows("folds", folds, len(scores))
    hits, alarms, misses = 0, 0, 0
    thresholds: list[float | None] = []
    for fold in _at_least_two(folds):
        here = folds == fold
        threshold = max_f1_threshold(scores, labels, ~here & (positive | negative))
        thresholds.append(threshold)
        if threshold is not None:
            called = here & (scores >= threshold)
            hits += int((called & positive).sum())
            alarms += int((called & negative).sum())
            misses += int((here & positive & ~called).sum())
    value = 2 * hits / (2 * hits + alarms + misses) if hits + misses else None
    return F1(value, tuple(thresholds))


def cross_fitted_probabilities(
    scores: np.ndarray, labels: np.ndarray, folds: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray | None:
    """(N,) probabilities of each image by Platt scaling fitted on the other folds.

    None where the others of some fold lack a positive or a negative. Images outside the mask get
    a probability as well; it is not used in the fit.

    Args: as `cross_fitted_f1`.
    """
    scores, positive, negative = checked(scores, labels, mask)
    folds = checked_rows("folds", folds, len(scores))
    probabilities = np.empty(len(scores))
    for fold in _at_least_two(folds):
        here = folds == fold
        fitted = platt(scores, labels, ~here & (positive | negative))
        if fitted is None:
            return None
        probabilities[here] = scaled(scores[here], fitted)
    return probabilities


def scaled(scores: np.ndarray, fitted: tuple[float, float]) -> np.ndarray:
    """Probabilities of scores by the slope and offset that `platt` found."""
    slope, offset = fitted
    return _sigmoid(slope * np.asarray(scores, float) + offset)


def platt(
    scores: np.ndarray, labels: np.ndarray, mask: np.ndarray | None = None
) -> tuple[float, float] | None:
    """Slope a and offset b of the probability 1 / (1 + exp(-(a s + b))) of a score.

    Platt (1999) with his targets (P + 1)/(P + 2) and 1/(N + 2), which keep a separable class
    finite; Newton's method with halved steps (Lin, Lin & Weng, Machine Learning 68, 2007) on
    standardised scores. None without a positive or without a negative.
    """
    scores, positive, negative = checked(scores, labels, mask)
    pos, neg = int(positive.sum()), int(negative.sum())
    if not pos or not neg:
        return None
    known = positive | negative
    values = scores[known].astype(float)
    centre, scale = values.mean(), values.std() or 1.0
    x = np.column_stack([(values - centre) / scale, np.ones(len(values))])
    target = np.where(positive[known], (pos + 1) / (pos + 2), 1 / (neg + 2))
    weights = np.array([0.0, np.log((pos + 1) / (neg + 1))])
    loss = _log_loss(x @ weights, target)
    for _ in range(100):
        p = _sigmoid(x @ weights)
        gradient = x.T @ (p - target)
        if np.abs(gradient).max() < 1e-9 * len(values):
            break
        # The ridge is far below what moves a digit; it only keeps constant scores solvable.
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (new := _log_loss(x @ (weights - size * step), target)) > loss and size > 1e-10:
            size /= 2
        if new >= loss:
            break
        weights, loss = weights - size * step, new
    slope = float(weights[0] / scale)
    return slope, float(weights[1] - slope * centre)


def expected_calibration_error(
    probabilities: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    bins: int = 15,
) -> float | None:
    """Mean distance between predicted and observed frequency, over bins of equal counts.

    sum_b n_b / n |mean(p) - mean(y)| (Naeini et al. 2015), on quantile bins: with equal widths a
    class of 0.1 % prevalence would lie in one bin. None without a known label.

    Args:
        probabilities: (N,) between 0 and 1; see `cross_fitted_probabilities`.
        bins: at most this many; equal probabilities share a bin.
    """
    p, y = _known(probabilities, labels, mask)
    if not len(p):
        return None
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    ends = np.searchsorted(p, p[(np.arange(1, bins + 1) * len(p)) // bins - 1], side="right")
    ends = np.unique(ends[ends > 0])
    starts = np.concatenate([[0], ends[:-1]])
    return float(np.abs(np.add.reduceat(p - y, starts)).sum() / len(p))


def brier(
    probabilities: np.ndarray, labels: np.ndarray, mask: np.ndarray | None = None
) -> float | None:
    """Mean squared distance of probability and label (Brier 1950); None without a known label."""
    p, y = _known(probabilities, labels, mask)
    return float(((p - y) ** 2).mean()) if len(p) else None


def _known(
    probabilities: np.ndarray, labels: np.ndarray, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    values, positive, negative = checked(probabilities, labels, mask)
    known = positive | negative
    p = values[known].astype(float)
    if len(p) and (p.min() < 0 or p.max() > 1):
        raise DataError(
            f"Probabilities lie between 0 and 1; these reach from {p.min():.4g} to {p.max():.4g}. "
            "Scale scores first, with cross_fitted_probabilities."
        )
    return p, positive[known].astype(float)


def _at_least_two(folds: np.ndarray) -> np.ndarray:
    unique = np.unique(folds)
    if len(unique) < 2:
        raise UsageError("Cross-fitting takes two folds or more; there is one.")
    return unique


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


def _log_loss(logit: np.ndarray, target: np.ndarray) -> float:
    return float((np.logaddexp(0.0, logit) - target * logit).sum())
