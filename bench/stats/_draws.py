"""Draws of patients: who is drawn, where scores are compared, and what each class is worth then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bench.errors import DataError, UsageError
from bench.stats._checks import checked_rows

# Columns swept at once: wide enough for the vector unit, small enough for the cache.
_COLUMNS = 128


class Plan(NamedTuple):
    """Who is drawn, and where scores are compared."""

    patient: np.ndarray
    """(N,) number of the patient of each row."""
    block: np.ndarray
    """(N,) number of the fold of each row."""
    stratum: np.ndarray
    """(N,) number of the hospital of each row."""
    drawn_in: np.ndarray
    """(patients,) the fold that a patient is drawn within."""
    n_replicates: int
    level: float


class Values(NamedTuple):
    """Class AUCs of one model, or differences of two; NaN where undefined."""

    value: np.ndarray
    """(C,) on the data as it is."""
    replicate: np.ndarray
    """(C, B)."""
    without: np.ndarray
    """(C, patients) with one patient left out."""
    lost: np.ndarray
    """(C, B) how many folds a replicate left undefined."""


def draw_plan(
    patients: np.ndarray,
    folds: np.ndarray | None,
    strata: np.ndarray | None,
    shape: tuple[int, ...],
    n_replicates: int,
    level: float,
) -> Plan:
    if len(shape) != 2:
        raise UsageError(f"labels has shape {shape}; images by classes is meant.")
    if not 0 < level < 1 or n_replicates < 1:
        raise UsageError(
            f"level lies between 0 and 1 and n_replicates is 1 or more; they are {level} and "
            f"{n_replicates}."
        )
    rows = shape[0]
    if rows == 0:
        raise DataError("There are no images to draw from.")

    def numbered(name: str, values: np.ndarray | None) -> np.ndarray:
        if values is None:
            return np.zeros(rows, dtype=np.int64)
        return np.unique(checked_rows(name, values, rows), return_inverse=True)[1]

    patient, block = numbered("patients", patients), numbered("folds", folds)
    drawn_in = np.zeros(patient.max() + 1, dtype=np.int64)
    drawn_in[patient] = block
    # Stacked runs put a patient in several folds; then the draw cannot be within folds.
    if (drawn_in[patient] != block).any():
        drawn_in[:] = 0
    return Plan(patient, block, numbered("strata", strata), drawn_in, n_replicates, level)


def class_values(
    scores: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray | None,
    plan: Plan,
    seed: int | tuple[int, ...],
) -> Values:
    # Here and not above: a table that needs no bootstrap should not wait for numba.
    from bench.stats._sweep import jackknife_aurocs, sweeps, weighted_aurocs

    order = sweeps(scores, labels, mask, plan.patient, plan.block, plan.stratum)
    classes, patients, n = np.shape(scores)[1], len(plan.drawn_in), plan.n_replicates
    value, replicate = np.empty((classes, 1)), np.empty((classes, n))
    lost = np.zeros((classes, n), dtype=np.int64)
    weighted_aurocs(order, np.ones((patients, 1), np.uint8), value, np.zeros_like(value, int))
    done = 0
    for weights in draws(plan, seed):
        here = slice(done, done + weights.shape[1])
        out, missing = (
            np.empty((classes, weights.shape[1])),
            np.empty((classes, weights.shape[1]), int),
        )
        weighted_aurocs(order, weights, out, missing)
        replicate[:, here], lost[:, here] = out, missing
        done = here.stop
    without = np.empty((classes, patients))
    jackknife_aurocs(order, without)
    return Values(value[:, 0], replicate, without, lost)


def draws(plan: Plan, seed: int | tuple[int, ...]) -> Iterator[np.ndarray]:
    """(patients, columns) uint8: how often each replicate draws each patient, in blocks.

    A patient is drawn more than 255 times with a chance below 1e-500.
    """
    from bench.stats._sweep import tally

    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(plan.drawn_in == k) for k in np.unique(plan.drawn_in)]
    for start in range(0, plan.n_replicates, _COLUMNS):
        columns = min(_COLUMNS, plan.n_replicates - start)
        weights = np.zeros((len(plan.drawn_in), columns), dtype=np.uint8)
        for here in members:
            size = (columns, len(here))
            tally(rng.integers(0, len(here), size=size, dtype=np.int32), here, weights)
        yield weights
