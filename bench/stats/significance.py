"""Does one training procedure beat another? Tests on differences over runs and folds.

The folds of a run share training images and the runs share everything, so runs x folds values are
not independent: the tests here widen the variance for that. Whether *fixed* models differ on new
patients is another question, answered in `bench.stats.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.errors import UsageError

_EXACT_UP_TO = 16


@dataclass(frozen=True)
class TestResult:
    """A two-sided test of a mean difference of zero; what is undefined is None, with a reason."""

    statistic: float | None
    p_value: float | None
    df: int | None
    mean: float | None
    sd: float | None
    """Standard deviation of the differences, the s of the formula."""
    ci: tuple[float, float] | None
    n: int
    """Differences that were used; undefined ones (NaN) are left out."""
    reason: str | None = None

    __test__ = False  # the name is the field's; pytest is not to collect it


class Posterior(NamedTuple):
    """How likely the true difference is below, inside and above the region of equivalence."""

    left: float
    rope: float
    right: float


def corrected_resampled_ttest(
    differences: np.ndarray,
    n_train: np.ndarray | float,
    n_test: np.ndarray | float,
    *,
    level: float = 0.95,
) -> TestResult:
    """Nadeau and Bengio's corrected paired t-test over runs x folds, two-sided.

    t = mean / sqrt((1/J + n_test/n_train) s^2) with J - 1 degrees of freedom, for J differences
    with standard deviation s (Nadeau & Bengio, Machine Learning 52, 2003; for repeated
    cross-validation Bouckaert & Frank, PAKDD 2004). With patient-grouped folds the ratio is not
    exactly 1/(folds - 1): the mean of the true ratios over the differences is used. More runs
    shrink 1/J but never the ratio, so p cannot be made small by repeating.

    Args:
        differences: (runs, folds) metric of one row minus metric of the other on the same
            partition; NaN where undefined.
        n_train: size of the training part; a scalar, (folds,) or (runs, folds).
        n_test: size of the test part, likewise.
        level: of the confidence interval of the mean, which uses the same variance.

    Raises:
        UsageError: shapes that do not fit, or sizes that are not positive.
    """
    values, ratio = _defined(differences, n_train, n_test)
    moments = _moments(values, ratio)
    n, mean = len(values), float(values.mean()) if len(values) else None
    if isinstance(moments, str):
        sd = float(values.std(ddof=1)) if n > 1 else None
        return TestResult(None, None, None, mean, sd, None, n, moments)
    from scipy.special import stdtr, stdtrit

    statistic = moments.mean / moments.error
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * moments.error
    return TestResult(
        statistic=statistic,
        p_value=float(2 * stdtr(n - 1, -abs(statistic))),
        df=n - 1,
        mean=mean,
        sd=moments.sd,
        ci=(moments.mean - half, moments.mean + half),
        n=n,
    )


def required_effect(alpha: float, runs: int, folds: int, ratio: float) -> float | None:
    """Mean over standard deviation of the differences at which the corrected test gives p = alpha.

    t_(1 - alpha/2, J - 1) sqrt(1/J + ratio), J = runs x folds; None with fewer than two
    differences, where there is no p at all. The p value of a t-test has no lower bound, so this,
    and not a smallest p, says whether a design can earn a mark.

    >>> round(required_effect(1e-5, runs=10, folds=5, ratio=0.25), 2)
    2.56
    """
    n = runs * folds
    if n < 2:
        return None
    from scipy.special import stdtrit

    return float(-stdtrit(n - 1, alpha / 2) * np.sqrt(1 / n + ratio))


def bayesian_correlated_ttest(
    differences: np.ndarray,
    n_train: np.ndarray | float,
    n_test: np.ndarray | float,
    *,
    rope: float,
) -> Posterior | None:
    """Probabilities that the true difference is below -rope, within +-rope, and above rope.

    The posterior is a Student t with J - 1 degrees of freedom, location mean(d) and squared scale
    (1/J + rho/(1 - rho)) s^2, rho = n_test / (n_train + n_test) (Corani & Benavoli, Machine
    Learning 100, 2015): the corrected t-test's distribution read the other way round. None where
    that test is undefined.

    Args:
        differences, n_train, n_test: as in `corrected_resampled_ttest`.
        rope: half width of the region of practical equivalence in units of the metric; 0.01 says
            that one point of AUC is as good as none.
    """
    if rope < 0:
        raise UsageError(f"rope is a half width and cannot be negative; it is {rope}.")
    values, ratio = _defined(differences, n_train, n_test)
    moments = _moments(values, ratio)
    if isinstance(moments, str):
        return None
    from scipy.special import stdtr

    df = len(values) - 1
    left = float(stdtr(df, (-rope - moments.mean) / moments.error))
    right = float(stdtr(df, (moments.mean - rope) / moments.error))
    return Posterior(left, max(0.0, 1.0 - left - right), right)


def sign_flip_permutation(
    differences: Sequence[float] | np.ndarray, *, seed: int, n_permutations: int = 100_000
) -> float | None:
    """Two-sided p of a mean this far from zero when every sign is a coin toss.

    All 2^n sign vectors up to n = 16, where the smallest p is 2/2^n; beyond that
    (1 + hits) / (1 + n_permutations) of random ones (Fisher 1935; Phipson & Smyth 2010 for the
    ones). It assumes nothing but that the units are independent, which runs on one data set are
    not: a check for independent units, such as data sets or hospitals. None without units.

    Args:
        differences: (n,) one value a unit; NaN are left out.
    """
    values = np.asarray(differences, dtype=float)
    values = values[~np.isnan(values)]
    n = len(values)
    if n == 0:
        return None
    # Sums that differ by rounding only are ties, and ties count as hits.
    observed = abs(values.sum()) * (1 - 1e-12)
    if n <= _EXACT_UP_TO:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float(np.mean(np.abs(signs @ values) >= observed))
    rng = np.random.default_rng(seed)
    hits, left = 0, n_permutations
    while left:
        block = min(left, 4096)
        signs = 1 - 2 * rng.integers(0, 2, size=(block, n), dtype=np.int8)
        hits += int((np.abs(signs @ values) >= observed).sum())
        left -= block
    return (1 + hits) / (1 + n_permutations)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p values that keep the chance of any false mark below alpha (Holm 1979).

    The i-th smallest of m becomes max over j <= i of min(1, (m - j + 1) p_(j)). None stays None
    and is not counted in m: a test without a p value cannot reject.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    return _adjusted(p_values, lambda p, m: np.maximum.accumulate(p * np.arange(m, 0, -1)))


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p values that keep the expected share of false marks below alpha.

    The i-th smallest of m becomes min over j >= i of min(1, m p_(j) / j) (Benjamini & Hochberg
    1995). None stays None and is not counted in m.

    >>> benjamini_hochberg([0.01, None, 0.04, 0.03])
    [0.03, None, 0.04, 0.04]
    """

    def step_up(p: np.ndarray, m: int) -> np.ndarray:
        return np.minimum.accumulate((p * m / np.arange(1, m + 1))[::-1])[::-1]

    return _adjusted(p_values, step_up)


class _Moments(NamedTuple):
    mean: float
    sd: float
    error: float
    """Standard error of the mean with the correction."""


def _moments(values: np.ndarray, ratio: float) -> _Moments | str:
    """Mean, s and corrected standard error, or the reason why there is none."""
    n = len(values)
    if n < 2:
        return f"{n} defined difference{'' if n == 1 else 's'}; at least 2 are needed"
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    # Equal differences can leave a rounding residue in s, and p would be tiny for no reason.
    if sd <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return f"all {n} differences are equal, so there is no variance to test against"
    return _Moments(mean, sd, sd * float(np.sqrt(1 / n + ratio)))


def _defined(
    differences: np.ndarray, n_train: np.ndarray | float, n_test: np.ndarray | float
) -> tuple[np.ndarray, float]:
    """The differences that are not NaN, and the mean test/train ratio of their cells."""
    values = np.asarray(differences, dtype=float)
    if values.ndim != 2:
        raise UsageError(f"differences has shape {values.shape}; runs by folds is meant.")
    kept = ~np.isnan(values)
    try:
        train = np.broadcast_to(np.asarray(n_train, dtype=float), values.shape)[kept]
        test = np.broadcast_to(np.asarray(n_test, dtype=float), values.shape)[kept]
    except ValueError as error:
        raise UsageError(
            f"n_train {np.shape(n_train)} and n_test {np.shape(n_test)} do not fit differences "
            f"{values.shape}: scalars, (folds,) or (runs, folds)."
        ) from error
    if not (np.all(train > 0) and np.all(test > 0)):
        raise UsageError("n_train and n_test have to be positive wherever a difference is defined.")
    return values[kept], float((test / train).mean()) if kept.any() else 0.0


def _adjusted(
    p_values: Sequence[float | None], adjust: Callable[[np.ndarray, int], np.ndarray]
) -> list[float | None]:
    """Applies `adjust` to the sorted p values that exist and puts them back in their places."""
    places = [i for i, p in enumerate(p_values) if p is not None]
    p = np.array([p for p in p_values if p is not None], dtype=float)
    if np.isnan(p).any() or (p < 0).any() or (p > 1).any():
        raise UsageError(f"p values lie between 0 and 1; these do not: {list(p_values)}.")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, adjust(p[order], len(p)))
    result: list[float | None] = [None] * len(p_values)
    for place, value in zip(places, adjusted.tolist(), strict=True):
        result[place] = value
    return result
