"""How large a study has to be to see a given difference. Plans, not proofs: they assume that the
spread seen so far is the spread to come.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.errors import UsageError


def power(
    difference: float, sd: float, *, runs: int, folds: int, ratio: float, alpha: float
) -> float | None:
    """Chance that the corrected resampled t-test gives p < alpha when the truth is `difference`.

    The statistic is taken as a noncentral t with J - 1 degrees of freedom, J = runs x folds, and
    noncentrality difference / (sd sqrt(1/J + ratio)): exact when the correction is. None with
    fewer than two differences.

    Args:
        difference: true mean difference of the metric.
        sd: standard deviation of the differences over runs x folds (`TestResult.sd`).
        ratio: test images over training images.

    >>> round(power(0.02, 0.02, runs=10, folds=5, ratio=0.25, alpha=0.05), 2)
    0.47
    """
    if sd <= 0 or ratio <= 0:
        raise UsageError(f"sd and ratio are positive; they are {sd} and {ratio}.")
    n = runs * folds
    if n < 2:
        return None
    from scipy.special import nctdtr, stdtrit

    critical = float(-stdtrit(n - 1, alpha / 2))
    shift = abs(difference) / (sd * float(np.sqrt(1 / n + ratio)))
    return float(1 - nctdtr(n - 1, shift, critical) + nctdtr(n - 1, shift, -critical))


def runs_needed(
    difference: float,
    sd: float,
    *,
    folds: int,
    ratio: float,
    alpha: float,
    wanted: float = 0.8,
    at_most: int = 1000,
) -> int | None:
    """Fewest runs with a power of `wanted`; None when `at_most` are not enough.

    The variance of the mean never falls below ratio x sd^2 however often the cross-validation is
    repeated, so for small differences there is no such number: what helps then is patients.
    """

    def enough(runs: int) -> bool:
        reached = power(difference, sd, runs=runs, folds=folds, ratio=ratio, alpha=alpha)
        return reached is not None and reached >= wanted

    return _fewest(enough, 1, at_most)


def patients_needed(
    difference: float,
    se: float,
    patients: int,
    *,
    alpha: float,
    wanted: float = 0.8,
) -> int | None:
    """Patients at which a difference is seen with a power of `wanted`.

    patients x (se (z_(1 - alpha/2) + z_wanted) / difference)^2: the standard error of a difference
    of AUC falls with the root of the number of patients at a fixed prevalence (Hanley & McNeil
    1983). None for a difference of zero.

    Args:
        se: standard error seen on `patients` patients: over draws of patients (`Estimate.se`), or
            that of the corrected t-test, sd sqrt(1/J + ratio), to plan for that one.

    >>> patients_needed(0.02, 0.02, 1000, alpha=0.05)
    7849
    """
    if se <= 0 or patients < 1:
        raise UsageError(f"se and patients are positive; they are {se} and {patients}.")
    if difference == 0:
        return None
    from scipy.special import ndtri

    sum_of_z = float(ndtri(1 - alpha / 2) + ndtri(wanted))
    return int(np.ceil(patients * (se * sum_of_z / difference) ** 2))


def _fewest(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """Smallest number from `low` to `high` that is enough, by halving; None without one."""
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
