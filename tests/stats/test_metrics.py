"""Metrics against scikit-learn, against counting pairs, and on what defines no metric."""

from __future__ import annotations

import subprocess
import sys
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.errors import DataError, UsageError
from bench.stats.metrics import (
    Macro,
    auroc,
    average_precision,
    average_precision_ratio,
    class_aurocs,
    group_macros,
    macro,
    stratified_auroc,
)

# Few distinct values, so that ties are the rule.
tied_scores = st.integers(-3, 3).map(lambda value: value / 2)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and a mask; any class may be absent, any row unknown."""
    n = draw(st.integers(1, 30))
    scores = draw(hnp.arrays(np.float32, n, elements=tied_scores))
    labels = draw(hnp.arrays(np.uint8, n, elements=st.integers(0, 1)))
    mask = draw(hnp.arrays(np.bool_, n))
    return scores, labels, mask


def counted(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """AUC by its definition: pairs won, ties half."""
    p, n = scores[labels == 1][:, None], scores[labels == 0]
    return float(np.mean((p > n) + (p == n) / 2)) if p.size and n.size else None


@given(rankings())
def test_auc_is_the_share_of_pairs_won(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, labels, mask = case
    assert auroc(scores, labels, mask) == pytest.approx(counted(scores[mask], labels[mask]))


@given(rankings())
def test_what_is_masked_is_not_read(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, labels, mask = case
    spoiled, others = scores.copy(), labels.astype(float)
    spoiled[~mask], others[~mask] = np.nan, -1
    for metric in (auroc, average_precision):
        assert metric(spoiled, others, mask) == metric(scores[mask], labels[mask])


@given(rankings(), st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(
    case: tuple[np.ndarray, np.ndarray, np.ndarray], random: Random
) -> None:
    order = np.arange(len(case[0]))
    random.shuffle(order)
    shuffled = [array[order] for array in case]
    assert auroc(*case) == auroc(*shuffled)
    assert average_precision(*case) == pytest.approx(average_precision(*shuffled), abs=1e-12)


@given(rankings())
def test_swapping_classes_mirrors_the_auc(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    scores, labels, mask = case
    value = auroc(scores, labels, mask)
    mirrored = auroc(scores, 1 - labels, mask)
    assert (value is None) == (mirrored is None)
    if value is not None and mirrored is not None:
        assert value + mirrored == pytest.approx(1)


def long_tail(n: int = 4000, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = (rng.random((n, classes)) < np.geomspace(0.3, 0.002, classes)).astype(np.uint8)
    scores = np.round(rng.normal(size=(n, classes)) + labels, 2).astype(np.float32)
    return scores, labels


def test_equal_to_scikit_learn() -> None:
    scores, labels = long_tail()
    expected = roc_auc_score(labels, scores, average=None)
    np.testing.assert_allclose(np.array(class_aurocs(scores, labels), float), expected, atol=1e-12)
    for c in range(labels.shape[1]):
        s, y = scores[:, c], labels[:, c]
        assert auroc(s, y) == pytest.approx(expected[c], abs=1e-12)
        precision = average_precision(s, y)
        assert precision == pytest.approx(average_precision_score(y, s), abs=1e-12)
        assert average_precision_ratio(s, y) == pytest.approx(precision / y.mean())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.int64])
@pytest.mark.parametrize("classes", [1, 6, 19])
def test_many_classes_give_exactly_what_one_at_a_time_gives(dtype: type, classes: int) -> None:
    scores, labels = long_tail(500, classes)
    scores = (10 * scores).astype(dtype)
    mask = np.random.default_rng(2).random(labels.shape) < 0.8
    mask[:, -1] = False
    together = class_aurocs(scores, labels, mask)
    assert together == [auroc(scores[:, c], labels[:, c], mask[:, c]) for c in range(classes)]
    assert together[-1] is None


UNEVEN = {
    "one far away": lambda rng, n: np.r_[rng.normal(size=n - 1), 1e30],
    "infinities": lambda rng, n: np.r_[rng.normal(size=n - 9), [-np.inf] * 4, [np.inf] * 5],
    "all of one value": lambda rng, n: np.full(n, 0.1),
    "all infinite": lambda rng, n: rng.choice([-np.inf, np.inf], n),
    "neighbours": lambda rng, n: 1 + rng.integers(0, 90, n) * np.finfo(np.float32).eps,
    "nearly nothing": lambda rng, n: rng.integers(0, 40, n) * 1e-45,
    "both zeros": lambda rng, n: rng.choice([-0.0, 0.0, 1.0], n),
    "the widest": lambda rng, n: rng.choice([-1, 1], n) * rng.uniform(0.9, 1, n) * 3.4e38,
    "orders of magnitude": lambda rng, n: 10 ** rng.uniform(-37, 37, n),
}


@pytest.mark.parametrize("kind", UNEVEN)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("prevalence", [0.05, 0.5, 0.9])
def test_scores_that_fill_their_range_unevenly_count_alike(
    kind: str, dtype: type, prevalence: float
) -> None:
    rng = np.random.default_rng(5)
    scores = UNEVEN[kind](rng, 700).astype(dtype)
    labels = (rng.random(700) < prevalence).astype(np.uint8)
    assert auroc(scores, labels) == counted(scores, labels)


def test_scores_are_ranked_as_given() -> None:
    """A sigmoid in float32 would tie these, and a cast to float16 would as well."""
    scores = np.array([30.0, 30.001, 30.002, 30.003], dtype=np.float32)
    assert auroc(scores, np.array([0, 1, 0, 1])) == 0.75


def test_a_worked_example() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.35, 0.8])
    labels = np.array([0, 0, 1, 1, 1])
    # Pairs: .4>.1, .4=.4, .35>.1, .35<.4, .8>.1, .8>.4 = 4.5 of 6.
    assert auroc(scores, labels) == 0.75
    # Precision at .8: 1/1; at .4: 2/3; at .35: 3/4.
    assert average_precision(scores, labels) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_a_single_class_defines_nothing(labels: list[int]) -> None:
    scores, truth = np.array([1.0, 2.0, 3.0]), np.array(labels)
    assert auroc(scores, truth) is None
    assert average_precision(scores, truth) is None
    assert average_precision_ratio(scores, truth) is None
    assert stratified_auroc(scores, truth, np.zeros(3)) is None
    assert class_aurocs(scores[:, None], truth[:, None]) == [None]


def test_no_images_define_nothing() -> None:
    assert auroc(np.empty(0), np.empty(0)) is None
    assert class_aurocs(np.empty((0, 2)), np.empty((0, 2))) == [None, None]


def test_knowing_the_hospital_is_worth_nothing_within_hospitals() -> None:
    hospital = np.array(["a"] * 50 + ["b"] * 50)
    labels = np.r_[np.arange(50) < 40, np.arange(50) < 10].astype(int)
    scores = (hospital == "a").astype(np.float32)
    assert auroc(scores, labels) == pytest.approx(0.8)
    assert stratified_auroc(scores, labels, hospital) == 0.5


def test_strata_are_weighted_by_positives_and_undefined_ones_left_out() -> None:
    strata = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2])
    labels = np.array([1, 0, 0, 1, 1, 1, 0, 1, 1])
    scores = np.array([3.0, 1.0, 2.0, 0.0, 0.5, 2.0, 1.0, 9.0, 0.0])
    # Stratum 0: AUC 1 with one positive; stratum 1: 1/3 with three; stratum 2 has no negative.
    assert stratified_auroc(scores, labels, strata) == pytest.approx((1 + 3 * (1 / 3)) / 4)


@given(rankings())
@settings(max_examples=30)
def test_one_stratum_changes_nothing(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, labels, mask = case
    one = stratified_auroc(scores, labels, np.zeros(len(scores)), mask)
    assert one == pytest.approx(auroc(scores, labels, mask))


def test_macro_counts_what_it_averages() -> None:
    assert macro([0.5, None, 1.0]) == Macro(0.75, 2, 3)
    assert macro([None]) == Macro(None, 0, 1)
    assert macro([]) == Macro(None, 0, 0)
    groups = group_macros([0.5, None, 1.0], {"rare": [1, 2], "total": range(3), "none": []})
    assert groups == {"rare": (1.0, 1, 2), "total": (0.75, 2, 3), "none": (None, 0, 0)}


def test_nan_scores_are_refused_where_they_would_be_ranked() -> None:
    scores, labels = np.array([0.5, np.nan, 0.1]), np.array([1, 0, 0])
    with pytest.raises(DataError, match="1 scores are NaN"):
        auroc(scores, labels)
    assert auroc(scores, labels, np.array([True, False, True])) == 1.0


def test_labels_other_than_0_and_1_are_refused() -> None:
    with pytest.raises(DataError, match=r"1 labels are neither 0 nor 1, the first is .*2"):
        auroc(np.zeros(3), np.array([0, 2, 1]))


def test_arguments_that_do_not_fit_are_refused_with_their_shapes() -> None:
    with pytest.raises(UsageError, match=r"scores \(3,\), labels \(2,\)"):
        auroc(np.zeros(3), np.zeros(2))
    with pytest.raises(UsageError, match="has to be bool"):
        auroc(np.zeros(3), np.zeros(3), np.ones(3))
    with pytest.raises(UsageError, match="images by classes"):
        class_aurocs(np.zeros(3), np.zeros(3))
    with pytest.raises(UsageError, match=r"strata has shape \(2,\)"):
        stratified_auroc(np.zeros(3), np.zeros(3), np.zeros(2))


def test_importing_the_statistics_loads_nothing_heavy() -> None:
    code = (
        "import sys, bench.stats.metrics, bench.stats.significance, bench.stats.bootstrap, "
        "bench.stats.power, bench.stats.calibration; "
        "print({'torch', 'numba', 'scipy', 'sklearn', 'pandas'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
