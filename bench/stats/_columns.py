"""AUC of many classes: one pass that parts positives from negatives, then a merge a class."""

from __future__ import annotations

import numba
import numpy as np

# Classes parted at once: a cache line of float32 scores holds that many neighbours.
_CLASSES = 16


@numba.njit(cache=True)
def part(scores, positive, negative, first, parted, filled):  # type: ignore[no-untyped-def]
    """Copies the scores of some classes, read in memory order, to a row a class.

    Args:
        scores, positive, negative: (N, C). first: the class that goes to row 0.
        parted: (rows, N) positives are written from the left and negatives from the right.
        filled: (2, rows) int64, how many; positives first.
    """
    filled[:] = 0
    images, classes = scores.shape
    for i in range(images):
        for c in range(first, min(first + len(parted), classes)):
            row = c - first
            if positive[i, c]:
                parted[row, filled[0, row]] = scores[i, c]
                filled[0, row] += 1
            elif negative[i, c]:
                filled[1, row] += 1
                parted[row, images - filled[1, row]] = scores[i, c]


@numba.njit(cache=True)
def twice_pairs_won(positives, negatives):  # type: ignore[no-untyped-def]
    """2 x #{positive > negative} + #{positive = negative} of two sorted arrays.

    Galloping: from where the last positive was found, in doubling steps and then by halving, so
    that few positives cost few steps and many cost one merge.
    """
    stop = len(negatives)
    below, not_above, twice = 0, 0, 0
    for score in positives:
        if below < stop and negatives[below] < score:
            low, step = below, 1
            while low + step < stop and negatives[low + step] < score:
                low += step
                step *= 2
            high = min(low + step, stop)
            while high - low > 1:
                middle = (low + high) // 2
                if negatives[middle] < score:
                    low = middle
                else:
                    high = middle
            below = high
        not_above = max(not_above, below)
        while not_above < stop and negatives[not_above] <= score:
            not_above += 1
        twice += below + not_above
    return twice


def column_aurocs(
    scores: np.ndarray, positive: np.ndarray, negative: np.ndarray
) -> list[float | None]:
    """AUC of each column; None without a positive or without a negative. All are (N, C)."""
    # Compiled for single and double precision; narrower numbers fit into these exactly.
    scores = np.ascontiguousarray(scores, dtype=np.result_type(scores.dtype, np.float32))
    images, classes = scores.shape
    parted = np.empty((min(_CLASSES, classes), images), scores.dtype)
    filled = np.empty((2, len(parted)), dtype=np.int64)
    values: list[float | None] = []
    for first in range(0, classes, _CLASSES):
        part(scores, positive, negative, first, parted, filled)
        for row, n_pos, n_neg in zip(parted, *filled.tolist(), strict=True):
            positives, negatives = row[:n_pos], row[images - n_neg :]
            positives.sort()
            negatives.sort()
            twice = twice_pairs_won(positives, negatives)
            values.append(twice / (2 * n_pos * n_neg) if n_pos and n_neg else None)
    return values[:classes]
