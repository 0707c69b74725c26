"""Thresholds and probabilities that are found on other images than they are judged on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize
from sklearn.metrics import brier_score_loss, f1_score

from bench.errors import DataError, UsageError
from bench.stats.calibration import (
    brier,
    cross_fitted_f1,
    cross_fitted_probabilities,
    expected_calibration_error,
    max_f1_threshold,
    platt,
)


def sample(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.2).astype(int)
    scores = (rng.normal(size=n) + 1.5 * labels).astype(np.float32)
    return scores, labels, rng.integers(0, 3, n)


@given(
    hnp.arrays(np.float32, 15, elements=st.integers(-2, 2)),
    hnp.arrays(np.uint8, 15, elements=st.integers(0, 1)),
)
def test_no_threshold_gives_a_higher_f1(scores: np.ndarray, labels: np.ndarray) -> None:
    threshold = max_f1_threshold(scores, labels)
    if labels.min() == labels.max():
        assert threshold is None
        return
    reached = f1_score(labels, scores >= threshold)
    assert reached == pytest.approx(max(f1_score(labels, scores >= s) for s in scores))


def test_each_fold_is_cut_at_the_threshold_of_the_others() -> None:
    scores, labels, folds = sample()
    result = cross_fitted_f1(scores, labels, folds)
    called = np.zeros(len(scores), dtype=bool)
    for fold in range(3):
        others = folds != fold
        threshold = max_f1_threshold(scores[others], labels[others])
        assert result.thresholds[fold] == threshold
        called[~others] = scores[~others] >= threshold
    assert result.value == pytest.approx(f1_score(labels, called))
    assert result.value <= f1_score(labels, scores >= max_f1_threshold(scores, labels))


def test_a_fold_with_all_the_positives_leaves_no_threshold_for_itself() -> None:
    scores, labels, folds = sample()
    labels[folds != 0] = 0
    result = cross_fitted_f1(scores, labels, folds)
    assert result.thresholds[0] is None
    assert result.value is None
    assert cross_fitted_probabilities(scores, labels, folds) is None


def test_platt_minimises_the_smoothed_likelihood() -> None:
    scores, labels, _ = sample()
    slope, offset = platt(scores, labels)
    pos, neg = labels.sum(), (1 - labels).sum()
    target = np.where(labels == 1, (pos + 1) / (pos + 2), 1 / (neg + 2))

    def loss(w: np.ndarray) -> float:
        logit = w[0] * scores.astype(float) + w[1]
        return float((np.logaddexp(0, logit) - target * logit).sum())

    expected = minimize(loss, np.zeros(2), tol=1e-10).x
    np.testing.assert_allclose([slope, offset], expected, rtol=1e-4)


def test_separable_and_constant_scores_stay_finite() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    slope, offset = platt(np.array([0.0, 1.0, 2.0, 10.0, 11.0]), labels)
    assert np.isfinite([slope, offset]).all()
    slope, offset = platt(np.full(5, 3.0), labels)
    # The smoothed prevalence: (2 x 3/4 + 3 x 1/5) / 5.
    assert 1 / (1 + np.exp(-(3 * slope + offset))) == pytest.approx(0.42)
    assert platt(np.zeros(3), np.zeros(3)) is None


def test_no_image_takes_part_in_its_own_calibration() -> None:
    scores, labels, folds = sample()
    before = cross_fitted_probabilities(scores, labels, folds)
    labels[folds == 1] = 1 - labels[folds == 1]
    after = cross_fitted_probabilities(scores, labels, folds)
    np.testing.assert_array_equal(before[folds == 1], after[folds == 1])
    assert not np.array_equal(before[folds == 0], after[folds == 0])


def test_scaled_scores_are_better_calibrated_than_a_sigmoid() -> None:
    scores, labels, folds = sample(4000)
    scaled = cross_fitted_probabilities(scores, labels, folds)
    plain = 1 / (1 + np.exp(-scores))
    assert expected_calibration_error(scaled, labels) < 0.05
    assert expected_calibration_error(plain, labels) > 0.2
    assert brier(scaled, labels) < brier(plain, labels)


def test_calibration_error_worked_by_hand() -> None:
    p = np.array([0.1, 0.1, 0.6, 0.8])
    y = np.array([0, 1, 1, 1])
    # Two bins of two: |0.1 - 0.5| and |0.7 - 1|.
    assert expected_calibration_error(p, y, bins=2) == pytest.approx(0.35)
    # One bin: |0.4 - 0.75|.
    assert expected_calibration_error(p, y, bins=1) == pytest.approx(0.35)
    # Equal probabilities share a bin: (2 x 0.4 + 0.4 + 0.2) / 4.
    assert expected_calibration_error(p, y, bins=4) == pytest.approx(0.35)
    y = np.array([0, 0, 1, 0])
    # Two bins of two: |0.1 - 0| and |0.7 - 0.5|; one bin: |0.4 - 0.25|.
    assert expected_calibration_error(p, y, bins=2) == pytest.approx(0.15)
    assert expected_calibration_error(p, y, bins=1) == pytest.approx(0.15)
    # Four asked, three made: (2 x 0.1 + 0.4 + 0.8) / 4.
    assert expected_calibration_error(p, y, bins=4) == pytest.approx(0.35)


def test_brier_equals_scikit_learn_and_masks() -> None:
    scores, labels, folds = sample()
    p = cross_fitted_probabilities(scores, labels, folds)
    assert brier(p, labels) == pytest.approx(brier_score_loss(labels, p))
    mask = folds == 0
    assert brier(p, labels, mask) == pytest.approx(brier_score_loss(labels[mask], p[mask]))
    nothing = np.zeros(len(p), dtype=bool)
    assert brier(p, labels, nothing) is None
    assert expected_calibration_error(p, labels, nothing) is None


def test_scores_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(DataError, match="cross_fitted_probabilities"):
        brier(np.array([0.5, 1.5]), np.array([0, 1]))
    with pytest.raises(UsageError, match="two folds"):
        cross_fitted_f1(np.zeros(3), np.array([0, 1, 1]), np.zeros(3))
