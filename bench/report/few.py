"""How few patients are too few for a number that may leave the house."""

from __future__ import annotations

import numpy as np

PATIENTS_A_CELL = 5
"""Patients of a test fold with a finding, and without it, below which the cell tells of persons."""


def enough_patients(labels: np.ndarray, mask: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """(C,) bool: at least `PATIENTS_A_CELL` patients have the finding, and as many have not.

    Args:
        labels: (N, C) 0 or 1 of the images of one test fold, read only where `mask` is set.
        mask: (N, C) whether the label is known.
        patients: (N,) codes.
    """
    known = mask.astype(bool)
    enough = [
        all(
            len(np.unique(patients[known[:, c] & (labels[:, c] == present)])) >= PATIENTS_A_CELL
            for present in (1, 0)
        )
        for c in range(labels.shape[1])
    ]
    return np.array(enough, dtype=bool)
