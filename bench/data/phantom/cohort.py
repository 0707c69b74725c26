"""The phantom cohort: patients, studies, labels and reports of the embedded data set.

Images per patient follow the exact histogram of the CXR-LT 2024 training images with its tail
compressed: above 12 images every further image counts 0.4, and nobody has more than 32 (CXR-LT
goes to 174), so that no patient owns a set of 2,400. Mean and median stay about 5 and 3.
Images per study follow CXR-LT (1 or 2, seldom 3 or more), thinned because laterals are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.data.phantom.labels import Structure, draw_labels
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
_IMAGES_BY_STUDY = (0.62, 0.31, 0.07)
_SMALLEST = 20


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


def _structure(n_images: int, rng: np.random.Generator) -> Structure:
    """Patients and studies that hold exactly `n_images` images."""
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
