from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bench.data import load_dataset
from bench.data.listing import UNLABELLED
from bench.data.readers.nih import LABELLED, read
from bench.errors import DataError
from tests.conftest import SHARED
from tests.data.readers.trees import nih_table, picture

ROWS = [
    ("00000001_000.png", "Cardiomegaly", "1", "PA"),
    ("00000001_001.png", "Cardiomegaly|Emphysema", "1", "AP"),
    ("00000002_000.png", "No Finding", "2", "PA"),
    ("00000003_000.png", "Pleural_Thickening|Effusion|Hernia", "3", "PA"),
]
NEWER, OLDER = "Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv"


def tree(root: Path, rows: list[tuple[str, str, str, str]] = ROWS, *, older: bool = False) -> Path:
    nih_table(root / (OLDER if older else NEWER), rows, older=older)
    for number, row in enumerate(rows):
        picture(root / f"images_{number % 12 + 1:03d}/images" / row[0])
    return root


@pytest.mark.parametrize("older", [False, True])
def test_both_forms_of_the_table_give_the_same_rows(tmp_path: Path, older: bool) -> None:
    found = read(tree(tmp_path, older=older), {})
    assert found.patients == ["1", "1", "2", "3"]
    assert found.views == ["PA", "AP", "PA", "PA"]
    assert found.classes == LABELLED
    positive = [
        {LABELLED[c] for c in range(15) if found.labels[row, c] == 1} for row in range(len(found))
    ]
    assert positive == [
        {"Cardiomegaly"},
        {"Cardiomegaly", "Emphysema"},
        {"Normal"},
        {"Pleural Thickening", "Pleural Effusion", "Hernia"},
    ]
    assert all((found.root / image).is_file() for image in found.images)


def test_the_classes_are_the_14_and_normal(tmp_path: Path) -> None:
    assert len(LABELLED) == 15
    assert "Lung Opacity" not in read(tree(tmp_path), {}).classes


@pytest.mark.parametrize("folder", ["", "images"])
def test_images_lie_beside_the_table_or_in_one_folder(tmp_path: Path, folder: str) -> None:
    nih_table(tmp_path / NEWER, ROWS, older=False)
    for row in ROWS:
        picture(tmp_path / folder / row[0])
    found = read(tmp_path, {})
    assert all((found.root / image).is_file() for image in found.images)


def test_the_official_split_comes_from_its_lists(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "test_list.txt").write_text("00000002_000.png\n00000003_000.png")
    found = read(root, {"split": "test"})
    assert found.patients == ["2", "3"]
    assert set(found.left_out.values()) == {"not in this split"}
    with pytest.raises(DataError, match="train_val_list"):
        read(root, {"split": "train_val"})


def test_rows_that_say_nothing_or_contradict_themselves_are_masked_and_listed(
    tmp_path: Path,
) -> None:
    rows = [
        *ROWS,
        ("00000004_000.png", "", "4", "PA"),
        ("00000005_000.png", "No Finding|Mass", "5", "PA"),
        ("00000006_000.png", "Mass|Foo", "6", "PA"),
    ]
    found = read(tree(tmp_path, rows), {})
    assert (found.labels[4] == UNLABELLED).all()
    assert found.labels[5, LABELLED.index("Normal")] == UNLABELLED
    assert found.labels[5, LABELLED.index("Mass")] == 1
    assert found.problems == {
        "row without a finding": ["00000004_000.png"],
        "No Finding beside a finding": ["00000005_000.png"],
        "finding that is not one of the 15": ["00000006_000.png: Foo"],
    }


def test_a_store_is_made_from_the_folder(tmp_path: Path) -> None:
    dataset = load_dataset(f"nih:{tree(tmp_path)}", 32)
    assert len(dataset) == 4
    assert dataset.mask.all()
    assert list(dataset.studies) == [row[0].removesuffix(".png") for row in ROWS]


def test_an_image_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    picture(tmp_path / "outside.png")
    root = tree(tmp_path / "set")
    nih_table(root / NEWER, [*ROWS, ("../../outside.png", "Mass", "9", "PA")], older=False)
    with pytest.raises(DataError, match="outside"):
        load_dataset(f"nih:{root}", 32)


def test_the_real_table_is_read(tmp_path: Path) -> None:
    part = SHARED / "data/raw/nih/Data_Entry_2017_v2020_part.csv.gz"
    if not part.is_file():
        pytest.skip("the label table of ../shared/data/raw/nih is not here")
    (tmp_path / NEWER).write_bytes(gzip.decompress(part.read_bytes()))
    found = read(tmp_path, {})
    assert (len(found), len(set(found.patients))) == (108_267, 30_459)
    assert set(found.views) == {"PA", "AP"}
    assert not found.problems
    counts = dict(zip(found.classes, (found.labels == 1).sum(axis=0).tolist(), strict=True))
    assert counts["Hernia"] == 218
    assert counts["Normal"] == 58_734
    normal = found.labels[:, LABELLED.index("Normal")] == 1
    assert (found.labels[normal].sum(axis=1) == 1).all()
