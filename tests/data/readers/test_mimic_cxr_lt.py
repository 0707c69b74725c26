from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import pytest

from bench.classes import CLASSES
from bench.data import load_dataset
from bench.data.listing import UNLABELLED, Listing
from bench.data.readers.mimic_cxr_lt import TASK_2, TASK_3, read
from bench.errors import DataError, UsageError
from tests.data.readers.trees import RELEASE, Mimic, picture, table


@pytest.fixture
def mimic(tmp_path: Path) -> Mimic:
    return Mimic(tmp_path / "physionet")


def listing(mimic: Mimic, **options: str) -> Listing:
    return read(mimic.images, {"labels": str(mimic.labels), **options})


def label(found: Listing, study: str, name: str) -> int:
    row = list(found.studies).index(study)
    return int(found.labels[row, found.classes.index(name)])


def test_all_splits_are_read_with_text_identifiers_and_the_study_s_letter(mimic: Mimic) -> None:
    found = listing(mimic, views="all")
    assert found.classes == CLASSES
    assert len(found) == len(Mimic.IMAGES)
    assert set(found.studies) == {image[2] for image in Mimic.IMAGES}
    assert set(found.patients) == {"10000032", "11000764", "19000898"}
    assert set(found.labels.ravel().tolist()) == {0, 1}
    assert label(found, "s53189527", "Round(ed) Atelectasis") == 1
    assert label(found, "s50414267", "Normal") == 1


def test_a_split_can_be_chosen(mimic: Mimic) -> None:
    assert set(listing(mimic, split="test", views="all").patients) == {"19000898"}
    assert len(listing(mimic, split="development")) == 1


def test_views_come_from_the_position_or_its_meaning_and_a_blank_is_no_frontal(
    mimic: Mimic,
) -> None:
    everything = listing(mimic, views="all")
    views = dict(zip(everything.images, everything.views, strict=True))
    words = {image[0]: views[Mimic.path(image)] for image in Mimic.IMAGES}
    assert words["02aa804e-bde0afdd"] == "PA"
    assert words["174413ec-4ec4c1f7"] == words["096052b7-d256dc40"] == "LATERAL"
    assert words["68b5c4b1-227d0485"] == words["fffabebf-74fd3a1f"] == "AP"
    assert words["e084de3b-be89b11e"] == ""
    blank = Mimic.path(Mimic.IMAGES[3])
    frontal = listing(mimic)
    assert blank not in frontal.images
    assert frontal.left_out == {blank: "view not given"}


@pytest.mark.parametrize(
    ("task", "classes"), [("1", CLASSES), ("2", TASK_2), ("3", TASK_3), ("all", CLASSES + TASK_3)]
)
def test_each_task_has_its_classes_and_labels(
    mimic: Mimic, task: str, classes: tuple[str, ...]
) -> None:
    found = listing(mimic, task=task)
    assert found.classes == classes
    for study, positive in Mimic.POSITIVE.items():
        for name in positive:
            if name in classes:
                assert label(found, study, name) == 1
    # Nodule and Normal stand the other way round in the files of task 2.
    if "Nodule" in classes:
        assert label(found, "s56699142", "Normal") == 0


def test_2023_has_26_classes_and_calls_normal_no_finding(mimic: Mimic) -> None:
    found = listing(mimic, labels=str(mimic.older.parent), year="2023")
    assert found.classes == TASK_2
    assert label(found, "s50414267", "Normal") == 1
    with pytest.raises(UsageError, match="2023 has no task=1"):
        listing(mimic, year="2023", task="1")


def test_the_years_are_never_mixed(mimic: Mimic) -> None:
    shutil.rmtree(mimic.labels)
    with pytest.raises(DataError, match=r"train_labeled\.csv"):
        listing(mimic, labels=str(mimic.older.parent))


@pytest.mark.parametrize("tree", ["files", "files-512", "files-1024"])
def test_a_shrunken_tree_is_read_like_the_full_one(tmp_path: Path, tree: str) -> None:
    mimic = Mimic(tmp_path, tree)
    found = listing(mimic)
    assert found.root == mimic.images
    assert all((found.root / image).is_file() for image in found.images)
    inside = read(mimic.images / tree, {"labels": str(mimic.labels)})
    assert all((inside.root / image).is_file() for image in inside.images)


@pytest.mark.parametrize("version", ["2.0.0", "2.1.0"])
def test_the_folder_that_wget_makes_is_read_from_its_top(mimic: Mimic, version: str) -> None:
    top = mimic.images.parent
    moved = top / "physionet.org/files/mimic-cxr-jpg" / version
    moved.parent.mkdir(parents=True)
    mimic.images.rename(moved)
    assert (top / RELEASE).is_dir()
    found = read(top, {})
    assert found.root == moved
    assert len(found) == len(Mimic.IMAGES) - 1


def test_the_older_name_of_the_path_column_and_packed_tables_are_read(mimic: Mimic) -> None:
    expected = listing(mimic)
    mimic.write_2024(path_column="path")
    for path in mimic.labels.glob("*.csv"):
        text = path.read_text().splitlines()
        path.unlink()
        table(
            path.with_name(path.name + ".gz"),
            text[0].split(","),
            [line.split(",") for line in text[1:]],
        )
    found = listing(mimic)
    assert found.images == expected.images
    assert (found.labels == expected.labels).all()


def test_a_missing_table_is_listed_and_the_others_are_used(mimic: Mimic) -> None:
    (mimic.labels / "test_labeled_task1.csv").unlink()
    found = listing(mimic)
    assert found.problems["label table not found"] == ["test_labeled_task1.csv"]
    assert "19000898" not in found.patients


def test_repeated_rows_are_merged_and_contradictions_masked(mimic: Mimic) -> None:
    path = mimic.labels / "train_labeled.csv"
    lines = path.read_text().splitlines()
    first = lines[1].split(",")
    hernia = lines[0].split(",").index("Hernia")
    path.write_text(
        "\n".join([*lines, lines[3], ",".join([*first[:hernia], "1", *first[hernia + 1 :]])]) + "\n"
    )
    found = listing(mimic)
    assert len(found) == len(Mimic.IMAGES) - 1
    assert found.problems["row given twice"] == [Mimic.path(Mimic.IMAGES[2])]
    assert found.problems["rows of one image with unequal labels"] == [Mimic.path(Mimic.IMAGES[0])]
    assert label(found, "s50414267", "Hernia") == UNLABELLED
    assert label(found, "s50414267", "Normal") == 1


def test_an_image_of_two_patients_is_left_out(mimic: Mimic) -> None:
    path = mimic.labels / "train_labeled.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1].replace(",10000032,", ",10000099,")]) + "\n")
    found = listing(mimic)
    assert found.left_out[Mimic.path(Mimic.IMAGES[0])] == "given to two patients"
    assert Mimic.path(Mimic.IMAGES[0]) not in found.images


def test_a_path_of_another_patient_is_listed(mimic: Mimic) -> None:
    path = mimic.labels / "train_labeled.csv"
    path.write_text(path.read_text().replace("files/p10/p10000032/s53189527", "files/p10/p1/s2"))
    found = listing(mimic)
    assert found.problems["path does not fit the ids"] == ["files/p10/p1/s2/2a2277a9-b0ded155.jpg"]


def test_reports_give_findings_and_impression_and_what_lacks_is_listed(mimic: Mimic) -> None:
    reports = mimic.write_reports(
        {
            "s50414267": "FINDINGS: Clear lungs.\n\n IMPRESSION: No acute process.\n",
            "s53189527": "FINDINGS: Apical fibrosis.\n",
            "s56699142": "INDICATION: Cough.\n",
        }
    )
    found = listing(mimic, reports=str(reports))
    texts = {
        s: (f, i) for s, f, i in zip(found.studies, found.findings, found.impressions, strict=True)
    }
    assert texts["s50414267"] == ("Clear lungs.", "No acute process.")
    assert texts["s53189527"] == ("Apical fibrosis.", "")
    assert texts["s54205396"] == ("", "")
    assert found.problems["study without a report"] == ["s50771383", "s54205396"]
    assert found.problems["report that describes no picture"] == ["s56699142"]


def test_the_zip_of_the_reports_beside_the_images_is_used_unasked(mimic: Mimic) -> None:
    assert not listing(mimic).impressions
    with zipfile.ZipFile(mimic.images / "mimic-cxr-reports.zip", "w") as archive:
        archive.writestr("files/p10/p10000032/s50414267.txt", "IMPRESSION: Edema.")
    found = listing(mimic)
    assert "Edema." in found.impressions
    assert mimic.images / "mimic-cxr-reports.zip" in found.tables


def test_no_images_and_no_tables_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train_labeled\.csv"):
        read(tmp_path, {})
    mimic = Mimic(tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="p10 to files/p19"):
        read(tmp_path / "b", {"labels": str(mimic.labels)})


def test_a_column_that_is_not_there_is_named(mimic: Mimic) -> None:
    path = mimic.labels / "train_labeled.csv"
    path.write_text(path.read_text().replace("Azygos Lobe", "Azygos"))
    with pytest.raises(DataError, match=r"no column 'Azygos Lobe'.*Is it 'Azygos'"):
        listing(mimic)


def test_an_empty_identifier_is_named(mimic: Mimic) -> None:
    path = mimic.labels / "train_labeled.csv"
    path.write_text(path.read_text().replace(",11000764,s53911762", ",,s53911762"))
    with pytest.raises(DataError, match="subject_id of data row 4 is empty"):
        listing(mimic)


@pytest.mark.parametrize(
    ("key", "value"), [("task", "4"), ("year", "2025"), ("split", "dev"), ("labels", "/nowhere")]
)
def test_an_option_that_cannot_be_meant_is_refused(mimic: Mimic, key: str, value: str) -> None:
    with pytest.raises(UsageError, match=re.escape(value)):
        listing(mimic, **{key: value})


def test_a_store_is_made_with_what_was_left_out(mimic: Mimic) -> None:
    (mimic.images / Mimic.path(Mimic.IMAGES[2])).unlink()
    picture(mimic.images / "files/p10/p10000032/s50414267/stray.jpg")
    spec = f"mimic-cxr-lt:{mimic.images},labels={mimic.labels}"
    with pytest.raises(DataError, match="2a2277a9-b0ded155"):
        load_dataset(spec, 32)
    dataset = load_dataset(spec, 32, skip_unreadable=True)
    assert dataset.images == tuple(Mimic.path(Mimic.IMAGES[row]) for row in (0, 4, 6))
    assert dataset.classes == CLASSES
    reasons = set(dataset.left_out.values())
    assert {"lateral view", "view not given"} < reasons
    assert Mimic.path(Mimic.IMAGES[2]) in dataset.left_out


def test_a_path_cannot_lead_out_of_the_images(mimic: Mimic) -> None:
    picture(mimic.images.parent / "outside.jpg")
    path = mimic.labels / "train_labeled.csv"
    path.write_text(
        path.read_text().replace(Mimic.path(Mimic.IMAGES[0]), "files/../../outside.jpg")
    )
    with pytest.raises(DataError, match="outside"):
        load_dataset(f"mimic-cxr-lt:{mimic.images},labels={mimic.labels}", 32)
