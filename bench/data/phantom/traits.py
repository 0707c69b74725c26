"""Side and grade of a finding, shared by the picture and the report of a study.

A chronic finding keeps its side, place and grade over a patient's studies; another is drawn anew
for every study. Every sign starts its random stream with these two draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.classes import CLASSES
from bench.data.phantom.labels import CHRONIC


class Trait(NamedTuple):
    """`side` is -1 for the patient's right (the image's left) and 1 for the left; `grade` is 0 to
    1, subtle to gross."""

    side: int
    grade: float


def sign_rng(seed: int, patient: int, visit: int, index: int) -> np.random.Generator:
    """The random stream of class number `index` in one study of a patient."""
    when = 0 if CLASSES[index] in CHRONIC else visit + 1
    return np.random.default_rng((seed, patient, when, index, 4))


def trait(rng: np.random.Generator) -> Trait:
    """The first two draws of a sign's stream; gross findings are commoner than subtle ones."""
    return Trait(-1 if rng.random() < 0.5 else 1, float(np.sqrt(rng.random())))


def traits_of(seed: int, patient: int, visit: int, labels: np.ndarray) -> dict[str, Trait]:
    """The trait of every positive class of a study's (40,) labels."""
    return {
        CLASSES[index]: trait(sign_rng(seed, patient, visit, int(index)))
        for index in np.flatnonzero(labels)
    }
