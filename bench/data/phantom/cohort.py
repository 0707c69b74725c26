"""The phantom cohort: patients, studies, labels and reports of the embedded data set.

Images per patient follow the exact histogram of the CXR-LT 2024 training images with its tail
compressed: above 12 images every further image counts 0.4, and nobody has more than 32 (CXR-LT
goes to 174), so that no patient owns a set of 2,400. Mean and median stay about 5 and 3.
Images per study follow CXR-LT (1 or 2, seldom 3 or more), thinned because laterals are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.data.phantom.labels import FULL_SIZE, Structure, draw_labels
from bench.data.phantom.reports import write_report
from bench.data.phantom.traits import traits_of
from bench.errors import DataError

# Patients with 1, 2, 3, ... training images in CXR-LT 2024, up to 40; the rest is one last bin.
_PATIENTS_BY_IMAGES = (
    3866, 16672, 5018, 4814, 2327, 2422, 1385, 1328, 876, 903, 665, 563, 482, 463, 347, 342, 290,
    270, 223, 203, 163, 158, 165, 141, 123, 118, 89, 79, 55, 79, 55, 56, 45, 46, 39, 41, 40, 37,
    26, 32, 436,
)  # fmt: skip
_LONG, _SLOPE, _MOST = 12, 0.4, 32
# Of the last bin, 434 patients hold the remaining 25,000 images, at most 174 each, and 45 of all
# patients more than 81; single counts above 40 were not published as numbers.
_FREQUENT, _FREQUENT_IMAGES, _FREQUENT_MOST, _FREQUENT_SCALE = 434, 25_000, 174, 18.0
_IMAGES_BY_STUDY = (0.62, 0.31, 0.07)
_SMALLEST = 20


class Shot(NamedTuple):
    """All that one image is drawn from."""

    seed: int
    patient: int
    visit: int
    number: int
    """The image's place among the patient's."""
    portable: bool
    present: tuple[int, ...]
    """Numbers of the classes that are present."""


@dataclass(frozen=True)
class Cohort:
    """A phantom data set without its pixels: one row an image, ordered by patient and study.

    `labels` is (N, 40) uint8 in the order of `bench.classes.CLASSES`. All images of a study share
    labels, view and report. `visit` counts a patient's studies and `image` a patient's images
    from 0; with the seed and the labels they are all that `render` looks at.
    """

    seed: int
    labels: np.ndarray
    patients: tuple[str, ...]
    studies: tuple[str, ...]
    views: tuple[str, ...]
    findings: tuple[str, ...]
    impressions: tuple[str, ...]
    visit: np.ndarray
    image: np.ndarray

    def __len__(self) -> int:
        return len(self.patients)

    def shot(self, row: int) -> Shot:
        """What the image of that row is drawn from."""
        return Shot(
            self.seed,
            int(self.patients[row][1:]),
            int(self.visit[row]),
            int(self.image[row]),
            self.views[row] == "AP",
            tuple(np.flatnonzero(self.labels[row]).tolist()),
        )


def published_sizes() -> np.ndarray:
    """(45480,) images of each patient of CXR-LT 2024's training part, ascending; they sum to
    258,871. Exact up to 40 images; above, the shape is an exponential with the known ends."""
    up_to_40 = np.repeat(np.arange(1, 41), _PATIENTS_BY_IMAGES[:40])
    place = (np.arange(_FREQUENT) + 0.5) / _FREQUENT
    above = np.floor(41 - _FREQUENT_SCALE * np.log1p(-place)).astype(int)
    above[-1] = _FREQUENT_MOST
    # The few images that rounding leaves over or short come from the middle of the tail.
    short = _FREQUENT_IMAGES - int(above.sum())
    middle = _FREQUENT // 4 + np.arange(abs(short)) % (_FREQUENT // 2)
    np.add.at(above, middle, int(np.sign(short)))
    return np.sort(np.r_[up_to_40, above])


def _full_sizes(n_images: int, rng: np.random.Generator) -> list[int]:
    """The published sizes in proportion to `n_images`, in a random order."""
    sizes = published_sizes()
    count = round(sizes.size * n_images / sizes.sum())
    sizes = sizes[((np.arange(count) + 0.5) * sizes.size / count).astype(int)]
    # What proportion leaves over or short goes to patients of 2 and 3 images, the commonest sizes.
    short = n_images - int(sizes.sum())
    givers = np.flatnonzero(sizes == (2 if short > 0 else 3))[: abs(short)]
    sizes[givers] += int(np.sign(short))
    return rng.permutation(sizes).tolist()


def _compressed_sizes(n_images: int, rng: np.random.Generator) -> list[int]:
    weights = np.array(_PATIENTS_BY_IMAGES, float)
    sizes: list[int] = []
    # A patient never owns more than a tenth, which matters to the smallest sets only.
    most = max(2, min(_MOST, n_images // 10))
    left = n_images
    while left:
        k = int(rng.choice(weights.size, p=weights / weights.sum())) + 1
        k = k if k <= _LONG else round(_LONG + _SLOPE * (k - _LONG))
        if k > _LONG + _SLOPE * (40 - _LONG):  # the last bin holds everybody above 40 images
            k = int(rng.integers(k, _MOST + 1))
        sizes.append(min(k, most, left))
        left -= sizes[-1]
    return sizes


def _structure(n_images: int, rng: np.random.Generator) -> Structure:
    """Patients and studies that hold exactly `n_images` images."""
    sizes = (_full_sizes if n_images >= FULL_SIZE else _compressed_sizes)(n_images, rng)
    patient: list[int] = []
    visit: list[int] = []
    images: list[int] = []
    for who, size in enumerate(sizes):
        left, number = size, 0
        while left:
            take = min(left, int(rng.choice(len(_IMAGES_BY_STUDY), p=_IMAGES_BY_STUDY)) + 1)
            patient.append(who)
            visit.append(number)
            images.append(take)
            left, number = left - take, number + 1
    return Structure(np.array(patient), np.array(visit), np.array(images))


def make_cohort(n_images: int = 2400, seed: int = 0) -> Cohort:
    """A cohort of exactly `n_images` images, the same for the same arguments.

    At 2,400 images every rare class has at least 20 positive images of at least 15 patients; the
    counts scale with `n_images`, down to one study a class in the smallest sets. Raises
    `DataError` below 20 images.
    """
    if n_images < _SMALLEST:
        raise DataError(
            f"A phantom cohort of {n_images} images cannot hold 40 classes; ask for "
            f"{_SMALLEST} or more."
        )
    structure = _structure(n_images, np.random.default_rng((seed, n_images, 1)))
    rng = np.random.default_rng((seed, n_images, 2))
    labels, illness = draw_labels(structure, rng)
    portable = illness + 0.8 * rng.standard_normal(illness.size) > np.quantile(illness, 0.42)

    rows = np.repeat(np.arange(illness.size), structure.images)
    patients = tuple(f"p{who:05d}" for who in structure.patient)
    reports = []
    for study, (who, number) in enumerate(zip(structure.patient, structure.visit, strict=True)):
        traits = traits_of(seed, int(who), int(number), labels[study])
        text_rng = np.random.default_rng((seed, int(who), int(number), 3))
        reports.append(write_report(traits, bool(portable[study]), text_rng))
    first = np.r_[True, structure.patient[rows][1:] != structure.patient[rows][:-1]]
    start = np.maximum.accumulate(np.where(first, np.arange(n_images), 0))
    return Cohort(
        seed=seed,
        labels=labels[rows],
        patients=tuple(patients[i] for i in rows),
        studies=tuple(f"{patients[i]}-s{structure.visit[i]:02d}" for i in rows),
        views=tuple("AP" if portable[i] else "PA" for i in rows),
        findings=tuple(reports[i].findings for i in rows),
        impressions=tuple(reports[i].impression for i in rows),
        visit=structure.visit[rows],
        image=np.arange(n_images) - start,
    )
