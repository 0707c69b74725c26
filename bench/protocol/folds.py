"""Cross-validation folds by patient, with every class as evenly spread as it can be."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bench.errors import BenchError, DataError, UsageError
from bench.protocol.balance import Counts, deal

# Set beside the seed so that partition and validation draw from streams of their own.
_PARTITION, _VALIDATION = 0, 1
# An image count is worth a tenth of a patient count: patients are what is independent.
_IMAGES = 0.1


class TrainTest(NamedTuple):
    """Row numbers of a split, ascending."""

    train: np.ndarray
    test: np.ndarray


class TrainValidTest(NamedTuple):
    """Row numbers of a split whose training patients gave some away for early stopping."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class FoldTable:
    """Which fold tests which image, how the classes are spread, and what could not be spread."""

    fold: np.ndarray
    """(N,) int8: the fold in which the image is tested."""
    n_folds: int
    seed: tuple[int, ...]
    images: np.ndarray
    """(n_folds,) images of each fold."""
    patients: np.ndarray
    """(n_folds,) patients of each fold."""
    positive_images: np.ndarray
    """(n_folds, C) images with each class."""
    positive_patients: np.ndarray
    """(n_folds, C) patients with an image of each class."""
    unplaceable: tuple[int, ...]
    """Classes with fewer positive patients than folds: no partition has one in every fold."""
    uncovered: tuple[int, ...]
    """Classes that some fold has no positive patient of; all of `unplaceable`, rarely another."""
    digest: str
    """SHA-256 of the whole table of (patient, images, fold), whatever the order of the rows. It can
    be published: who has the same data can check the partition, and a patient cannot be looked up
    since every row goes into the one hash."""
    _code: np.ndarray = field(repr=False)
    """(N,) number of the patient of each image."""
    _positives: np.ndarray = field(repr=False)
    """(patients, C) positive images of each patient."""

    def split(self, k: int) -> TrainTest:
        """Rows to train on and rows to test on when fold `k` is the test fold.

        Raises:
            UsageError: no such fold.
        """
        if not 0 <= k < self.n_folds:
            raise UsageError(f"There is no fold {k}; folds are 0 to {self.n_folds - 1}.")
        test = self.fold == k
        parts = TrainTest(np.flatnonzero(~test), np.flatnonzero(test))
        self._assert_patients_apart(parts)
        return parts

    def train_valid_test(self, k: int, valid_fraction: float = 0.1) -> TrainValidTest:
        """As `split`, with a share of the training patients set apart as validation.

        The validation part is balanced over classes as the folds are, and is a function of the
        partition, its seed and `k` alone. Both parts have a patient.

        Args:
            k: the test fold.
            valid_fraction: share of the training patients, between 0 and 1.

        Raises:
            UsageError: no such fold, or a share that is none.
            DataError: a single training patient, who cannot be shared out.
        """
        if not 0 < valid_fraction < 1:
            raise UsageError(f"valid_fraction lies between 0 and 1; it is {valid_fraction}.")
        train, test = self.split(k)
        members = np.unique(self._code[train])
        if len(members) < 2:
            raise DataError(
                f"Fold {k} trains on 1 patient; validation needs another one. Take more patients "
                "or fewer folds."
            )
        images = np.bincount(self._code[train], minlength=len(self._positives))[members]
        positives = self._positives[members]
        part = deal(
            _counts(positives, images, cover=False),
            np.array([1 - valid_fraction, valid_fraction]),
            _hardness(positives),
            (*self.seed, _VALIDATION, k),
        )
        for empty in {0, 1} - set(part.tolist()):
            part[np.argmax(_hardness(positives))] = empty
        held = np.isin(self._code[train], members[part == 1])
        parts = TrainValidTest(train[~held], train[held], test)
        self._assert_patients_apart(parts)
        return parts

    def _assert_patients_apart(self, parts: tuple[np.ndarray, ...]) -> None:
        owner = np.full(len(self._positives), -1)
        for number, rows in enumerate(parts):
            codes = np.unique(self._code[rows])
            crossing = int((owner[codes] >= 0).sum())
            if crossing:
                raise BenchError(
                    f"{crossing} patients are in two parts of a split. This is a fault of the "
                    "program, not of the data; please report it."
                )
            owner[codes] = number


def patient_folds(
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    n_folds: int,
    seed: int | tuple[int, ...],
    mask: np.ndarray | None = None,
) -> FoldTable:
    """Folds in which no patient is shared and every class is as evenly spread as can be.

    What is balanced first is, for each class, the number of patients who have it (rarest class
    first); then the numbers of patients and of images, and of images of each class. The fold of
    a patient depends on the set of patients, their labels and the seed, not on the order of rows.

    Args:
        labels: (N, C) 0 or 1.
        patients: (N,) ids, integers or text.
        n_folds: 2 to 127.
        seed: of the partition; equal seeds give equal partitions.
        mask: (N, C) bool, True where the label is known; others do not count as positive.

    Raises:
        UsageError: shapes, `n_folds` or `seed` cannot be meant.
        DataError: fewer patients than folds, labels that are not 0/1, or ids that are not ids.

    >>> labels = np.array([[1], [1], [0], [0], [1], [0]])
    >>> table = patient_folds(labels, np.array([7, 7, 8, 9, 5, 5]), n_folds=2, seed=0)
    >>> table.positive_patients.tolist(), table.uncovered
    ([[1], [1]], ())
    """
    labels, positive = _positive(labels, mask)
    ids = _ids(patients, len(labels))
    entropy = _entropy(seed)
    if not 2 <= n_folds <= 127:
        raise UsageError(f"n_folds is 2 to 127; it is {n_folds}.")
    unique, code, images = np.unique(ids, return_inverse=True, return_counts=True)
    if len(unique) < n_folds:
        raise DataError(f"{len(unique)} patients cannot be dealt into {n_folds} folds.")
    positives = _by_patient(positive, code, images)
    part = deal(
        _counts(positives, images, cover=True),
        np.full(n_folds, 1 / n_folds),
        _hardness(positives),
        (*entropy, _PARTITION),
    )
    has = positives > 0
    per_fold = [part == k for k in range(n_folds)]
    positive_patients = np.stack([has[here].sum(axis=0) for here in per_fold])
    return FoldTable(
        fold=part[code],
        n_folds=n_folds,
        seed=entropy,
        images=np.array([images[here].sum() for here in per_fold]),
        patients=np.array([here.sum() for here in per_fold]),
        positive_images=np.stack([positives[here].sum(axis=0) for here in per_fold]),
        positive_patients=positive_patients,
        unplaceable=tuple(np.flatnonzero(has.sum(axis=0) < n_folds).tolist()),
        uncovered=tuple(np.flatnonzero((positive_patients == 0).any(axis=0)).tolist()),
        digest=_digest(unique, images, part, n_folds),
        _code=code,
        _positives=positives,
    )


def _positive(labels: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise UsageError(f"labels has shape {labels.shape}; images by classes is meant.")
    known = np.ones(labels.shape, dtype=bool) if mask is None else np.asarray(mask)
    if known.shape != labels.shape or known.dtype != np.bool_:
        raise UsageError(
            f"mask is {known.dtype} {known.shape}; labels {labels.shape} need a bool of that shape."
        )
    positive = (labels == 1) & known
    other = known & ~positive & (labels != 0)
    if other.any():
        raise DataError(
            f"{int(other.sum())} labels are neither 0 nor 1, the first is {labels[other][0]!r}. "
            "Mask what is not labelled."
        )
    return labels, positive


def _ids(patients: np.ndarray, rows: int) -> np.ndarray:
    """Ids as text, so that the number 7 and the text "7" are one patient in every reader."""
    ids = np.asarray(patients)
    if ids.shape != (rows,):
        raise UsageError(f"patients has shape {ids.shape}; one id for each of {rows} images.")
    if ids.dtype.kind == "f" or (
        ids.dtype.kind == "O" and any(not isinstance(i, str | int | np.integer) for i in ids)
    ):
        raise DataError("Some patient ids are missing or not whole. Read them as text or integers.")
    text = ids.astype(str)
    if (text == "").any():
        raise DataError(f"{int((text == '').sum())} images have an empty patient id.")
    return text


def _entropy(seed: int | tuple[int, ...]) -> tuple[int, ...]:
    entropy = (seed,) if isinstance(seed, int | np.integer) else tuple(seed)
    if any(part < 0 for part in entropy):
        raise UsageError(f"A seed is not negative; it is {seed}.")
    return tuple(int(part) for part in entropy)


def _by_patient(positive: np.ndarray, code: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(patients, C) positive images of each patient."""
    sorted_rows = positive[np.argsort(code, kind="stable")]
    first = np.concatenate([[0], np.cumsum(images)[:-1]])
    return np.add.reduceat(sorted_rows, first, axis=0, dtype=np.int32)


def _hardness(positives: np.ndarray) -> np.ndarray:
    """(patients,) size of each patient's rarest class; those without a class come last."""
    has = positives > 0
    return np.where(has, has.sum(axis=0), len(has) + 1).min(axis=1, initial=len(has) + 1)


def _counts(positives: np.ndarray, images: np.ndarray, *, cover: bool) -> Counts:
    """Patients as rows of counts: classes they have, 1, their images, their images of a class.

    Image counts are scaled by their mean square, so that moving a typical patient costs as much
    in a class of few as in a class of many.
    """
    has = positives > 0
    ones = np.ones((len(images), 1))
    table = np.hstack([has, ones, images[:, None], positives])
    scale = (positives.astype(float) ** 2).sum(axis=0) / np.maximum(has.sum(axis=0), 1)
    weight = np.concatenate(
        [
            np.ones(has.shape[1] + 1),
            [_IMAGES / np.mean(images.astype(float) ** 2)],
            _IMAGES / np.maximum(scale, 1),
        ]
    )
    wanted = np.zeros(table.shape[1], dtype=bool)
    wanted[: has.shape[1] + 1] = cover
    row, column = np.nonzero(table)
    start = np.searchsorted(row, np.arange(len(images) + 1))
    return Counts(start, column, table[row, column], weight, wanted)


def _digest(ids: np.ndarray, images: np.ndarray, part: np.ndarray, n_folds: int) -> str:
    lines = [f"{n_folds} folds\n"]
    lines += [
        f"{patient}\t{count}\t{fold}\n"
        for patient, count, fold in zip(ids.tolist(), images.tolist(), part.tolist(), strict=True)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
