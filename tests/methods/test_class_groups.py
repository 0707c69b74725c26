from __future__ import annotations

import numpy as np

from bench.classes import CLASSES
from methods._class_groups import _PARENTS, label_groups

NAMES = ["Rib Fracture", "Fracture", "Nodule", "Lung Lesion", "Hydropneumothorax", "Edema"]


def _groups(groups: str, rows: list[list[int]], embeddings: np.ndarray | None = None) -> list[int]:
    positive = np.array(rows, dtype=bool)
    none = np.zeros((len(rows), 2))
    return label_groups(
        groups, positive, NAMES, none if embeddings is None else embeddings
    ).tolist()  # type: ignore[arg-type]


def _same(groups: list[int], i: int, j: int) -> bool:
    return groups[i] == groups[j]


def test_equal_label_sets_are_a_group() -> None:
    found = _groups("label_sets", [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    assert _same(found, 0, 2)
    assert not _same(found, 0, 1)


def test_coarse_sets_join_what_is_a_kind_of_the_same() -> None:
    found = _groups(
        "coarse_sets",
        [
            [1, 0, 0, 0, 0, 0],
            [0, 1, 0, 0, 0, 0],
            [0, 0, 1, 0, 0, 0],
            [0, 0, 0, 1, 0, 0],
            [0, 0, 0, 0, 1, 0],
            [0, 0, 0, 0, 0, 1],
        ],
    )
    assert _same(found, 0, 1)
    # Lung Opacity and Pneumothorax have no label here: what is a kind of them stands for itself.
    assert _same(found, 2, 3)
    assert len(set(found)) == 4


def test_the_rarest_class_is_that_of_the_fewest_images() -> None:
    rows = [[1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 1]]
    assert _groups("rarest_class", rows) == [0, 1, -1, 5]


def test_the_nearest_class_is_that_of_the_nearest_mean() -> None:
    rows = [[1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]
    angles = np.array([0.0, 0.2, 1.5, 1.2])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert _groups("nearest_class", rows, embeddings) == [0, 0, 5, 5]


def test_kinds_and_their_parents_are_classes() -> None:
    assert set(_PARENTS) <= set(CLASSES)
    assert {parent for parents in _PARENTS.values() for parent in parents} <= set(CLASSES)
