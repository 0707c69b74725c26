"""Patients dealt into parts so that every count is as even as it can be.

A patient is a sparse row of counts (each class they have, themselves, their images); a part's
counts are the sums of its patients' rows. What is made small is the weighted squared distance of
all counts from their shares over those shares, plus a charge for every class a part lacks.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

# Outweighs any distance: first every class everywhere, then even counts. A class with fewer
# patients than there are parts is spread too, but never at the price of one that can be everywhere.
_ABSENT, _ABSENT_ANYHOW = 1e9, 1e6
_PARTNERS = 16
_PASS, _TRIES = 2**17, 2**22
_STARTS = 8


class Counts(NamedTuple):
    """What each of P patients brings to each of D counts, as sparse rows, and what it weighs."""

    start: np.ndarray
    """(P + 1,) int64: patient i has the entries from start[i] up to start[i + 1]."""
    column: np.ndarray
    amount: np.ndarray
    weight: np.ndarray
    """(D,) of the squared distance of each count from its share."""
    wanted: np.ndarray
    """(D,) bool: counts of which every part should have something, and a whole number near its
    share."""


def deal(
    counts: Counts, shares: np.ndarray, hardness: np.ndarray, seed: tuple[int, ...]
) -> np.ndarray:
    """(P,) int8 part of each patient: dealt one by one, then exchanged until counts are even.

    Dealing the hardest patients first and each into the part that gains most is the rule of
    iterative stratification (Sechidis et al., ECML 2011) with all counts weighed at once.

    Args:
        counts: of the patients to be dealt.
        shares: (K,) of each part; they sum to 1.
        hardness: (P,) sort key, smallest first; ties are broken at random.
        seed: of the ties and of the order in which improvements are tried.
    """
    totals = np.bincount(counts.column, counts.amount, minlength=len(counts.weight))
    placeable = counts.wanted & (totals >= len(shares))
    charge = np.where(placeable, _ABSENT, np.where(counts.wanted, _ABSENT_ANYHOW, 0.0))
    best, fewest = np.empty(0, dtype=np.int8), np.inf
    # One start is enough but for small sets in which patients share their rare classes.
    for start in range(_STARTS):
        dealt = _Dealt(
            shares, np.outer(shares, totals), np.zeros((len(shares), len(totals))), charge
        )
        part = _deal_once(counts, dealt, hardness, (*seed, start))
        absent = int((dealt.state[:, placeable] < 0.5).sum())
        if absent < fewest:
            best, fewest = part, absent
        if not absent:
            break
    return best


class _Dealt(NamedTuple):
    """(K,) shares, and (K, D) the counts the parts should have and the counts they have now."""

    shares: np.ndarray
    targets: np.ndarray
    state: np.ndarray
    charge: np.ndarray
    """(D,) what it costs when a part has nothing of a count."""


def _deal_once(
    counts: Counts, dealt: _Dealt, hardness: np.ndarray, seed: tuple[int, ...]
) -> np.ndarray:
    patients = len(hardness)
    rng = np.random.default_rng(seed)
    order = rng.permutation(patients)
    order = order[np.argsort(hardness[order], kind="stable")]
    part = np.full(patients, -1, dtype=np.int8)
    _greedy(counts, dealt, order, part)
    owner = np.repeat(np.arange(patients), np.diff(counts.start))
    tries = 0
    while tries < _TRIES:
        uneven = (np.abs(dealt.state - dealt.targets) > 1 - 1e-9) & counts.wanted
        tried = np.unique(owner[uneven[part[owner], counts.column]])
        if not len(tried):
            break
        # The fewer there are to place better, the more partners each is tried with.
        each = int(np.clip(_PASS // len(tried), _PARTNERS, patients))
        partners = rng.integers(0, patients, size=(len(tried), each))
        if not _improve(counts, dealt, rng.permutation(tried), partners, part):
            break
        tries += partners.size
    return part


# The kernels below take `Counts` and arrays; numba infers their types.


@numba.njit(cache=True)
def _change(counts, dealt, patient, k, sign):  # type: ignore[no-untyped-def]
    """What adding (sign 1) a patient to a part or taking them out (-1) does to the cost."""
    change = 0.0
    for entry in range(counts.start[patient], counts.start[patient + 1]):
        d = counts.column[entry]
        step = sign * counts.amount[entry]
        now = dealt.state[k, d]
        distance = step * (2.0 * (now - dealt.targets[k, d]) + step)
        change += counts.weight[d] * distance / dealt.shares[k]
        change += dealt.charge[d] * (int(now + step < 0.5) - int(now < 0.5))
    return change


@numba.njit(cache=True)
def _place(counts, dealt, patient, k, sign):  # type: ignore[no-untyped-def]
    for entry in range(counts.start[patient], counts.start[patient + 1]):
        dealt.state[k, counts.column[entry]] += sign * counts.amount[entry]


@numba.njit(cache=True)
def _greedy(counts, dealt, order, part):  # type: ignore[no-untyped-def]
    for patient in order:
        best, least = 0, np.inf
        for k in range(len(dealt.shares)):
            change = _change(counts, dealt, patient, k, 1.0)
            if change < least:
                best, least = k, change
        part[patient] = best
        _place(counts, dealt, patient, best, 1.0)


@numba.njit(cache=True)
def _improve(counts, dealt, tried, partners, part):  # type: ignore[no-untyped-def]
    """One pass of moves and exchanges that lower the cost; how many there were."""
    made = 0
    for row, patient in enumerate(tried):
        here = part[patient]
        out = _change(counts, dealt, patient, here, -1.0)
        _place(counts, dealt, patient, here, -1.0)
        best, least = here, -out - 1e-9
        for k in range(len(dealt.shares)):
            if k != here:
                change = _change(counts, dealt, patient, k, 1.0)
                if change < least:
                    best, least = k, change
        if best != here:
            part[patient] = best
            _place(counts, dealt, patient, best, 1.0)
            made += 1
            continue
        for other in partners[row]:
            there = part[other]
            if there == here:
                continue
            # The patient is in no part now; the other one leaves theirs, and both change places.
            change = _change(counts, dealt, other, there, -1.0)
            _place(counts, dealt, other, there, -1.0)
            change += _change(counts, dealt, patient, there, 1.0)
            change += _change(counts, dealt, other, here, 1.0)
            if out + change < -1e-9:
                part[other] = here
                _place(counts, dealt, other, here, 1.0)
                best = there
                made += 1
                break
            _place(counts, dealt, other, there, 1.0)
        part[patient] = best
        _place(counts, dealt, patient, best, 1.0)
    return made
