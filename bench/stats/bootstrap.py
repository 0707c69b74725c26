"""Would these fixed models differ on new patients? Bootstrap over patients, paired and clustered.

Images of a patient stand or fall together, and whatever is compared is computed on the same draw
of patients. Where scores come from several models (the folds of a cross-validation) they are
compared within a fold only, and patients are drawn within it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.errors import DataError, UsageError
from bench.stats._checks import checked_rows

# Columns swept at once: wide enough for the vector unit, small enough for the cache.
_COLUMNS = 128


@dataclass(frozen=True)
class Estimate:
    """A group's AUC, or a difference of two, with its intervals over draws of patients."""

    value: float | None
    """On the data as it is: mean over the defined classes of the mean over the defined folds."""
    se: float | None
    """Standard deviation over the replicates."""
    percentile: tuple[float, float] | None
    bca: tuple[float, float] | None
    p_value: float | None
    """Two-sided, of a difference of zero; None for a single AUC."""
    defined: int
    classes: int
    replicates: int
    """Replicates with at least one defined class; intervals come from these."""
    incomplete: int
    """Replicates that lost a class of the group in some fold, having drawn no positive (or no
    negative) patient of it; the class counts with its other folds, if it has any."""
    reason: str | None = None
    """Why something above is None."""


@dataclass(frozen=True)
class Bootstrap:
    """What the draws say of one model, by group; `lost` says how thin the classes are."""

    groups: Mapping[str, Estimate]
    lost: tuple[int, ...]
    """Of each class, fold-replicates that drew no positive or no negative of it, of
    n_replicates x (folds where the class is defined)."""
    patients: int
    n_replicates: int
    level: float


@dataclass(frozen=True)
class PairedBootstrap(Bootstrap):
    """As `Bootstrap`, of the difference a - b; `a` and `b` are from the same draws."""

    a: Mapping[str, Estimate]
    b: Mapping[str, Estimate]


def paired_cluster_bootstrap(
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    folds: np.ndarray | None = None,
    strata: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    n_replicates: int = 1000,
    seed: int | tuple[int, ...],
    level: float = 0.95,
) -> PairedBootstrap:
    """Difference of macro AUC between two sets of scores, with intervals and a two-sided p.

    A replicate draws as many patients as there are, with replacement, within each fold, and takes
    all images of each as often as drawn (Field & Welsh 2007; Davison & Hinkley 1997, 3.8 for
    strata). Intervals: percentile, and BCa (Efron 1987) with the acceleration from the exact
    leave-one-patient-out values, by stratum (Davison & Hinkley 1997, 5.4). p is twice the smaller
    of (1 + #{d* <= 0}) and (1 + #{d* >= 0}) over (1 + replicates), so never below 2/(1 + B).

    Args:
        scores_a, scores_b: (N, C). labels: (N, C) 0 or 1. mask: (N, C) bool, True where known.
        patients: (N,) ids.
        folds: (N,) which model scored the image, if there are several. The AUC of a class is then
            the mean over the folds where it is defined. Several runs of one cross-validation are
            stacked, rows of run after run, under fold ids of their own; since a patient is then
            in several folds, patients are drawn from all together.
        strata: (N,) hospitals: AUC within each, weighted by positives, as `stratified_auroc`.
        groups: class indices by name; {"total": all} if not given.
        n_replicates: 1000 for intervals; a p below 1e-5 takes 200,000 or more.
        seed: of the draws; they depend on it and on the patients alone, not on the scores.
        level: of the intervals.

    Raises:
        UsageError: shapes, groups or level that cannot be meant.
        DataError: labels not 0/1, NaN scores, no rows.
    """
    plan = _plan(patients, folds, strata, np.shape(labels), n_replicates, level)
    a, b = (_values(scores, labels, mask, plan, seed) for scores in (scores_a, scores_b))
    difference = _Values(
        a.value - b.value, a.replicate - b.replicate, a.without - b.without, a.lost
    )
    members = _groups(groups, len(a.value))
    return PairedBootstrap(
        groups=_estimates(difference, members, plan, test=True),
        lost=tuple(a.lost.sum(axis=1).tolist()),
        patients=len(plan.drawn_in),
        n_replicates=n_replicates,
        level=level,
        a=_estimates(a, members, plan, test=False),
        b=_estimates(b, members, plan, test=False),
    )


def cluster_bootstrap(
    scores: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    folds: np.ndarray | None = None,
    strata: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    n_replicates: int = 1000,
    seed: int | tuple[int, ...],
    level: float = 0.95,
) -> Bootstrap:
    """Macro AUC of one set of scores with its intervals; everything as `paired_cluster_bootstrap`.

    With the same seed the draws are the same as there.
    """
    plan = _plan(patients, folds, strata, np.shape(labels), n_replicates, level)
    values = _values(scores, labels, mask, plan, seed)
    return Bootstrap(
        groups=_estimates(values, _groups(groups, len(values.value)), plan, test=False),
        lost=tuple(values.lost.sum(axis=1).tolist()),
        patients=len(plan.drawn_in),
        n_replicates=n_replicates,
        level=level,
    )


class _Plan(NamedTuple):
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


class _Values(NamedTuple):
    """Class AUCs of one model, or differences of two; NaN where undefined."""

    value: np.ndarray
    """(C,) on the data as it is."""
    replicate: np.ndarray
    """(C, B)."""
    without: np.ndarray
    """(C, patients) with one patient left out."""
    lost: np.ndarray
    """(C, B) how many folds a replicate left undefined."""


def _plan(
    patients: np.ndarray,
    folds: np.ndarray | None,
    strata: np.ndarray | None,
    shape: tuple[int, ...],
    n_replicates: int,
    level: float,
) -> _Plan:
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
    return _Plan(patient, block, numbered("strata", strata), drawn_in, n_replicates, level)


def _values(
    scores: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray | None,
    plan: _Plan,
    seed: int | tuple[int, ...],
) -> _Values:
    # Here and not above: a table that needs no bootstrap should not wait for numba.
    from bench.stats._sweep import jackknife_aurocs, sweeps, weighted_aurocs

    order = sweeps(scores, labels, mask, plan.patient, plan.block, plan.stratum)
    classes, patients, n = np.shape(scores)[1], len(plan.drawn_in), plan.n_replicates
    value, replicate = np.empty((classes, 1)), np.empty((classes, n))
    lost = np.zeros((classes, n), dtype=np.int64)
    weighted_aurocs(order, np.ones((patients, 1), np.uint8), value, np.zeros_like(value, int))
    done = 0
    for weights in _draws(plan, seed):
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
    return _Values(value[:, 0], replicate, without, lost)


def _draws(plan: _Plan, seed: int | tuple[int, ...]) -> Iterator[np.ndarray]:
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


def _groups(groups: Mapping[str, Sequence[int]] | None, classes: int) -> dict[str, np.ndarray]:
    if groups is None:
        return {"total": np.arange(classes)}
    members = {name: np.asarray(rows, dtype=np.int64) for name, rows in groups.items()}
    for name, rows in members.items():
        if ((rows < 0) | (rows >= classes)).any():
            raise UsageError(f"Group '{name}' names class {rows.max()} of {classes}.")
    return members


def _estimates(
    values: _Values, groups: Mapping[str, np.ndarray], plan: _Plan, *, test: bool
) -> dict[str, Estimate]:
    return {name: _estimate(values, rows, plan, test=test) for name, rows in groups.items()}


def _estimate(values: _Values, rows: np.ndarray, plan: _Plan, *, test: bool) -> Estimate:
    defined = rows[~np.isnan(values.value[rows])]
    if not len(defined):
        return Estimate(
            None, None, None, None, None, 0, len(rows), 0, 0, "no class of the group is defined"
        )
    value = float(values.value[defined].mean())
    draws = _nanmean(values.replicate[defined])
    draws = draws[~np.isnan(draws)]
    incomplete = int((values.lost[defined] > 0).any(axis=0).sum())
    if len(draws) < 2:
        reason = f"{len(draws)} of {plan.n_replicates} replicates are defined"
        return Estimate(
            value, None, None, None, None, len(defined), len(rows), len(draws), incomplete, reason
        )
    tail = (1 - plan.level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    bca = _bca(value, draws, _nanmean(values.without[defined]), plan)
    ones = 1 + min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return Estimate(
        value=value,
        se=float(draws.std(ddof=1)),
        percentile=(float(low), float(high)),
        bca=None if isinstance(bca, str) else bca,
        p_value=min(1.0, 2 * ones / (1 + len(draws))) if test else None,
        defined=len(defined),
        classes=len(rows),
        replicates=len(draws),
        incomplete=incomplete,
        reason=bca if isinstance(bca, str) else None,
    )


def _bca(
    value: float, draws: np.ndarray, without: np.ndarray, plan: _Plan
) -> tuple[float, float] | str:
    """The BCa interval, or the reason why there is none.

    Levels Phi(z0 + (z0 + z) / (1 - a (z0 + z))) of the draws, z0 the normal quantile of the share
    of draws below the value (equal ones count half), a from the leave-one-out values.
    """
    from scipy.special import ndtr, ndtri

    share = float((draws < value).mean() + (draws == value).mean() / 2)
    if share in (0.0, 1.0):
        return "no BCa: all replicates lie on one side of the value"
    if np.isnan(without).any():
        return "no BCa: without one of the patients no class of the group is defined"
    skew, spread = 0.0, 0.0
    for fold in np.unique(plan.drawn_in):
        here = without[plan.drawn_in == fold]
        n = len(here)
        influence = (n - 1) * (here.mean() - here)
        skew += float((influence**3).sum()) / n**3
        spread += float((influence**2).sum()) / n**2
    acceleration = skew / (6 * spread**1.5) if spread > 0 else 0.0
    z0, tail = float(ndtri(share)), (1 - plan.level) / 2
    z = z0 + ndtri(np.array([tail, 1 - tail]))
    low, high = np.quantile(draws, ndtr(z0 + z / (1 - acceleration * z)))
    return float(low), float(high)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """(B,) mean over the rows that are defined in each column; NaN, silently, without any."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    mean: np.ndarray = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean
