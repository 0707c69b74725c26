from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from bench.classes import CLASSES, NORMAL, RARE, TRAIN_COUNTS
from bench.data.phantom import Cohort, make_cohort
from bench.data.phantom.labels import CHRONIC, IS_A, target_images
from bench.errors import DataError


@pytest.fixture(scope="module", params=[0, 1, 2])
def cohort(request: pytest.FixtureRequest) -> Cohort:
    return make_cohort(2400, seed=request.param)


def column(cohort: Cohort, name: str) -> np.ndarray:
    return cohort.labels[:, CLASSES.index(name)] == 1


def patients_with(cohort: Cohort, name: str) -> set[str]:
    return {cohort.patients[row] for row in np.flatnonzero(column(cohort, name))}


def test_same_arguments_give_the_same_cohort():
    first, second = make_cohort(240, seed=5), make_cohort(240, seed=5)
    for field in dataclasses.fields(Cohort):
        a, b = getattr(first, field.name), getattr(second, field.name)
        assert np.array_equal(a, b), field.name
    assert not np.array_equal(first.labels, make_cohort(240, seed=6).labels)


@pytest.mark.parametrize("n", [20, 60, 61, 300, 1000])
def test_any_size_is_a_proper_set_of_exactly_that_many_images(n: int):
    cohort = make_cohort(n, seed=3)
    assert len(cohort) == n
    assert cohort.labels.shape == (n, 40)
    assert cohort.labels.dtype == np.uint8
    assert set(np.unique(cohort.labels)) == {0, 1}
    assert len(cohort.findings) == len(cohort.impressions) == len(cohort.views) == n
    assert len(set(cohort.patients)) > 1


def test_too_small_a_set_is_refused():
    with pytest.raises(DataError, match="19 images"):
        make_cohort(19)


def test_normal_excludes_every_finding_but_devices(cohort: Cohort):
    normal = column(cohort, NORMAL)
    beside = cohort.labels[normal].sum(axis=0) > 0
    assert {CLASSES[i] for i in np.flatnonzero(beside)} <= {NORMAL, "Support Devices"}


def test_every_rare_class_has_images_and_patients_enough(cohort: Cohort):
    for name in RARE:
        assert column(cohort, name).sum() >= 20, name
        assert len(patients_with(cohort, name)) >= 15, name


def test_counts_keep_the_order_of_the_long_tail(cohort: Cohort):
    ranked = sorted(CLASSES, key=lambda name: -TRAIN_COUNTS[name])
    counts = np.array([column(cohort, name).sum() for name in ranked])
    order = np.argsort(np.argsort(-counts, kind="stable"))
    assert np.corrcoef(order, np.arange(40))[0, 1] > 0.97
    assert 0.27 < counts[0] / len(cohort) < 0.33
    assert counts[-4:].max() < 0.015 * len(cohort)


def test_counts_scale_with_the_number_of_images():
    small, large = make_cohort(600, seed=1), make_cohort(2400, seed=1)
    for name in ("Support Devices", "Cardiomegaly", "Pneumonia"):
        ratio = column(large, name).sum() / column(small, name).sum()
        assert 3.4 < ratio < 4.6, name
    assert target_images("Lobar Atelectasis", 4800) == pytest.approx(
        2 * target_images("Lobar Atelectasis", 2400), abs=1
    )


def test_labels_per_image_and_lonely_tail_are_those_of_cxr_lt(cohort: Cohort):
    assert 2.2 < cohort.labels.sum(axis=1).mean() < 3.0
    rare = cohort.labels[:, [CLASSES.index(name) for name in RARE]].sum(axis=1)
    assert rare[rare > 0].mean() < 1.25


def test_images_per_patient_have_a_long_tail_that_nobody_owns(cohort: Cohort):
    _, sizes = np.unique(cohort.patients, return_counts=True)
    assert 4.0 < sizes.mean() < 6.0
    assert 2 <= np.median(sizes) <= 4
    assert np.percentile(sizes, 95) > 12
    assert sizes.max() < 0.02 * len(cohort)


def test_a_study_has_one_patient_and_one_set_of_labels_and_words(cohort: Cohort):
    seen: dict[str, tuple[object, ...]] = {}
    for row, study in enumerate(cohort.studies):
        facts = (
            cohort.patients[row],
            cohort.labels[row].tobytes(),
            cohort.views[row],
            cohort.findings[row],
            cohort.impressions[row],
            int(cohort.visit[row]),
        )
        assert seen.setdefault(study, facts) == facts
    assert 1.2 < len(cohort) / len(seen) < 1.8


def test_images_of_a_patient_are_numbered_and_lie_together(cohort: Cohort):
    counts: dict[str, int] = {}
    for row, patient in enumerate(cohort.patients):
        assert cohort.image[row] == counts.get(patient, 0)
        assert cohort.image[row] == 0 or cohort.patients[row - 1] == patient
        counts[patient] = counts.get(patient, 0) + 1


def repeat_rate(cohort: Cohort, name: str) -> float:
    """How often a patient's next study has the class again."""
    first = np.r_[True, np.array(cohort.studies)[1:] != np.array(cohort.studies)[:-1]]
    rows = np.flatnonzero(first)
    pairs = [
        (a, b)
        for a, b in itertools.pairwise(rows)
        if cohort.patients[a] == cohort.patients[b] and column(cohort, name)[a]
    ]
    return float(np.mean([column(cohort, name)[b] for _, b in pairs]))


def test_chronic_findings_persist_longer_than_acute_ones(cohort: Cohort):
    chronic = ("Emphysema", "Tortuous Aorta", "Hernia", "Granuloma", "Pleural Thickening")
    acute = ("Infiltration", "Consolidation", "Nodule", "Subcutaneous Emphysema", "Adenopathy")
    assert CHRONIC.issuperset(chronic)
    assert CHRONIC.isdisjoint(acute)
    kept = np.mean([repeat_rate(cohort, name) for name in chronic])
    assert kept > 1.3 * np.mean([repeat_rate(cohort, name) for name in acute])


def test_is_a_edges_hold_often_but_not_always(cohort: Cohort):
    both = total = 0
    for child, parent, share in IS_A:
        have = column(cohort, child)
        assert column(cohort, parent)[have].mean() > 0.5 * share, (child, parent)
        both += int(column(cohort, parent)[have].sum())
        total += int(have.sum())
    assert 0.4 < both / total < 0.9


def test_sicker_films_are_portable(cohort: Cohort):
    portable = np.array(cohort.views) == "AP"
    assert set(cohort.views) == {"AP", "PA"}
    assert 0.45 < portable.mean() < 0.7
    assert (
        portable[column(cohort, "Support Devices")].mean()
        > 1.3 * portable[column(cohort, NORMAL)].mean()
    )
