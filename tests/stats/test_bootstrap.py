"""The patient bootstrap against resampled images, scikit-learn, scipy's BCa and its own rules."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from bench.errors import DataError, UsageError
from bench.stats import _draws, bootstrap
from bench.stats.bootstrap import cluster_bootstrap, paired_cluster_bootstrap
from bench.stats.metrics import stratified_auroc


class Study:
    """Scores of two models on patients of several images, with folds, hospitals and a mask."""

    def __init__(self, seed: int, n: int = 120, patients: int = 30, classes: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.patients = rng.integers(0, patients, n)
        self.folds = self.patients * 7 % 3
        self.strata = self.patients % 2
        self.labels = (rng.random((n, classes)) < np.geomspace(0.4, 0.08, classes)).astype(int)
        self.mask = rng.random((n, classes)) < 0.9
        self.a, self.b = (
            np.round(rng.normal(size=(n, classes)) + k * self.labels, 1).astype(np.float32)
            for k in (1.0, 0.5)
        )

    def by_definition(self, scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(C,) mean over folds of the AUC within hospitals, of the images in `rows`."""
        values = []
        for c in range(scores.shape[1]):
            folds = []
            for fold in range(3):
                i = rows[self.folds[rows] == fold]
                i = i[self.mask[i, c]]
                folds.append(stratified_auroc(scores[i, c], self.labels[i, c], self.strata[i]))
            defined = [value for value in folds if value is not None]
            values.append(np.mean(defined) if defined else np.nan)
        return np.array(values)

    def plan(self, replicates: int) -> _draws.Plan:
        return _draws.draw_plan(
            self.patients, self.folds, self.strata, self.labels.shape, replicates, 0.95
        )


@given(st.integers(0, 10_000))
@settings(max_examples=8)
def test_replicates_equal_the_auc_of_resampled_images(seed: int) -> None:
    """Undefined classes included: both are NaN in the same replicates."""
    study = Study(seed)
    plan = study.plan(20)
    values = _draws.class_values(study.a, study.labels, study.mask, plan, seed)
    everyone = np.arange(len(study.patients))
    np.testing.assert_allclose(values.value, study.by_definition(study.a, everyone), atol=1e-12)
    (weights,) = _draws.draws(plan, seed)
    for b in range(20):
        rows = np.repeat(everyone, weights[plan.patient, b])
        expected = study.by_definition(study.a, rows)
        np.testing.assert_allclose(values.replicate[:, b], expected, atol=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=8)
def test_leaving_a_patient_out_equals_computing_without_them(seed: int) -> None:
    study = Study(seed, n=60, patients=12)
    plan = study.plan(1)
    values = _draws.class_values(study.a, study.labels, study.mask, plan, seed)
    for patient in range(len(plan.drawn_in)):
        expected = study.by_definition(study.a, np.flatnonzero(plan.patient != patient))
        np.testing.assert_allclose(values.without[:, patient], expected, atol=1e-12)


def test_a_replicate_equals_reindexing_with_scikit_learn() -> None:
    study = Study(3, n=400, patients=150)
    plan = _draws.draw_plan(study.patients, None, None, study.labels.shape, 30, 0.95)
    values = _draws.class_values(study.a, study.labels, None, plan, 0)
    (weights,) = _draws.draws(plan, 0)
    for b in range(30):
        rows = np.repeat(np.arange(400), weights[plan.patient, b])
        expected = roc_auc_score(study.labels[rows], study.a[rows], average=None)
        np.testing.assert_allclose(values.replicate[:, b], expected, atol=1e-12)


def test_draws_are_of_patients_within_folds() -> None:
    study = Study(0)
    plan = study.plan(300)
    weights = np.concatenate(list(_draws.draws(plan, 1)), axis=1)
    assert weights.shape == (len(plan.drawn_in), 300)
    for fold in range(3):
        here = plan.drawn_in == fold
        assert (weights[here].sum(axis=0) == here.sum()).all()


def test_bca_equals_scipy_where_scipy_can_follow() -> None:
    """One image a patient, no folds: what scipy resamples. Its draws are others than ours."""
    rng = np.random.default_rng(5)
    labels = (rng.random(150) < 0.15).astype(int)
    scores = rng.normal(size=150) + 1.2 * labels

    def auc(rows: np.ndarray) -> float:
        return float(stratified_auroc(scores[rows], labels[rows], np.zeros(len(rows))))

    theirs = stats.bootstrap(
        (np.arange(150),), auc, n_resamples=4000, method="BCa", vectorized=False, rng=1
    )
    ours = cluster_bootstrap(
        scores[:, None], labels[:, None], np.arange(150), n_replicates=4000, seed=1
    ).groups["total"]
    assert ours.bca == pytest.approx(tuple(theirs.confidence_interval), abs=0.008)
    assert ours.se == pytest.approx(theirs.standard_error, rel=0.05)
    # The correction is no formality here: AUC near one is skewed.
    assert abs(ours.bca[0] - ours.percentile[0]) > 0.005


def test_pairing_uses_one_draw_for_both_models() -> None:
    study = Study(1)
    both = paired_cluster_bootstrap(study.a, study.b, study.labels, study.patients, seed=4)
    for scores, side in ((study.a, both.a), (study.b, both.b)):
        alone = cluster_bootstrap(scores, study.labels, study.patients, seed=4)
        assert side == alone.groups
    reverse = paired_cluster_bootstrap(study.b, study.a, study.labels, study.patients, seed=4)
    forth, back = both.groups["total"], reverse.groups["total"]
    assert forth.value == pytest.approx(both.a["total"].value - both.b["total"].value)
    assert forth.value == pytest.approx(-back.value)
    assert forth.percentile == pytest.approx((-back.percentile[1], -back.percentile[0]))
    assert forth.p_value == back.p_value


def test_a_model_does_not_differ_from_itself() -> None:
    study = Study(1)
    same = paired_cluster_bootstrap(
        study.a, study.a, study.labels, study.patients, folds=study.folds, seed=0
    ).groups["total"]
    assert (same.value, same.p_value, same.percentile) == (0.0, 1.0, (0.0, 0.0))


def test_the_smallest_p_is_two_over_replicates_and_one() -> None:
    study = Study(1, n=600, patients=200)
    perfect, inverse = study.labels.astype(float), -study.labels.astype(float)
    clear = paired_cluster_bootstrap(
        perfect, inverse, study.labels, study.patients, n_replicates=999, seed=0
    ).groups["total"]
    assert clear.p_value == 2 / 1000


def test_without_draws_on_both_sides_there_is_no_bca() -> None:
    plan = Study(0).plan(3)
    told = bootstrap._bca(0.9, np.array([0.5, 0.6, 0.7]), np.zeros(len(plan.drawn_in)), plan)
    assert told == "no BCa: all replicates lie on one side of the value"


def test_groups_are_means_over_their_classes() -> None:
    study = Study(2)
    told = paired_cluster_bootstrap(
        study.a,
        study.b,
        study.labels,
        study.patients,
        folds=study.folds,
        groups={"total": [0, 1, 2], "rare": [2], "base": [0, 1]},
        seed=3,
    ).groups
    total, rare, base = (told[name].value for name in ("total", "rare", "base"))
    assert total == pytest.approx((rare + 2 * base) / 3)
    assert [told[name].classes for name in told] == [3, 1, 2]


@given(st.randoms(use_true_random=False))
@settings(max_examples=5)
def test_the_order_of_images_does_not_matter(random: Random) -> None:
    study = Study(2)
    order = np.arange(len(study.patients))
    random.shuffle(order)

    def told(rows: np.ndarray) -> bootstrap.Bootstrap:
        return cluster_bootstrap(
            study.a[rows],
            study.labels[rows],
            study.patients[rows],
            folds=study.folds[rows],
            strata=study.strata[rows],
            mask=study.mask[rows],
            n_replicates=50,
            seed=1,
        )

    assert told(order) == told(np.arange(len(order)))


def test_replicates_without_positives_are_counted() -> None:
    """One positive patient among 20: a draw misses them with a chance of (19/20)^20 = 0.358."""
    patients, labels = np.arange(20), np.zeros((20, 2), dtype=int)
    labels[0], labels[1:10, 0] = 1, 1
    scores = np.random.default_rng(0).normal(size=(20, 2))
    told = cluster_bootstrap(scores, labels, patients, seed=0, groups={"t": [0, 1], "rare": [1]})
    missed = told.lost[1]
    assert missed / 1000 == pytest.approx(0.358, abs=0.05)
    assert told.lost[0] == 0
    assert told.groups["rare"].replicates == 1000 - missed
    assert told.groups["rare"].incomplete == missed
    # The group goes on with its other class.
    assert told.groups["t"].replicates == 1000
    assert told.groups["t"].incomplete == missed
    assert told.groups["t"].thinned == missed
    # Without that patient there is nothing to leave out from.
    assert told.groups["rare"].bca is None


def test_a_class_lost_in_one_fold_is_told_from_one_lost_in_all() -> None:
    """One of ten in each of two folds: missed in either (0.349 each), or in both."""
    patients, labels = np.arange(20), np.zeros((20, 1), dtype=int)
    labels[[0, 10]] = 1
    scores = np.random.default_rng(0).normal(size=(20, 1))
    told = cluster_bootstrap(scores, labels, patients, folds=patients // 10, seed=0)
    total = told.groups["total"]
    assert total.incomplete / 1000 == pytest.approx(1 - 0.651**2, abs=0.05)
    assert total.thinned / 1000 == pytest.approx(0.349**2, abs=0.03)
    assert total.replicates == 1000 - total.thinned


def test_undefined_groups_say_so() -> None:
    study = Study(0)
    study.labels[:, 2] = 0
    told = paired_cluster_bootstrap(
        study.a,
        study.b,
        study.labels,
        study.patients,
        groups={"total": [0, 1, 2], "rare": [2], "none": []},
        seed=0,
    )
    assert (told.groups["total"].defined, told.groups["total"].classes) == (2, 3)
    for name in ("rare", "none"):
        assert told.groups[name].value is None
        assert told.groups[name].p_value is None
        assert told.groups[name].reason == "no class of the group is defined"


def test_one_patient_has_no_spread_to_speak_of() -> None:
    """Every draw is that patient again; the interval is a point and BCa is not invented."""
    rng = np.random.default_rng(0)
    labels = (np.arange(30) % 3 == 0).astype(int)[:, None]
    told = cluster_bootstrap(rng.normal(size=(30, 1)), labels, np.zeros(30), seed=0)
    estimate = told.groups["total"]
    assert estimate.percentile == (estimate.value, estimate.value)
    assert estimate.se == pytest.approx(0, abs=1e-15)
    assert estimate.bca is None


def test_a_huge_cluster_widens_the_interval() -> None:
    """Half of the images from one patient: a draw has them not at all, once or several times."""
    rng = np.random.default_rng(0)
    labels = (rng.random(2000) < 0.3).astype(int)[:, None]
    scores = rng.normal(size=(2000, 1)) + labels
    scores[:1000] = rng.normal(size=(1000, 1))
    clustered = np.r_[np.zeros(1000, int), np.arange(1, 1001)]
    wide = cluster_bootstrap(scores, labels, clustered, seed=0).groups["total"]
    narrow = cluster_bootstrap(scores, labels, np.arange(2000), seed=0).groups["total"]
    assert wide.value == narrow.value
    assert wide.se > 3 * narrow.se


def test_stacked_runs_are_drawn_by_patient_over_all_runs() -> None:
    """A patient is tested in another fold in each run; the mean over runs is what is resampled."""
    study = Study(6)
    n = len(study.patients)
    folds = np.r_[study.folds, 3 + study.patients * 5 % 3]
    twice = {"labels": np.tile(study.labels, (2, 1)), "patients": np.tile(study.patients, 2)}
    scores = np.concatenate([study.a, study.a])
    told = cluster_bootstrap(scores, **twice, folds=folds, seed=0)
    first = cluster_bootstrap(study.a, study.labels, study.patients, folds=folds[:n], seed=0)
    second = cluster_bootstrap(study.a, study.labels, study.patients, folds=folds[n:], seed=0)
    mean = (first.groups["total"].value + second.groups["total"].value) / 2
    assert told.groups["total"].value == pytest.approx(mean)
    assert told.patients == first.patients


def test_arguments_that_cannot_be_meant_are_refused() -> None:
    study = Study(0)
    good = {"labels": study.labels, "patients": study.patients, "seed": 0}
    with pytest.raises(UsageError, match="level"):
        cluster_bootstrap(study.a, **good, level=95)
    with pytest.raises(UsageError, match="n_replicates"):
        cluster_bootstrap(study.a, **good, n_replicates=0)
    with pytest.raises(UsageError, match="names class 7 of 3"):
        cluster_bootstrap(study.a, **good, groups={"rare": [7]})
    with pytest.raises(UsageError, match="patients has shape"):
        cluster_bootstrap(study.a, study.labels, study.patients[:5], seed=0)
    with pytest.raises(UsageError, match="images by classes"):
        cluster_bootstrap(study.a[:, 0], study.labels[:, 0], study.patients, seed=0)
    with pytest.raises(UsageError, match="Shapes differ"):
        paired_cluster_bootstrap(study.a, study.b[:, :2], **good)
    with pytest.raises(DataError, match="no images"):
        cluster_bootstrap(study.a[:0], study.labels[:0], study.patients[:0], seed=0)


def test_several_pairs_at_once_equal_each_pair_alone() -> None:
    rng = np.random.default_rng(4)
    labels = (rng.random((80, 3)) < 0.3).astype(np.uint8)
    patients, folds = np.arange(80) // 2, np.arange(80) // 40
    scores = {name: labels + rng.normal(size=labels.shape) for name in "abc"}
    settings = {"folds": folds, "n_replicates": 50, "seed": 3}
    together = bootstrap.paired_cluster_bootstraps(
        scores, [("b", "a"), ("c", "a")], labels, patients, **settings
    )
    for (a, b), found in together.items():
        assert found == paired_cluster_bootstrap(scores[a], scores[b], labels, patients, **settings)
