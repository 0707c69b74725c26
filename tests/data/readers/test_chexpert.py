from __future__ import annotations

from pathlib import Path

import pytest

from bench.data import load_dataset
from bench.data.listing import UNLABELLED, Listing
from bench.data.readers.chexpert import LABELLED, read
from bench.errors import DataError
from tests.data.readers.trees import CHEXPERT_FINDINGS, chexpert_table, picture

SMALL = "CheXpert-v1.0-small"
TRAIN = [
    ("train/patient00001/study1/view1_frontal.jpg", "Frontal", "AP",
     {"No Finding": "1.0", "Support Devices": "1.0"}),
    ("train/patient00001/study1/view2_lateral.jpg", "Lateral", "",
     {"No Finding": "1.0", "Support Devices": "1.0"}),
    ("train/patient00001/study2/view1_frontal.jpg", "Frontal", "PA",
     {"Edema": "-1.0", "Cardiomegaly": "0.0", "Pneumonia": "1.0"}),
    ("train/patient00002/study1/view1_frontal.jpg", "Frontal", "", {}),
]  # fmt: skip
VALID = [
    ("valid/patient64541/study1/view1_frontal.jpg", "Frontal", "AP",
     dict.fromkeys(CHEXPERT_FINDINGS, "0.0") | {"Edema": "1.0"}),
]  # fmt: skip


def release(folder: Path, name: str = SMALL) -> Path:
    root = folder / name
    chexpert_table(root / "train.csv", TRAIN, name)
    chexpert_table(root / "valid.csv", VALID, name)
    for file, *_ in TRAIN + VALID:
        picture(root / file)
    return root


def labels(found: Listing, row: int) -> dict[str, int]:
    return dict(zip(LABELLED, found.labels[row].tolist(), strict=True))


def test_rows_of_both_tables_with_patients_studies_and_views(tmp_path: Path) -> None:
    found = read(release(tmp_path), {"views": "all"})
    assert found.images == [file for file, *_ in TRAIN + VALID]
    assert found.patients == ["patient00001"] * 3 + ["patient00002", "patient64541"]
    assert found.studies[:3] == ["patient00001/study1"] * 2 + ["patient00001/study2"]
    assert found.views == ["AP", "LATERAL", "PA", "FRONTAL", "AP"]
    assert found.classes == LABELLED


def test_uncertain_and_unmentioned_findings_are_masked(tmp_path: Path) -> None:
    third = labels(read(release(tmp_path), {}), 2)
    assert third["Edema"] == UNLABELLED
    assert third["Fracture"] == UNLABELLED
    assert (third["Cardiomegaly"], third["Pneumonia"]) == (0, 1)


def test_no_finding_says_that_all_others_are_absent_except_devices(tmp_path: Path) -> None:
    first = labels(read(release(tmp_path), {}), 0)
    assert first.pop("Normal") == 1
    assert first.pop("Support Devices") == 1
    assert set(first.values()) == {0}


def test_a_finding_even_an_uncertain_one_says_that_the_picture_is_not_normal(
    tmp_path: Path,
) -> None:
    found = read(release(tmp_path), {})
    assert labels(found, 2)["Normal"] == 0
    assert set(labels(found, 3).values()) == {UNLABELLED}


def test_the_validation_labels_are_complete(tmp_path: Path) -> None:
    found = read(release(tmp_path), {"split": "valid"})
    assert found.images == [VALID[0][0]]
    assert labels(found, 0) == {name: int(name == "Edema") for name in LABELLED}


@pytest.mark.parametrize("name", [SMALL, "CheXpert-v1.0"])
def test_the_folder_above_and_a_renamed_folder_do_as_well(tmp_path: Path, name: str) -> None:
    root = release(tmp_path, name)
    above = read(tmp_path, {"labels": str(root)})
    assert above.root == root
    renamed = root.rename(tmp_path / "chexpert")
    found = read(renamed, {})
    assert all((found.root / image).is_file() for image in found.images)


def test_the_full_release_is_read_in_the_folders_it_comes_in(tmp_path: Path) -> None:
    first = tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)"
    chexpert_table(first / "train.csv", TRAIN, "CheXpert-v1.0")
    chexpert_table(first / "valid.csv", VALID, "CheXpert-v1.0")
    for file, *_ in TRAIN:
        part = "2 (train 1)" if "patient00001" in file else "3 (train 2)"
        picture(tmp_path / f"CheXpert-v1.0 batch {part}" / file.removeprefix("train/"))
    picture(first / VALID[0][0])
    found = read(tmp_path, {})
    assert len(found) == 5
    assert all((found.root / image).is_file() for image in found.images)


def test_a_path_that_is_not_as_published_is_named_with_its_line(tmp_path: Path) -> None:
    root = release(tmp_path)
    chexpert_table(root / "train.csv", [*TRAIN, ("../../etc/passwd", "Frontal", "", {})], SMALL)
    with pytest.raises(DataError, match=r"line 6: Path 'CheXpert-v1.0-small/\.\./\.\./etc"):
        read(root, {})


def test_an_unknown_label_is_named_with_its_line(tmp_path: Path) -> None:
    root = release(tmp_path)
    chexpert_table(root / "valid.csv", [(*VALID[0][:3], {"Edema": "2.0"})], SMALL)
    with pytest.raises(DataError, match=r"line 2: 'Edema' is '2\.0'"):
        read(root, {})


def test_one_table_is_enough_and_the_other_is_listed(tmp_path: Path) -> None:
    root = release(tmp_path)
    (root / "train.csv").unlink()
    assert read(root, {}).problems == {"label table not found": ["train.csv"]}
    (root / "valid.csv").unlink()
    with pytest.raises(DataError, match=r"train\.csv"):
        read(root, {})


def test_a_store_is_made_from_the_folder(tmp_path: Path) -> None:
    dataset = load_dataset(f"chexpert:{release(tmp_path)}", 32)
    assert len(dataset) == 4
    assert dataset.left_out == {TRAIN[1][0]: "lateral view"}
