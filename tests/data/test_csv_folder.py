from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.classes import CLASSES
from bench.data import load_dataset
from bench.data.dataset import prepare_dataset
from bench.data.readers.csv_folder import read
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


@pytest.mark.parametrize(
    "spec", ["csv", "cvs:x", "phantom:somewhere", "phantom:n=many", "phantom:seed=-1"]
)
def test_a_data_option_that_cannot_be_meant_is_refused(spec: str) -> None:
    with pytest.raises(UsageError):
        load_dataset(spec, 32)


def _rewrite(folder: CsvFolder, old: str, new: str) -> None:
    """Spoils the label file itself, where a CSV writer would not."""
    file = folder.root / "labels.csv"
    text = file.read_bytes().decode()
    assert old in text
    file.write_bytes(text.replace(old, new).encode())


def test_blanks_around_identifiers_do_not_make_two_patients(csv_folder: CsvFolder) -> None:
    for row in csv_folder.rows:
        row["source"] = "north"
    csv_folder.rows[0] |= {"patient_id": "p1 ", "source": " north", "image": " images/p0_0.png "}
    csv_folder.write()
    dataset = load_dataset(csv_folder.spec, 32)
    assert set(dataset.patients) == {f"p{patient}" for patient in range(1, 12)}
    assert set(dataset.sources) == {"north"}
    assert "images/p0_0.png" in dataset.images


def test_one_image_under_two_names_is_refused_with_both_lines(csv_folder: CsvFolder) -> None:
    csv_folder.rows[2]["image"] = "./images/../" + csv_folder.rows[0]["image"]
    csv_folder.write()
    with pytest.raises(DataError, match=r"'images/p0_0.png' \(line 2\) and .* \(line 4\)"):
        load_dataset(csv_folder.spec, 32)


def test_a_replaced_image_is_prepared_again(csv_folder: CsvFolder) -> None:
    first = load_dataset(csv_folder.spec, 32)
    image = csv_folder.root / "images/p0_0.png"
    before = image.stat()
    Image.fromarray(np.arange(2000, dtype=np.uint16).reshape(40, 50).astype(np.uint8)).save(image)
    second = load_dataset(csv_folder.spec, 32)
    assert second.fingerprint != first.fingerprint
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert load_dataset(csv_folder.spec, 32).fingerprint == second.fingerprint


def test_a_missing_image_is_used_once_it_is_there(csv_folder: CsvFolder) -> None:
    image = csv_folder.root / "images/p0_0.png"
    content = image.read_bytes()
    image.unlink()
    assert len(load_dataset(csv_folder.spec, 32, skip_unreadable=True)) == 11
    image.write_bytes(content)
    assert len(load_dataset(csv_folder.spec, 32, skip_unreadable=True)) == 12


def test_a_class_column_that_is_there_twice_is_named(csv_folder: CsvFolder) -> None:
    _rewrite(csv_folder, "Hernia,Edema", "Edema,Edema ")
    with pytest.raises(DataError, match="2 columns 'Edema'"):
        load_dataset(csv_folder.spec, 32)


@pytest.mark.parametrize("surplus", [",", ",1"])
def test_more_fields_than_columns_are_refused_with_the_line(
    csv_folder: CsvFolder, surplus: str
) -> None:
    _rewrite(csv_folder, "\r\n", surplus + "\r\n")
    _rewrite(csv_folder, "Normal" + surplus, "Normal")
    with pytest.raises(DataError, match="line 2: 8 fields under 7 column names"):
        load_dataset(csv_folder.spec, 32)


@pytest.mark.parametrize("lead", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_byte_order_mark_and_line_ends_do_not_matter(
    csv_folder: CsvFolder, lead: str, line_end: str
) -> None:
    expected = load_dataset(csv_folder.spec, 32).fingerprint
    _rewrite(csv_folder, "\r\n", line_end)
    _rewrite(csv_folder, "image,patient_id", lead + "image,patient_id")
    assert load_dataset(csv_folder.spec, 32).fingerprint == expected


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
@pytest.mark.parametrize("quote", ["", '"'])
def test_another_separator_is_recognised(
    csv_folder: CsvFolder, separator: str, name: str, quote: str
) -> None:
    _rewrite(csv_folder, ",", quote + separator + quote)
    _rewrite(csv_folder, "\r\n", quote + "\r\n" + quote)
    _rewrite(csv_folder, "image" + quote, quote + "image" + quote)
    with pytest.raises(DataError, match=f"separated by {name}; save it with commas"):
        load_dataset(csv_folder.spec, 32)


def test_a_quote_that_never_ends_does_not_swallow_rows(csv_folder: CsvFolder) -> None:
    _rewrite(csv_folder, "p5,PA,", 'p5,PA,"')
    with pytest.raises(DataError, match="line 12 is not CSV"):
        load_dataset(csv_folder.spec, 32)


def test_a_line_number_is_that_of_the_file(csv_folder: CsvFolder) -> None:
    csv_folder.rows[0]["report_impression"] = "Two\nlines, and\nthree."
    csv_folder.rows[4]["Hernia"] = "2"
    csv_folder.write()
    with pytest.raises(DataError, match="line 8: 'Hernia' is '2'"):
        load_dataset(csv_folder.spec, 32)


def test_no_row_at_all_is_refused_and_nothing_kept(
    csv_folder: CsvFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_BENCH_CACHE", str(tmp_path / "cache"))
    for row in csv_folder.rows:
        row["view"] = "lateral"
    csv_folder.write()
    with pytest.raises(DataError, match="no image left, for all 24 are lateral"):
        load_dataset(csv_folder.spec, 32)
    (csv_folder.root / "labels.csv").write_text("image,patient_id,Hernia\n")
    with pytest.raises(DataError, match="no image left"):
        load_dataset(csv_folder.spec, 32)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["loop.png", "loop.png/x.png", "images/\0.png"])
def test_a_name_that_can_be_no_file_is_refused_with_its_line(
    csv_folder: CsvFolder, name: str
) -> None:
    (csv_folder.root / "loop.png").symlink_to("loop.png")
    csv_folder.rows[4]["image"] = name
    csv_folder.write()
    with pytest.raises(DataError, match=r"line 6: image .*png' cannot be a file"):
        load_dataset(csv_folder.spec, 32)


def test_a_link_out_of_the_folder_is_refused_with_its_line(
    csv_folder: CsvFolder, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "outside.png")
    (csv_folder.root / "link.png").symlink_to(tmp_path / "outside.png")
    csv_folder.rows[4]["image"] = "link.png"
    csv_folder.write()
    with pytest.raises(DataError, match=r"line 6: image 'link.png' lies outside"):
        load_dataset(csv_folder.spec, 32)


def test_any_line_end_in_a_report_is_read_back(csv_folder: CsvFolder) -> None:
    csv_folder.rows[0]["report_impression"] = "One.\rTwo.\r\nThree."
    csv_folder.write()
    assert load_dataset(csv_folder.spec, 32).impressions[0] == "One.\nTwo.\nThree."


def _named(folder: CsvFolder, names: dict[str, str]) -> None:
    folder.rows = [{names.get(k, k): v for k, v in row.items()} for row in folder.rows]
    folder.write()


def test_columns_of_other_names_are_given_as_an_option(csv_folder: CsvFolder) -> None:
    expected = load_dataset(csv_folder.spec, 32).fingerprint
    _named(csv_folder, {"image": "file", "patient_id": "Subject", "Hernia": "hh", "view": "Proj."})
    columns = "columns=image=file; patient_id = Subject;Hernia=hh;view=Proj."
    assert load_dataset(f"{csv_folder.spec},{columns}", 32).fingerprint == expected


def test_case_and_separators_of_a_name_do_not_matter(csv_folder: CsvFolder) -> None:
    expected = load_dataset(csv_folder.spec, 32).fingerprint
    _named(csv_folder, {"image": "Image", "patient_id": "Patient ID", "Hernia": "HERNIA"})
    assert load_dataset(csv_folder.spec, 32).fingerprint == expected


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("Hernie=x", "Did you mean 'Hernia'"),
        ("Hernia=Hernai", "Unknown column 'Hernai'"),
        ("Hernia", "not OURS=COLUMN"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(
    csv_folder: CsvFolder, columns: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        load_dataset(f"{csv_folder.spec},columns={columns}", 32)


def test_a_class_under_another_sets_name_is_listed_with_what_it_may_be(
    csv_folder: CsvFolder,
) -> None:
    _named(csv_folder, {"Edema": "Effusion"})
    store, dataset = prepare_dataset(csv_folder.spec, 32)
    assert dataset.classes == ("Hernia", "Normal")
    listed = json.loads((store / "problems.json").read_text())["column that is not used"]
    assert listed == ["Effusion (if it is 'Pleural Effusion': columns=Pleural Effusion=Effusion)"]


def test_a_row_without_a_study_is_a_study_of_its_own(csv_folder: CsvFolder) -> None:
    for row in csv_folder.rows:
        row["study_id"] = "" if row["patient_id"] == "p0" else "s" + row["patient_id"]
    csv_folder.write()
    dataset = load_dataset(csv_folder.spec, 32)
    assert dataset.studies[0] == "images/p0_0.png"
    assert dataset.studies[1] == "sp1"


def test_a_view_that_is_not_known_is_listed(csv_folder: CsvFolder) -> None:
    table = (csv_folder.root / "labels.csv").read_text()
    (csv_folder.root / "labels.csv").write_text(table.replace(",PA,", ",oblique,", 1))
    problems = read(csv_folder.root, {}).problems
    assert problems["view that is not known, taken for frontal"] == ["oblique"]
