"""Tests of differences against formulas worked by hand, scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bench.errors import UsageError
from bench.stats.significance import (
    bayesian_correlated_ttest,
    benjamini_hochberg,
    corrected_resampled_ttest,
    holm,
    required_effect,
    sign_flip_permutation,
)


def test_corrected_t_worked_by_hand() -> None:
    """d = (1, 2, 3, 4), mean 2.5, s^2 = 5/3; 1/J + 1/4 = 1/2; t = 2.5 / sqrt(5/6) = 2.7386."""
    result = corrected_resampled_ttest(np.array([[1.0, 2.0], [3.0, 4.0]]), 80, 20)
    assert result.statistic == pytest.approx(2.5 / np.sqrt(5 / 6))
    assert result.df == 3
    assert result.p_value == pytest.approx(2 * stats.t.sf(2.5 / np.sqrt(5 / 6), 3))
    half = stats.t.ppf(0.975, 3) * np.sqrt(5 / 6)
    assert result.ci == pytest.approx((2.5 - half, 2.5 + half))
    assert (result.mean, result.n, result.reason) == (2.5, 4, None)


def test_without_test_images_it_is_the_ordinary_paired_t() -> None:
    """In the limit of a small test part the correction vanishes; scipy knows that one."""
    rng = np.random.default_rng(0)
    differences = rng.normal(0.3, 1.0, (4, 5))
    ours = corrected_resampled_ttest(differences, 1e12, 1.0)
    theirs = stats.ttest_1samp(differences.ravel(), 0.0)
    assert ours.statistic == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue)


def test_the_true_ratios_are_used() -> None:
    differences = np.array([[0.1, 0.3, -0.1]])
    sizes = corrected_resampled_ttest(differences, np.array([50, 80, 100]), np.array([50, 20, 20]))
    ratio = (1 + 0.25 + 0.2) / 3
    assert sizes.statistic == pytest.approx(0.1 / np.sqrt((1 / 3 + ratio) * 0.04))


def test_undefined_folds_are_left_out_with_their_sizes() -> None:
    differences = np.array([[0.1, np.nan, 0.3], [0.2, np.nan, 0.1]])
    train, test = np.array([80.0, np.nan, 80.0]), np.array([20.0, np.nan, 20.0])
    kept = corrected_resampled_ttest(differences, train, test)
    assert kept == corrected_resampled_ttest(differences[:, [0, 2]], 80, 20)
    assert kept.n == 4


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        (np.full((10, 5), 0.1), "equal"),
        (np.zeros((2, 2)), "equal"),
        (np.array([[0.3]]), "1 defined difference; at least 2"),
        (np.full((2, 2), np.nan), "0 defined differences"),
    ],
)
def test_without_variance_p_is_undefined_and_not_tiny(differences: np.ndarray, reason: str) -> None:
    result = corrected_resampled_ttest(differences, 80, 20)
    assert (result.p_value, result.statistic, result.ci) == (None, None, None)
    assert result.reason is not None
    assert reason in result.reason
    assert bayesian_correlated_ttest(differences, 80, 20, rope=0.01) is None


@given(st.integers(2, 20), st.integers(1, 10), st.sampled_from([0.05, 1e-3, 1e-5]))
def test_the_required_effect_gives_p_equal_to_alpha(runs: int, folds: int, alpha: float) -> None:
    differences = np.random.default_rng(runs).normal(size=(runs, folds))
    effect = required_effect(alpha, runs, folds, 0.25)
    differences += effect * differences.std(ddof=1) - differences.mean()
    assert corrected_resampled_ttest(differences, 4, 1).p_value == pytest.approx(alpha, rel=1e-6)


def test_required_effects_of_the_usual_designs() -> None:
    assert required_effect(1e-5, 10, 5, 0.25) == pytest.approx(2.56, abs=0.005)
    assert required_effect(1e-5, 1, 5, 0.25) == pytest.approx(18.6, abs=0.1)
    assert required_effect(1e-5, 1, 1, 0.25) is None


def test_bayesian_posterior_agrees_with_the_corrected_test() -> None:
    """Without a region of equivalence the probability of a loss is half the two-sided p."""
    differences = np.random.default_rng(4).normal(0.02, 0.05, (10, 5))
    test = corrected_resampled_ttest(differences, 80, 20)
    posterior = bayesian_correlated_ttest(differences, 80, 20, rope=0.0)
    assert posterior.left == pytest.approx(test.p_value / 2)
    assert posterior.rope == pytest.approx(0, abs=1e-12)
    wide = bayesian_correlated_ttest(differences, 80, 20, rope=0.01)
    assert wide.rope > 0
    assert sum(wide) == pytest.approx(1)
    scale = np.sqrt((1 / 50 + 0.25) * differences.var(ddof=1))
    expected = stats.t.sf((0.01 - differences.mean()) / scale, 49)
    assert wide.right == pytest.approx(expected)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=12))
@settings(max_examples=15)
def test_adjusted_p_values_equal_statsmodels(p_values: list[float | None]) -> None:
    known = [p for p in p_values if p is not None]
    for ours, method in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        adjusted = ours(p_values)
        assert [p is None for p in adjusted] == [p is None for p in p_values]
        if known:
            expected = multipletests(known, method=method)[1]
            np.testing.assert_allclose([p for p in adjusted if p is not None], expected)


def test_sign_flips_are_exact_for_few_units() -> None:
    """Of the 8 sign vectors of (1, 2, 3) only the two extreme ones reach a sum of 6."""
    assert sign_flip_permutation([1.0, 2.0, 3.0], seed=0) == 2 / 8
    # |sum| >= 2 of (1, -1, 2): +-2, +-4 and +-2 once more; the two zeros fall short.
    assert sign_flip_permutation([1.0, -1.0, 2.0], seed=0) == 6 / 8
    assert sign_flip_permutation([np.nan], seed=0) is None


def test_random_sign_flips_come_close_to_scipy() -> None:
    values = np.random.default_rng(3).normal(0.3, 1, 30)
    ours = sign_flip_permutation(values, seed=1, n_permutations=20_000)
    theirs = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=20_000, rng=2
    )
    assert ours == pytest.approx(theirs.pvalue, abs=0.015)
    assert ours == sign_flip_permutation(values, seed=1, n_permutations=20_000)


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="runs by folds"):
        corrected_resampled_ttest(np.zeros(5), 80, 20)
    with pytest.raises(UsageError, match="do not fit"):
        corrected_resampled_ttest(np.zeros((2, 5)), np.full(3, 80), 20)
    with pytest.raises(UsageError, match="positive"):
        corrected_resampled_ttest(np.zeros((2, 5)), 80, 0)
    with pytest.raises(UsageError, match="between 0 and 1"):
        holm([0.5, 1.2])
    with pytest.raises(UsageError, match="half width"):
        bayesian_correlated_ttest(np.zeros((2, 2)), 80, 20, rope=-1)
