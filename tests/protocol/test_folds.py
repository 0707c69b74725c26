"""Folds: nobody crosses, every class is spread, the same seed gives the same partition."""

from __future__ import annotations

import dataclasses
from itertools import combinations_with_replacement, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError, DataError, UsageError
from bench.protocol.folds import FoldTable, patient_folds


def cohort(
    seed: int, patients: int, classes: int, most_images: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a long tail, by image, and the patients, of whom some have many images."""
    rng = np.random.default_rng(seed)
    sizes = np.minimum(rng.geometric(0.4, patients), most_images)
    ids = np.repeat(rng.permutation(patients) + 10_000_000, sizes)
    prone = rng.random((patients, classes)) < np.geomspace(0.5, 0.03, classes)
    labels = prone[np.repeat(np.arange(patients), sizes)] & (rng.random((len(ids), classes)) < 0.7)
    return labels.astype(np.uint8), ids


cohorts = st.tuples(
    st.integers(0, 10_000), st.integers(30, 120), st.integers(1, 10), st.integers(2, 6)
)


@given(cohorts)
@settings(max_examples=40, deadline=None)
def test_nobody_crosses_and_nobody_is_lost(case: tuple[int, int, int, int]) -> None:
    seed, patients, classes, n_folds = case
    labels, ids = cohort(seed, patients, classes)
    table = patient_folds(labels, ids, n_folds=n_folds, seed=seed)
    tested = []
    for k in range(n_folds):
        train, test = table.split(k)
        assert not set(ids[train]) & set(ids[test])
        fit, valid, same_test = table.train_valid_test(k)
        np.testing.assert_array_equal(test, same_test)
        assert not set(ids[fit]) & set(ids[valid])
        np.testing.assert_array_equal(np.sort(np.r_[fit, valid]), train)
        assert len(fit)
        assert len(valid)
        tested.append(test)
    np.testing.assert_array_equal(np.sort(np.concatenate(tested)), np.arange(len(ids)))


@given(cohorts)
@settings(max_examples=40, deadline=None)
def test_every_class_that_can_be_is_in_every_fold_and_evenly(
    case: tuple[int, int, int, int],
) -> None:
    seed, patients, classes, n_folds = case
    labels, ids = cohort(seed, patients, classes)
    table = patient_folds(labels, ids, n_folds=n_folds, seed=seed)
    with_class = pd.DataFrame(labels).groupby(ids).max().sum().to_numpy()
    assert table.unplaceable == tuple(np.flatnonzero(with_class < n_folds))
    assert table.uncovered == table.unplaceable
    counts = table.positive_patients
    np.testing.assert_array_equal(counts.sum(axis=0), with_class)
    share = with_class / n_folds
    assert (counts >= np.floor(share) - 1).all()
    assert (counts <= np.ceil(share) + 1).all()
    assert table.patients.max() - table.patients.min() <= 3


def test_a_class_is_left_out_only_where_no_partition_covers_more() -> None:
    """Against all partitions of every set of few patients with up to three classes each.

    Three patients who have two classes each cannot all be parted from each other.
    """
    kinds = np.array(list(product([0, 1], repeat=3)))
    for patients, n_folds in product((3, 4, 5), (2, 3)):
        parts = np.array(list(product(range(n_folds), repeat=patients)))
        for chosen in combinations_with_replacement(range(len(kinds)), patients):
            labels = kinds[list(chosen)]
            table = patient_folds(labels, np.arange(patients), n_folds=n_folds, seed=0)
            lacking = sum(((parts == k) @ labels == 0).astype(int) for k in range(n_folds))
            assert len(table.uncovered) == (lacking > 0).sum(axis=1).min(), labels


def told(table: FoldTable) -> dict[str, object]:
    return {
        field.name: getattr(table, field.name)
        for field in dataclasses.fields(table)
        if not field.name.startswith("_")
    }


def test_rows_in_another_order_keep_their_patients_fold() -> None:
    labels, ids = cohort(0, 80, 5)
    order = np.random.default_rng(1).permutation(len(ids))
    first = patient_folds(labels, ids, n_folds=5, seed=3)
    second = patient_folds(labels[order], ids[order], n_folds=5, seed=3)
    np.testing.assert_array_equal(first.fold[order], second.fold)
    assert first.digest == second.digest
    held, held_shuffled = (t.train_valid_test(2).valid for t in (first, second))
    assert set(ids[held]) == set(ids[order][held_shuffled])


def test_the_partition_is_a_function_of_the_seed() -> None:
    labels, ids = cohort(0, 80, 5)
    first, again, other = (patient_folds(labels, ids, n_folds=5, seed=s) for s in (3, (3,), (3, 1)))
    np.testing.assert_equal(told(first), told(again))
    assert first.digest != other.digest
    assert (first.fold != other.fold).any()
    valid = [table.train_valid_test(0).valid.tolist() for table in (first, again, other)]
    assert valid[0] == valid[1] != valid[2]


def test_the_digest_is_of_the_partition_and_not_of_how_ids_are_typed() -> None:
    labels, ids = cohort(0, 40, 3)
    digests = {
        patient_folds(labels, typed, n_folds=4, seed=0).digest
        for typed in (ids, ids.astype(np.int32), ids.astype(str), ids.astype(object))
    }
    assert len(digests) == 1
    assert patient_folds(labels, ids + 1, n_folds=4, seed=0).digest not in digests
    assert len(digests.pop()) == 64


def test_counts_are_those_of_the_folds() -> None:
    labels, ids = cohort(5, 60, 4)
    table = patient_folds(labels, ids, n_folds=3, seed=0)
    for k in range(3):
        here = table.fold == k
        assert table.images[k] == here.sum()
        assert table.patients[k] == len(set(ids[here]))
        np.testing.assert_array_equal(table.positive_images[k], labels[here].sum(axis=0))


def test_masked_labels_are_not_positive() -> None:
    labels = np.ones((20, 2), dtype=int)
    labels[:, 1] = 7
    mask = np.zeros((20, 2), dtype=bool)
    mask[:10, 0] = True
    table = patient_folds(labels, np.arange(20), n_folds=5, seed=0, mask=mask)
    assert table.positive_patients.tolist() == [[2, 0]] * 5
    assert table.uncovered == table.unplaceable == (1,)


def test_validation_takes_its_share_of_every_class() -> None:
    labels, ids = cohort(1, 3000, 6)
    table = patient_folds(labels, ids, n_folds=5, seed=0)
    for fraction in (0.1, 0.25):
        fit, valid, _ = table.train_valid_test(1, fraction)
        share = labels[valid].sum(axis=0) / labels[np.r_[fit, valid]].sum(axis=0)
        np.testing.assert_allclose(share, fraction, atol=0.02)
        patients = len(set(ids[valid])) / len(set(ids[np.r_[fit, valid]]))
        assert patients == pytest.approx(fraction, abs=0.002)


def test_the_rarest_classes_stay_for_training() -> None:
    """Of five positive patients four train; a tenth of four is none."""
    labels = np.zeros((500, 1), dtype=int)
    labels[:5] = 1
    table = patient_folds(labels, np.arange(500), n_folds=5, seed=0)
    for k in range(5):
        fit, valid, test = table.train_valid_test(k)
        assert [labels[rows].sum() for rows in (fit, valid, test)] == [4, 0, 1]


def test_a_patient_with_most_images_is_one_patient() -> None:
    labels, ids = cohort(2, 50, 3)
    ids = np.r_[ids, np.full(5000, ids[0])]
    labels = np.r_[labels, np.ones((5000, 3), np.uint8)]
    table = patient_folds(labels, ids, n_folds=5, seed=0)
    assert table.patients.sum() == 50
    assert table.patients.min() >= 5
    assert table.uncovered == table.unplaceable


def test_the_real_nih_labels_are_spread_as_well_as_can_be(openreal: Path) -> None:
    frame = pd.read_csv(openreal / "labels_only" / "nih_cxr14_labels.csv.gz")
    labels = frame.loc[:, "Atelectasis":].to_numpy()
    table = patient_folds(labels, frame["patient_id"].to_numpy(), n_folds=5, seed=0)
    share = table.positive_patients.sum(axis=0) / 5
    assert (np.abs(table.positive_patients - share) < 1).all()
    assert np.ptp(table.patients) <= 1
    assert np.ptp(table.images) < 0.01 * table.images.min()


def test_a_crossing_patient_is_never_silent() -> None:
    labels, ids = cohort(0, 40, 3)
    table = patient_folds(labels, ids, n_folds=4, seed=0)
    patient = np.flatnonzero(np.bincount(table._code) > 1)[0]
    table.fold[np.flatnonzero(table._code == patient)[0]] ^= 1
    k = int(table.fold[table._code == patient][0])
    with pytest.raises(BenchError, match="1 patients are in two parts"):
        table.split(k)


def test_what_cannot_be_meant_is_refused_with_its_values() -> None:
    labels, ids = np.zeros((6, 2), dtype=int), np.arange(6)
    with pytest.raises(UsageError, match="it is 1"):
        patient_folds(labels, ids, n_folds=1, seed=0)
    with pytest.raises(DataError, match="6 patients cannot be dealt into 7 folds"):
        patient_folds(labels, ids, n_folds=7, seed=0)
    with pytest.raises(UsageError, match=r"patients has shape \(5,\); one id for each of 6"):
        patient_folds(labels, ids[:5], n_folds=2, seed=0)
    with pytest.raises(UsageError, match=r"labels has shape \(6,\)"):
        patient_folds(labels[:, 0], ids, n_folds=2, seed=0)
    with pytest.raises(UsageError, match=r"mask is bool \(6, 1\)"):
        patient_folds(labels, ids, n_folds=2, seed=0, mask=np.ones((6, 1), dtype=bool))
    with pytest.raises(UsageError, match="not negative"):
        patient_folds(labels, ids, n_folds=2, seed=-1)
    with pytest.raises(DataError, match="neither 0 nor 1"):
        patient_folds(labels + 2, ids, n_folds=2, seed=0)
    with pytest.raises(DataError, match="missing or not whole"):
        patient_folds(labels, np.array([1, 2, np.nan, 4, 5, 6]), n_folds=2, seed=0)
    with pytest.raises(DataError, match="missing or not whole"):
        patient_folds(labels, np.array(["a", "b", None, "d", "e", "f"]), n_folds=2, seed=0)
    with pytest.raises(DataError, match="1 images have an empty patient id"):
        patient_folds(labels, np.array(["a", "", "c", "d", "e", "f"]), n_folds=2, seed=0)
    table = patient_folds(labels, ids, n_folds=6, seed=0)
    with pytest.raises(UsageError, match="no fold 6; folds are 0 to 5"):
        table.split(6)
    with pytest.raises(UsageError, match="it is 1"):
        table.train_valid_test(0, 1)
    two = patient_folds(labels, ids // 3, n_folds=2, seed=0)
    with pytest.raises(DataError, match="trains on 1 patient"):
        two.train_valid_test(0)
