"""From FULL_SIZE images on, counts are those of CXR-LT: to the image and to the patient."""

from __future__ import annotations

import numpy as np
import pytest

from bench.classes import CLASSES, NORMAL, TAIL, TRAIN_COUNTS, TRAIN_IMAGES
from bench.data.phantom import Cohort, cohort, labels, make_cohort
from bench.data.phantom.cohort import published_sizes
from bench.data.phantom.labels import FULL_SIZE, target_images


def test_the_published_histogram_is_met_to_the_patient() -> None:
    sizes = published_sizes()
    assert (len(sizes), sizes.sum(), sizes.max()) == (45_480, TRAIN_IMAGES, 174)
    counts = np.bincount(sizes)
    assert counts[1:7].tolist() == [3866, 16672, 5018, 4814, 2327, 2422]
    assert counts[40] == 32
    assert np.percentile(sizes, [50, 90, 95, 99, 99.9]).tolist() == [3, 13, 19, 40, 81]
    assert 0.50 < sizes[sizes >= 10].sum() / sizes.sum() < 0.52


def test_every_class_has_its_published_count_at_the_published_size() -> None:
    assert {name: target_images(name, TRAIN_IMAGES) for name in CLASSES} == TRAIN_COUNTS
    assert target_images("Lobar Atelectasis", 234_800) == 117


def _check(made: Cohort, n: int) -> None:
    assert len(made) == n
    counts = dict(zip(CLASSES, made.labels.sum(axis=0).tolist(), strict=True))
    assert counts == {name: round(TRAIN_COUNTS[name] * n / TRAIN_IMAGES) for name in CLASSES}
    normal = made.labels[:, CLASSES.index(NORMAL)] == 1
    beside = made.labels[normal].sum(axis=0) > 0
    assert {CLASSES[i] for i in np.flatnonzero(beside)} <= {NORMAL, "Support Devices"}
    _, images = np.unique(made.patients, return_counts=True)
    assert len(images) == round(45_480 * n / TRAIN_IMAGES)


@pytest.mark.parametrize("n", [2501, 3300])
def test_counts_are_exact_at_any_size_that_is_not_compressed(
    monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    monkeypatch.setattr(labels, "FULL_SIZE", 2500)
    monkeypatch.setattr(cohort, "FULL_SIZE", 2500)
    _check(make_cohort(n, seed=1), n)


def test_the_default_is_compressed_as_ever() -> None:
    assert FULL_SIZE > 2400
    assert target_images("Lobar Atelectasis", 2400) == 22


@pytest.mark.slow
def test_the_full_cohort_is_cxr_lt_in_numbers() -> None:
    made = make_cohort(TRAIN_IMAGES, seed=0)
    _check(made, TRAIN_IMAGES)
    images = np.sort(np.unique(made.patients, return_counts=True)[1])
    assert (images == published_sizes()).all()
    assert round(made.labels.sum() / TRAIN_IMAGES, 3) == 2.445
    tail = made.labels[:, [CLASSES.index(name) for name in TAIL]].sum(axis=1)
    assert 1.03 < tail.sum() / np.count_nonzero(tail) < 1.10  # CXR-LT: 1.065
