from __future__ import annotations

from pathlib import Path

import pytest

from bench.data.listing import UNLABELLED, Listing
from bench.data.readers.vindr import LABELLED, read
from bench.errors import DataError
from tests.data.readers.trees import vindr_tables

TRAIN = [
    ("aaaa", "R1", ["Clavicle fracture", "Pulmonary fibrosis"]),
    ("bbbb", "R8", ["No finding"]),
    ("aaaa", "R2", ["Clavicle fracture", "Nodule/Mass"]),
    ("bbbb", "R9", ["No finding"]),
    ("aaaa", "R3", ["Enlarged PA"]),
    ("bbbb", "R10", ["Tuberculosis"]),
]
TEST = [("cccc", ["Rib fracture", "Other disease"]), ("dddd", ["No finding"])]


@pytest.fixture
def vindr(tmp_path: Path) -> Path:
    root = tmp_path / "vindr-cxr/1.0.0"
    vindr_tables(root, TRAIN, TEST)
    for name in ("train/aaaa", "train/bbbb", "test/cccc", "test/dddd"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / f"{name}.dicom").write_bytes(b"")
    return root


def positive(found: Listing, image: str) -> set[str]:
    row = found.labels[list(found.patients).index(image)]
    return {name for name, value in zip(found.classes, row, strict=True) if value == 1}


def test_a_training_label_is_the_majority_of_three_radiologists(vindr: Path) -> None:
    found = read(vindr, {"split": "train"})
    assert positive(found, "aaaa") == {"Clavicle Fracture"}
    assert positive(found, "bbbb") == {"Normal"}
    assert set(found.labels.ravel().tolist()) == {0, 1}
    assert not found.problems


def test_test_labels_are_as_agreed_upon(vindr: Path) -> None:
    found = read(vindr, {"split": "test"})
    assert positive(found, "cccc") == {"Rib Fracture"}


def test_one_row_an_image_each_a_patient_of_its_own(vindr: Path) -> None:
    found = read(vindr, {})
    assert found.images == [
        "train/aaaa.dicom", "train/bbbb.dicom", "test/cccc.dicom", "test/dddd.dicom",
    ]  # fmt: skip
    assert found.patients == found.studies == ["aaaa", "bbbb", "cccc", "dddd"]
    assert set(found.views) == {"PA"}
    assert found.classes == LABELLED
    assert "Pulmonary Hypertension" not in LABELLED


def test_a_tie_is_masked_and_an_image_with_fewer_readers_listed(vindr: Path) -> None:
    vindr_tables(vindr, TRAIN[:-1], TEST)
    assert read(vindr, {}).problems == {"image not read by three radiologists": ["bbbb"]}
    vindr_tables(vindr, [*TRAIN[:-3], TRAIN[-1]], TEST)
    found = read(vindr, {})
    row = found.labels[list(found.patients).index("bbbb")]
    assert row[LABELLED.index("Normal")] == UNLABELLED
    assert row[LABELLED.index("Tuberculosis")] == UNLABELLED


def test_a_radiologist_has_one_vote(vindr: Path) -> None:
    vindr_tables(vindr, [*TRAIN, ("aaaa", "R1", ["Pulmonary fibrosis"]), TRAIN[0]], TEST)
    found = read(vindr, {})
    assert positive(found, "aaaa") == {"Clavicle Fracture"}
    assert found.problems == {"row given twice by one radiologist": ["aaaa"]}


def test_converted_copies_are_found(vindr: Path) -> None:
    (vindr / "train/aaaa.dicom").rename(vindr / "train/aaaa.png")
    assert read(vindr, {}).images[0] == "train/aaaa.png"


def test_a_column_that_is_not_there_is_named(vindr: Path) -> None:
    path = vindr / "annotations/image_labels_test.csv"
    path.write_text(path.read_text().replace("Rib fracture", "Rib fractures"))
    with pytest.raises(DataError, match="Is it 'Rib fractures'"):
        read(vindr, {})


def test_no_tables_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"image_labels_train\.csv"):
        read(tmp_path, {})
