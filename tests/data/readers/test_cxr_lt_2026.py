from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.classes import CLASSES
from bench.data import load_dataset
from bench.data.readers.cxr_lt_2026 import TASK_1, TASK_2, read
from bench.errors import DataError, UsageError
from tests.data.readers.trees import (
    PADCHEST_HEADER,
    PADCHEST_PATIENTS,
    padchest_row,
    picture,
    table,
)

TRAINING = "CXRLT_2026_training.csv"
TEST_1, TEST_2 = "CXRLT_2026_TEST_ALL_TASK1.csv", "CXRLT_2026_TEST_ALL_TASK2.csv"
PADCHEST = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
FIRST, SECOND = PADCHEST_PATIENTS


def row(image: str, patient: str, positive: Sequence[str], columns: Sequence[str]) -> list[object]:
    return [image, f"s-{image}", patient, *(int(column in positive) for column in columns)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "2026"
    one, two = list(TASK_1), list(TASK_2)
    ids = ["ImageID", "StudyID", "PatientID"]
    table(
        root / TRAINING,
        [*ids, *one],
        [
            row("a.png", "8.44e+37", ["pneumoperitoneo", "Support Devices"], one),
            row("b.png", "8.44e+37", ["Normal"], one),
            row("00000013_005.png", "13.0", ["fracture"], one),
        ],
    )
    table(root / TEST_1, [*ids, *one], [row("t.png", FIRST, ["goiter", "azygos lobe"], one)])
    table(root / TEST_2, [*ids, *two], [row("t.png", FIRST, ["goiter"], two)])
    table(
        root / PADCHEST,
        PADCHEST_HEADER,
        [
            padchest_row("a.png", FIRST, "[]"),
            padchest_row("b.png", SECOND, "[]", projection="L"),
            padchest_row("t.png", SECOND, "[]"),
        ],
    )
    for name in ("a.png", "b.png", "t.png", "00000013_005.png"):
        picture(root / "images" / name)
    return root


def test_task_1_has_30_classes_with_our_names_where_the_name_is_the_same(tree: Path) -> None:
    found = read(tree, {})
    assert found.classes == tuple(TASK_1.values())
    assert len(found.classes) == 30
    assert {"Cardiomegaly", "Azygos Lobe", "Pneumoperitoneum"} < set(CLASSES) & set(found.classes)
    positive = [
        {name for name, value in zip(found.classes, labels, strict=True) if value == 1}
        for labels in found.labels
    ]
    assert positive == [
        {"Pneumoperitoneum", "Support Devices"}, {"Normal"}, {"Fracture"}, {"Azygos Lobe"},
    ]  # fmt: skip


def test_patients_and_views_come_from_padchest_s_own_table(tree: Path) -> None:
    found = read(tree, {})
    assert found.patients == [FIRST, SECOND, "13", SECOND]
    assert found.views == ["PA", "LATERAL", "FRONTAL", "FRONTAL"]
    assert found.sources == ["PadChest", "PadChest", "NIH", "PadChest"]
    assert all((found.root / image).is_file() for image in found.images)


def test_without_that_table_rounded_patients_are_refused(tree: Path) -> None:
    (tree / PADCHEST).unlink()
    with pytest.raises(DataError, match=r"PatientID is '8\.44e"):
        read(tree, {})
    assert read(tree, {"split": "test"}).patients == [FIRST]


def test_without_that_table_training_images_have_no_view_and_are_left_out(tree: Path) -> None:
    (tree / PADCHEST).unlink()
    path = tree / TRAINING
    text = path.read_text().replace("s-a.png,8.44e+37", f"s-a.png,{FIRST}")
    path.write_text(text.replace("s-b.png,8.44e+37", f"s-b.png,{SECOND}"))
    found = read(tree, {})
    assert found.left_out == dict.fromkeys(["images/a.png", "images/b.png"], "view not given")
    assert len(read(tree, {"views": "all"})) == 4


def test_task_2_has_six_classes_and_only_a_test(tree: Path) -> None:
    found = read(tree, {"task": "2"})
    assert found.classes == (
        "Scoliosis",
        "Osteopenia",
        "Bulla",
        "Infarction",
        "Adenopathy",
        "Goiter",
    )
    assert found.labels.tolist() == [[0, 0, 0, 0, 0, 1]]
    with pytest.raises(UsageError, match="no training labels"):
        read(tree, {"task": "2", "split": "train"})


def test_the_letters_case_of_a_column_does_not_matter(tree: Path) -> None:
    path = tree / TEST_1
    path.write_text(path.read_text().replace("Hernia", "hernia").replace("fracture", "Fracture"))
    assert len(read(tree, {"split": "test"})) == 1


def test_a_test_that_is_published_without_labels_is_listed_or_refused(tree: Path) -> None:
    table(tree / TEST_1, ["ImageID", "StudyID", "PatientID"], [["t.png", "s", FIRST]])
    assert read(tree, {}).problems == {"label table without labels": [TEST_1]}
    with pytest.raises(DataError, match="published without labels"):
        read(tree, {"split": "test"})


def test_a_table_that_lacks_some_classes_is_refused(tree: Path) -> None:
    path = tree / TEST_1
    path.write_text(path.read_text().replace("sternotomy", "sternal wires"))
    with pytest.raises(DataError, match="lacks 1 label columns: sternotomy"):
        read(tree, {})


def test_a_store_is_made_from_the_folder(tree: Path) -> None:
    dataset = load_dataset(f"cxr-lt-2026:{tree}", 32)
    assert set(dataset.images) == {f"images/{n}" for n in ("a.png", "00000013_005.png", "t.png")}
    assert dataset.left_out == {"images/b.png": "lateral view"}
