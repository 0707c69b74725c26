"""AUC of every class under many weightings of the patients at once.

Which negatives lie below a positive does not depend on the weights, so it is found once; a
replicate is a column of patient weights, and one walk along the negatives serves a block of
columns (the inner loops run over contiguous columns). Counts are integers, so the values are
those of an AUC computed afresh on the resampled images.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from bench.stats._checks import checked


class Sweeps(NamedTuple):
    """The known images of each class, by block, then stratum, then ascending score.

    A block holds images whose scores can be compared (a fold); a segment is what of a block lies
    in one stratum. Segments without a positive or without a negative are left out.
    """

    negative: np.ndarray
    """(M,) int32 patient of each negative."""
    positive: np.ndarray
    """(L,) int32 patient of each positive."""
    below: np.ndarray
    """(L,) int64: the place in `negative` before which all of the segment score less."""
    beside: np.ndarray
    """(L,) int64: the place before which they score less or the same."""
    segment_negative: np.ndarray
    """(segments + 1,) first negative of each segment."""
    segment_positive: np.ndarray
    block_start: np.ndarray
    """(blocks + 1,) first segment of each block."""
    class_start: np.ndarray
    """(C + 1,) first block of each class."""


def sweeps(
    scores: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray | None,
    patient: np.ndarray,
    block: np.ndarray,
    stratum: np.ndarray,
) -> Sweeps:
    """Everything about the scores that resampling patients does not change.

    Args:
        scores, labels, mask: (N, C). patient, block, stratum: (N,) numbers from 0.
    """
    scores, positive, negative = checked(scores, labels, mask)
    patient = patient.astype(np.int32)
    pieces: list[tuple[np.ndarray, ...]] = []
    segments, blocks, classes = [(0, 0)], [0], [0]
    rows_of = _segments(block, stratum)
    for score, pos, neg in zip(scores.T, positive.T, negative.T, strict=True):
        for strata in rows_of:
            for rows in strata:
                p, n = rows[pos[rows]], rows[neg[rows]]
                if not len(p) or not len(n):
                    continue
                p, n = p[np.argsort(score[p])], n[np.argsort(score[n])]
                first_negative, first_positive = segments[-1]
                sides = (np.searchsorted(score[n], score[p], side) for side in ("left", "right"))
                pieces.append((patient[n], patient[p], *(first_negative + s for s in sides)))
                segments.append((first_negative + len(n), first_positive + len(p)))
            if blocks[-1] < len(segments) - 1:
                blocks.append(len(segments) - 1)
        classes.append(len(blocks) - 1)
    empty = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, int), np.empty(0, int))
    joined = [np.concatenate(piece) for piece in zip(*(pieces or [empty]), strict=True)]
    first_negatives, first_positives = np.array(segments).T.copy()
    return Sweeps(
        joined[0],
        joined[1],
        joined[2],
        joined[3],
        first_negatives,
        first_positives,
        np.array(blocks),
        np.array(classes),
    )


def _segments(block: np.ndarray, stratum: np.ndarray) -> list[list[np.ndarray]]:
    """Rows of each stratum of each block."""
    return [
        [np.flatnonzero((block == b) & (stratum == s)) for s in np.unique(stratum[block == b])]
        for b in np.unique(block)
    ]


@numba.njit(cache=True)
def weighted_aurocs(sweeps, weights, out, lost):  # type: ignore[no-untyped-def]
    """Writes the AUC of each class under each column of weights; NaN where it is undefined.

    Of a class the mean over its blocks, of a block the mean over its strata weighted by their
    positives, wherever these are defined under the weights.

    Args:
        sweeps: Sweeps. weights: (patients, B) uint8. out: (C, B) float64.
        lost: (C, B) int64, how many blocks of the class a column left undefined.
    """
    columns = weights.shape[1]
    pairs, within, total = np.empty(columns), np.empty(columns), np.empty(columns)
    negatives, tied = np.empty(columns, np.int32), np.empty(columns, np.int32)
    positives, in_block = np.empty(columns, np.int32), np.empty(columns, np.int32)
    for c in range(len(out)):
        total[:], lost[c] = 0, 0
        for block in range(sweeps.class_start[c], sweeps.class_start[c + 1]):
            within[:], in_block[:] = 0, 0
            for s in range(sweeps.block_start[block], sweeps.block_start[block + 1]):
                _walk(sweeps, s, weights, pairs, negatives, tied, positives)
                for b in range(columns):
                    if negatives[b] > 0 and positives[b] > 0:
                        within[b] += pairs[b] / negatives[b]
                        in_block[b] += positives[b]
            for b in range(columns):
                if in_block[b] > 0:
                    total[b] += within[b] / in_block[b]
                else:
                    lost[c, b] += 1
        for b in range(columns):
            defined = sweeps.class_start[c + 1] - sweeps.class_start[c] - lost[c, b]
            out[c, b] = total[b] / defined if defined > 0 else np.nan


@numba.njit(cache=True)
def _walk(sweeps, s, weights, pairs, negatives, tied, positives):  # type: ignore[no-untyped-def]
    """Counts the pairs won in a segment (ties half), its negatives and its positives."""
    columns = weights.shape[1]
    pairs[:], negatives[:], positives[:] = 0, 0, 0
    at, i, stop = (
        sweeps.segment_negative[s],
        sweeps.segment_positive[s],
        sweeps.segment_positive[s + 1],
    )
    while i < stop:
        below, beside = sweeps.below[i], sweeps.beside[i]
        _add(sweeps.negative, at, below, weights, negatives)
        if beside > below:
            tied[:] = 0
            _add(sweeps.negative, below, beside, weights, tied)
            while i < stop and sweeps.below[i] == below:
                w = weights[sweeps.positive[i]]
                for b in range(columns):
                    pairs[b] += float(w[b]) * (negatives[b] + 0.5 * tied[b])
                    positives[b] += w[b]
                i += 1
            for b in range(columns):
                negatives[b] += tied[b]
        else:
            w = weights[sweeps.positive[i]]
            for b in range(columns):
                pairs[b] += float(w[b]) * negatives[b]
                positives[b] += w[b]
            i += 1
        at = beside
    _add(sweeps.negative, at, sweeps.segment_negative[s + 1], weights, negatives)


@numba.njit(cache=True)
def _add(patient, start, stop, weights, counts):  # type: ignore[no-untyped-def]
    """Adds the weights of a run of images; four at a time, or the sums wait for the memory."""
    columns = weights.shape[1]
    i = start
    while i + 4 <= stop:
        w, x = weights[patient[i]], weights[patient[i + 1]]
        y, z = weights[patient[i + 2]], weights[patient[i + 3]]
        for b in range(columns):
            counts[b] += np.int32(w[b]) + np.int32(x[b]) + np.int32(y[b]) + np.int32(z[b])
        i += 4
    while i < stop:
        w = weights[patient[i]]
        for b in range(columns):
            counts[b] += w[b]
        i += 1


@numba.njit(cache=True)
def jackknife_aurocs(sweeps, out):  # type: ignore[no-untyped-def]
    """Writes the AUC of each class without each patient in turn, exactly, in one pass a class.

    Args:
        sweeps: Sweeps. out: (C, patients) float64, NaN where leaving one out undefines the class.
    """
    patients = out.shape[1]
    pairs = np.zeros(patients)  # twice those that go with a patient
    own = np.zeros((2, patients), np.int64)  # negatives and positives of a patient
    within, in_block = np.zeros(patients), np.zeros(patients)  # what changes in the block
    total, defined = np.empty(patients), np.empty(patients)  # what changes in the class
    for c in range(len(out)):
        total[:], defined[:], base = 0.0, 0.0, 0.0
        for block in range(sweeps.class_start[c], sweeps.class_start[c + 1]):
            first, last = sweeps.block_start[block], sweeps.block_start[block + 1]
            block_within, block_positives = 0.0, 0.0
            for s in range(first, last):
                won, n, p = _pairs_by_patient(sweeps, s, pairs, own)
                block_within += won / (2.0 * n)
                block_positives += p
                for who in _members(sweeps, s, s + 1):
                    n_left, p_left = n - own[0, who], p - own[1, who]
                    if n_left + p_left == n + p:
                        continue  # seen before, by another image
                    within[who] -= won / (2.0 * n)
                    in_block[who] -= p
                    if n_left > 0 and p_left > 0:
                        within[who] += (won - pairs[who]) / (2.0 * n_left)
                        in_block[who] += p_left
                    pairs[who], own[0, who], own[1, who] = 0.0, 0, 0
            value = block_within / block_positives
            base += value
            for who in _members(sweeps, first, last):
                if in_block[who] == 0.0 and within[who] == 0.0:
                    continue  # seen before, or nothing changes
                left = block_positives + in_block[who]
                if left > 0.5:
                    total[who] += (block_within + within[who]) / left - value
                else:
                    total[who] -= value
                    defined[who] -= 1.0
                within[who], in_block[who] = 0.0, 0.0
        blocks = sweeps.class_start[c + 1] - sweeps.class_start[c]
        for who in range(patients):
            left = blocks + defined[who]
            out[c, who] = (base + total[who]) / left if left > 0.5 else np.nan


@numba.njit(cache=True)
def _members(sweeps, first, last):  # type: ignore[no-untyped-def]
    """Patients of the images of segments `first` up to `last`, one entry an image."""
    return np.concatenate(
        (
            sweeps.negative[sweeps.segment_negative[first] : sweeps.segment_negative[last]],
            sweeps.positive[sweeps.segment_positive[first] : sweeps.segment_positive[last]],
        )
    )


@numba.njit(cache=True)
def _pairs_by_patient(sweeps, s, pairs, own):  # type: ignore[no-untyped-def]
    """Twice the pairs won in a segment, its negatives, its positives; and what each patient holds.

    Fills `pairs`, twice what is lost without the patient: the pairs of their positives and those
    of their negatives, where pairs among their own images count once; and `own`, their negatives
    and positives.
    """
    start, stop = sweeps.segment_negative[s], sweeps.segment_negative[s + 1]
    first, last = sweeps.segment_positive[s], sweeps.segment_positive[s + 1]
    won = 0.0
    for side in (sweeps.below, sweeps.beside):
        for j in range(start, stop):
            own[0, sweeps.negative[j]] = 0
        at = start
        for i in range(first, last):
            who = sweeps.positive[i]
            while at < side[i]:
                own[0, sweeps.negative[at]] += 1
                pairs[sweeps.negative[at]] += last - i
                at += 1
            won += side[i] - start
            pairs[who] += side[i] - start - own[0, who]
        while at < stop:
            own[0, sweeps.negative[at]] += 1
            at += 1
    for i in range(first, last):
        own[1, sweeps.positive[i]] += 1
    return won, stop - start, last - first


@numba.njit(cache=True)
def tally(drawn, members, weights):  # type: ignore[no-untyped-def]
    """Counts how often each column draws each patient: `drawn` (B, n) are places in `members`."""
    for b in range(len(drawn)):
        for place in drawn[b]:
            weights[members[place], b] += 1
