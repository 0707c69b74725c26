"""Would these fixed models differ on new patients? Bootstrap over patients, paired and clustered.

Images of a patient stand or fall together, and whatever is compared is computed on the same draw
of patients. Where scores come from several models (the folds of a cross-validation) they are
compared within a fold only, and patients are drawn within it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from bench.errors import UsageError
from bench.stats._draws import Plan, Values, class_values, draw_plan

K = TypeVar("K")


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
    thinned: int
    """Those of them that lost a class in all its folds: their mean is over fewer classes."""
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
        scores_a: (N, C) of one method.
        scores_b: (N, C) of the other.
        labels: (N, C) 0 or 1.
        mask: (N, C) bool, True where known; all if not given.
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
    (result,) = paired_cluster_bootstraps(
        {"a": scores_a, "b": scores_b},
        [("a", "b")],
        labels,
        patients,
        folds=folds,
        strata=strata,
        mask=mask,
        groups=groups,
        n_replicates=n_replicates,
        seed=seed,
        level=level,
    ).values()
    return result


def paired_cluster_bootstraps(
    scores: Mapping[K, np.ndarray],
    pairs: Sequence[tuple[K, K]],
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
) -> dict[tuple[K, K], PairedBootstrap]:
    """`paired_cluster_bootstrap` of each pair (a, b) of several sets of scores, on the same draws.

    The work is one sweep a set of scores, however many pairs they make.
    """
    plan = draw_plan(patients, folds, strata, np.shape(labels), n_replicates, level)
    members = _groups(groups, np.shape(labels)[1])
    named = dict.fromkeys(key for pair in pairs for key in pair)
    values = {key: class_values(scores[key], labels, mask, plan, seed) for key in named}
    single = {key: _estimates(values[key], members, plan, test=False) for key in named}
    return {
        (a, b): PairedBootstrap(
            groups=_estimates(_difference(values[a], values[b]), members, plan, test=True),
            lost=tuple(values[a].lost.sum(axis=1).tolist()),
            patients=len(plan.drawn_in),
            n_replicates=n_replicates,
            level=level,
            a=single[a],
            b=single[b],
        )
        for a, b in pairs
    }


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
    plan = draw_plan(patients, folds, strata, np.shape(labels), n_replicates, level)
    values = class_values(scores, labels, mask, plan, seed)
    return Bootstrap(
        groups=_estimates(values, _groups(groups, len(values.value)), plan, test=False),
        lost=tuple(values.lost.sum(axis=1).tolist()),
        patients=len(plan.drawn_in),
        n_replicates=n_replicates,
        level=level,
    )


def _difference(a: Values, b: Values) -> Values:
    return Values(a.value - b.value, a.replicate - b.replicate, a.without - b.without, a.lost)


def _groups(groups: Mapping[str, Sequence[int]] | None, classes: int) -> dict[str, np.ndarray]:
    if groups is None:
        return {"total": np.arange(classes)}
    members = {name: np.asarray(rows, dtype=np.int64) for name, rows in groups.items()}
    for name, rows in members.items():
        if ((rows < 0) | (rows >= classes)).any():
            raise UsageError(f"Group '{name}' names class {rows.max()} of {classes}.")
    return members


def _estimates(
    values: Values, groups: Mapping[str, np.ndarray], plan: Plan, *, test: bool
) -> dict[str, Estimate]:
    return {name: _estimate(values, rows, plan, test=test) for name, rows in groups.items()}


def _estimate(values: Values, rows: np.ndarray, plan: Plan, *, test: bool) -> Estimate:
    defined = rows[~np.isnan(values.value[rows])]
    if not len(defined):
        return Estimate(
            None, None, None, None, None, 0, len(rows), 0, 0, 0, "no class of the group is defined"
        )
    value = float(values.value[defined].mean())
    draws = _nanmean(values.replicate[defined])
    draws = draws[~np.isnan(draws)]
    incomplete = int((values.lost[defined] > 0).any(axis=0).sum())
    thinned = int(np.isnan(values.replicate[defined]).any(axis=0).sum())
    if len(draws) < 2:
        reason = f"{len(draws)} of {plan.n_replicates} replicates are defined"
        counts = len(defined), len(rows), len(draws), incomplete, thinned
        return Estimate(value, None, None, None, None, *counts, reason)
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
        thinned=thinned,
        reason=bca if isinstance(bca, str) else None,
    )


def _bca(
    value: float, draws: np.ndarray, without: np.ndarray, plan: Plan
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
