"""Groups of training images made from their labels instead of a mixture: controls for CXR-CML.

They answer what the metric loss could do at best if clustering found the classes, and what a
researcher would try when it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Groups = Literal["mixture", "label_sets", "coarse_sets", "rarest_class", "nearest_class"]

_PARENTS: dict[str, tuple[str, ...]] = {
    "Rib Fracture": ("Fracture",),
    "Clavicle Fracture": ("Fracture",),
    "Lobar Atelectasis": ("Atelectasis",),
    "Round(ed) Atelectasis": ("Atelectasis",),
    "Atelectasis": ("Lung Opacity",),
    "Consolidation": ("Lung Opacity",),
    "Pneumonia": ("Lung Opacity",),
    "Edema": ("Lung Opacity",),
    "Fibrosis": ("Lung Opacity",),
    "Lung Lesion": ("Lung Opacity",),
    "Nodule": ("Lung Lesion",),
    "Mass": ("Lung Lesion",),
    "Granuloma": ("Nodule",),
    "Hydropneumothorax": ("Pleural Effusion", "Pneumothorax"),
    "Cardiomegaly": ("Enlarged Cardiomediastinum",),
}
"""What is a kind of what among the 40 classes (the ontology of PabloMessina/MedVQA)."""


def label_groups(
    groups: Groups, positive: np.ndarray, classes: Sequence[str], embeddings: np.ndarray
) -> np.ndarray:
    """(N,) the group of each image, -1 for none.

    Args:
        groups: "label_sets" (equal sets of findings), "coarse_sets" (the same with each finding
            replaced by the topmost it is a kind of), "rarest_class" (the rarest of an image's
            findings), "nearest_class" (the class whose mean embedding is nearest, of all classes).
        positive: (N, C) bool.
        classes: the C names.
        embeddings: (N, d) unit embeddings, for "nearest_class" alone.
    """
    count = positive.sum(0)
    if groups == "nearest_class":
        there = np.flatnonzero(count)
        centres = positive[:, there].T.astype(np.float64) @ embeddings
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        return there[(embeddings @ centres.T).argmax(1)]
    if groups == "rarest_class":
        rarest = np.where(positive, count, len(positive) + 1).argmin(1)
        return np.where(positive.any(1), rarest, -1)
    if groups == "coarse_sets":
        positive = positive @ _topmost(classes)
    return np.unique(positive, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _topmost(classes: Sequence[str]) -> np.ndarray:
    """(C, C) bool: which classes stand for each class; parents that have no label do not count."""
    place = {name: index for index, name in enumerate(classes)}

    def roots(name: str) -> set[int]:
        above = [parent for parent in _PARENTS.get(name, ()) if parent in place]
        return {place[name]} if not above else set().union(*(roots(parent) for parent in above))

    table = np.zeros((len(classes), len(classes)), dtype=bool)
    for name in classes:
        table[place[name], sorted(roots(name))] = True
    return table
