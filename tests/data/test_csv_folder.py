from __future__ import annotations

import numpy as np
import pytest

from bench.classes import CLASSES
from bench.data import load_dataset
from bench.errors import DataError, UsageError
from tests.conftest import CsvFolder


def test_frontal_images_only_unless_asked(csv_folder: CsvFolder) -> None:
    dataset = load_dataset(csv_folder.spec, 32)
    assert len(dataset) == 12
    assert set(dataset.left_out.values()) == {"lateral view"}
    assert len(load_dataset(csv_folder.spec + ",views=all", 32)) == 24


def test_an_empty_cell_is_masked_and_never_zero(csv_folder: CsvFolder) -> None:
    dataset = load_dataset(csv_folder.spec, 32)
    edema = dataset.classes.index("Edema")
    empty = np.array([row["Edema"] == "" for row in csv_folder.rows if row["view"] == "PA"])
    assert empty.any()
    assert (dataset.mask[:, edema] == ~empty).all()


def test_classes_keep_the_order_of_cxr_lt(csv_folder: CsvFolder) -> None:
    assert load_dataset(csv_folder.spec, 32).classes == ("Edema", "Hernia", "Normal")


def test_the_same_folder_opens_with_the_same_fingerprint(csv_folder: CsvFolder) -> None:
    first, second = load_dataset(csv_folder.spec, 32), load_dataset(csv_folder.spec, 32)
    assert first.fingerprint == second.fingerprint
    csv_folder.rows[0]["Hernia"] = "0"
    csv_folder.write()
    assert load_dataset(csv_folder.spec, 32).fingerprint != first.fingerprint


@pytest.mark.parametrize("value", ["2", "yes", "-1", "0.5"])
def test_a_label_that_is_not_0_1_or_empty_is_named_with_its_line(
    csv_folder: CsvFolder, value: str
) -> None:
    csv_folder.rows[4]["Hernia"] = value
    csv_folder.write()
    with pytest.raises(DataError, match=rf"line 6: 'Hernia' is '{value}'"):
        load_dataset(csv_folder.spec, 32)


@pytest.mark.parametrize("column", ["image", "patient_id"])
def test_a_needed_column_that_is_missing_is_named(csv_folder: CsvFolder, column: str) -> None:
    for row in csv_folder.rows:
        row[column.upper() + "S"] = row.pop(column)
    csv_folder.write()
    with pytest.raises(DataError, match=f"no column '{column}'"):
        load_dataset(csv_folder.spec, 32)


def test_a_misspelt_class_is_suggested(csv_folder: CsvFolder) -> None:
    for row in csv_folder.rows:
        row["Hernias"] = row.pop("Hernia")
    csv_folder.write()
    with pytest.raises(DataError, match="Did you mean the class 'Hernia'"):
        load_dataset(csv_folder.spec, 32)


def test_no_class_column_at_all_is_refused(csv_folder: CsvFolder) -> None:
    for row in csv_folder.rows:
        for name in set(row) & set(CLASSES):
            del row[name]
    csv_folder.write()
    with pytest.raises(DataError, match="no class column"):
        load_dataset(csv_folder.spec, 32)


def test_unreadable_images_are_counted_and_named(csv_folder: CsvFolder) -> None:
    (csv_folder.root / "images/p0_0.png").write_bytes(b"nothing")
    (csv_folder.root / "images/p1_0.png").unlink()
    with pytest.raises(DataError, match="2 of 12 images") as caught:
        load_dataset(csv_folder.spec, 32)
    assert "images/p0_0.png: not a readable image" in str(caught.value)
    assert "images/p1_0.png: no such file" in str(caught.value)
    assert "--skip-unreadable" in str(caught.value)


def test_unreadable_images_are_left_out_on_request_and_listed(csv_folder: CsvFolder) -> None:
    (csv_folder.root / "images/p0_0.png").write_bytes(b"nothing")
    dataset = load_dataset(csv_folder.spec, 32, skip_unreadable=True)
    assert len(dataset) == len(dataset.pixels) == 11
    assert "images/p0_0.png" in dataset.left_out
    assert "images/p0_0.png" not in dataset.images
    assert dataset.pixels.any(axis=(1, 2)).all()


def test_a_path_cannot_leave_the_folder(csv_folder: CsvFolder) -> None:
    csv_folder.rows[0]["image"] = "../../etc/hosts"
    csv_folder.write()
    with pytest.raises(DataError, match="lies outside"):
        load_dataset(csv_folder.spec, 32)


def test_an_image_named_twice_is_refused(csv_folder: CsvFolder) -> None:
    csv_folder.rows[2]["image"] = csv_folder.rows[0]["image"]
    csv_folder.write()
    with pytest.raises(DataError, match="names 1 images twice"):
        load_dataset(csv_folder.spec, 32)


def test_a_missing_folder_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="No label file"):
        load_dataset("csv:nowhere", 32)


@pytest.mark.parametrize("spec", ["csv", "cvs:x", "phantom:somewhere", "phantom:n=many"])
def test_a_data_option_that_cannot_be_meant_is_refused(spec: str) -> None:
    with pytest.raises(UsageError):
        load_dataset(spec, 32)
