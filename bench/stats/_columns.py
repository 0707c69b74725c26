"""AUC of many classes: of each the rarer side is sorted, and every image is placed in it.

Sorting both sides is what an AUC's time usually goes into. Here only the rarer one is sorted, and
its distinct scores, the rungs of a ladder, are split into buckets of equal width. A multiplication
then takes an image to its bucket, where a rung or two are left to compare with.
"""

from __future__ import annotations

import numba
import numpy as np

# Buckets a score of the rarer side, and at most: beyond that they leave the cache.
_BUCKETS_A_SCORE, _MOST_BUCKETS = 4, 1 << 15
# Rungs in one bucket above which walking costs more than halving.
_CROWD = 8
# Images whose buckets are worked out at once, in vector instructions.
_BLOCK = 256


def column_aurocs(
    scores: np.ndarray, positive: np.ndarray, negative: np.ndarray
) -> list[float | None]:
    """AUC of each column; None without a positive or without a negative. All are (N, C)."""
    known = positive | negative
    n_known = np.full(scores.shape[1], len(scores))
    # Compiled for single and double precision; narrower numbers fit into these exactly.
    dtype = np.result_type(scores.dtype, np.float32)
    if not known.all():
        # NaN is below no rung and beside none, so that an unknown image counts for nothing.
        scores, n_known = np.where(known, scores, dtype.type(np.nan)), known.sum(axis=0)
    columns = np.ascontiguousarray(scores.T, dtype=dtype)
    sides = np.ascontiguousarray(positive.T)
    return [
        _auroc(column, side, negative[:, c], int(n))
        for c, (column, side, n) in enumerate(zip(columns, sides, n_known, strict=True))
    ]


def _auroc(
    scores: np.ndarray, positive: np.ndarray, negative: np.ndarray, n_known: int
) -> float | None:
    n_pos = int(np.count_nonzero(positive))
    n_neg = n_known - n_pos
    if not n_pos or not n_neg:
        return None
    few = scores.take(np.flatnonzero(positive if n_pos <= n_neg else negative))
    few.sort()
    buckets = min(1 << (_BUCKETS_A_SCORE * len(few)).bit_length(), _MOST_BUCKETS)
    # Among themselves the rarer side wins and loses alike: n^2, ties included.
    twice_won = twice_wins(scores, few, buckets) - len(few) ** 2
    if n_pos <= n_neg:
        twice_won = 2 * n_pos * n_neg - twice_won
    # Integers up to the one division: correctly rounded whatever the number of images.
    return twice_won / (2 * n_pos * n_neg)


@numba.njit(cache=True)
def twice_wins(scores, few, buckets):  # type: ignore[no-untyped-def]
    """2 x #{score > few} + #{score = few} over all pairs; a NaN among the scores adds nothing.

    Args:
        scores: (N,). few: (n,) ascending, without NaN. buckets: how many; speed, not the result.
    """
    rung, twice_below = np.empty(len(few) + 2, few.dtype), np.empty(len(few) + 2, np.int64)
    first = np.empty(buckets + 1, np.uint32)
    low, last, zero = few[0], few.dtype.type(buckets - 1), few.dtype.type(0)
    width = few[-1] - low
    scale = few.dtype.type(buckets / width) if width > 0 else zero
    crowded = _climb(few, low, scale, rung, twice_below, first) > _CROWD
    # Unsigned, or each place would be tested for counting from the end.
    bucket, one = np.empty(_BLOCK, np.uint32), np.uint64(1)
    twice = 0
    for start in range(0, len(scores), _BLOCK):
        block = scores[start : start + _BLOCK]
        for k in range(len(block)):
            place = (block[k] - low) * scale
            place = place if place > zero else zero  # infinity x 0 too
            bucket[k] = np.uint32(min(place, last))
        for k in range(len(block)):
            score = block[k]
            i = np.uint64(first[bucket[k]])
            if crowded:
                stop = np.uint64(first[bucket[k] + one])
                while stop > i + one:
                    middle = (i + stop) >> one
                    if rung[middle] <= score:
                        i = middle
                    else:
                        stop = middle
            while rung[i + one] <= score:
                i += one
            below = twice_below[i]
            on_rung = (twice_below[i + one] - below) >> 1
            twice += below + ((rung[i] < score) + (rung[i] <= score)) * on_rung
    return twice


@numba.njit(cache=True)
def _climb(few, low, scale, rung, twice_below, first):  # type: ignore[no-untyped-def]
    """Fills the ladder of `few`, ascending; returns the rungs of the fullest bucket.

    Subtraction and multiplication round, but never past each other: a higher score is never in a
    lower bucket, which is all that the search needs.

    Args:
        rung: (n + 2,) distinct scores, then NaN. twice_below: (n + 2,) twice how many of `few` are
            lower. first: (buckets + 1,) the first rung of each bucket or of a later one.
    """
    last, zero = few.dtype.type(len(first) - 2), few.dtype.type(0)
    rungs, bucket, fullest = 0, 0, 0
    for i in range(len(few)):
        if i == 0 or few[i] != few[i - 1]:
            place = (few[i] - low) * scale
            place = min(place, last) if place > zero else zero
            while bucket <= np.int64(place):
                first[bucket] = rungs
                bucket += 1
            rung[rungs], twice_below[rungs] = few[i], 2 * i
            rungs += 1
            fullest = max(fullest, rungs - np.int64(first[bucket - 1]))
    first[bucket:] = rungs
    rung[rungs:], twice_below[rungs:] = np.nan, 2 * len(few)
    return fullest
