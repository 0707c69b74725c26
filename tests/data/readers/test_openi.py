from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.classes import CLASSES
from bench.data import load_dataset
from bench.data.listing import UNLABELLED, Listing
from bench.data.mesh import CODED, RULES, mesh_labels
from bench.data.readers.openi import ARCHIVES, parse_report, read
from bench.errors import DataError
from tests.conftest import SHARED
from tests.data.readers.trees import openi_report, picture, table


@pytest.fixture
def openi(tmp_path: Path) -> Path:
    root = tmp_path / "openi"
    openi_report(root, 1, ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"])
    openi_report(
        root,
        2,
        ["CXR2_IM-0652-1001", "CXR2_IM-0652-2001"],
        ["Cardiomegaly/borderline", "Opacity/lung/base/left", "Fractures, Bone/ribs/right"],
        impression="",
    )
    openi_report(root, 3, ["CXR3_IM-1384-1001"], ["No Indexing"], findings="", impression="")
    openi_report(root, 4, [])
    for name in ("CXR1_1_IM-0001-3001", "CXR2_IM-0652-1001", "CXR2_IM-0652-2001"):
        picture(root / "NLMCXR_png" / f"{name}.png")
    picture(root / "images_normalized/3_IM-1384-1001.dcm.png")
    return root


def test_every_picture_of_a_report_is_a_row_with_its_texts(openi: Path) -> None:
    found = read(openi, {"views": "all"})
    assert found.images == [
        "NLMCXR_png/CXR1_1_IM-0001-3001.png",
        "1_IM-0001-4001.png",
        "NLMCXR_png/CXR2_IM-0652-1001.png",
        "NLMCXR_png/CXR2_IM-0652-2001.png",
        "images_normalized/3_IM-1384-1001.dcm.png",
    ]
    assert found.patients == ["CXR1", "CXR1", "CXR2", "CXR2", "CXR3"]
    assert found.findings[0] == "The lungs are clear."
    assert found.impressions[0] == "No acute disease."
    assert found.problems == {
        "report without a picture": ["CXR4"],
        "report without findings and impression": ["CXR3"],
        "report that was not coded": ["CXR3"],
    }


def test_phrases_become_labels_and_what_they_cannot_say_is_no_class(openi: Path) -> None:
    found = read(openi, {"views": "all"})
    assert found.classes == CODED
    assert {"Fissure", "Lobar Atelectasis", "Round(ed) Atelectasis"}.isdisjoint(CODED)
    column = CODED.index
    assert found.labels[2, column("Cardiomegaly")] == UNLABELLED
    assert [found.labels[2, column(n)] for n in ("Lung Opacity", "Rib Fracture", "Fracture")] == [
        1, 1, 1,
    ]  # fmt: skip
    assert found.labels[2, column("Clavicle Fracture")] == 0
    assert found.labels[2, column("Normal")] == 0
    assert found.labels[0].tolist() == [int(name == "Normal") for name in CODED]
    assert (found.labels[4] == UNLABELLED).all()


def test_without_a_table_of_views_only_pictures_known_as_frontal_are_used(openi: Path) -> None:
    found = read(openi, {})
    assert [image.rpartition("-")[2] for image in found.images] == ["1001.png", "1001.dcm.png"]
    assert set(found.views) == {"FRONTAL"}
    assert set(found.left_out.values()) == {"view not given"}


def test_the_table_of_views_is_used_where_it_is(openi: Path) -> None:
    names = ["1_IM-0001-3001", "1_IM-0001-4001", "2_IM-0652-1001", "2_IM-0652-2001"]
    sides = ["Lateral", "Frontal", "Frontal", "Lateral"]
    rows = [[n[0], f"{n}.dcm.png", side] for n, side in zip(names, sides, strict=True)]
    table(openi / "indiana_projections.csv", ["uid", "filename", "projection"], rows)
    found = read(openi, {})
    assert found.views == ["LATERAL", "FRONTAL", "FRONTAL", "LATERAL"]
    assert found.left_out == {"images_normalized/3_IM-1384-1001.dcm.png": "view not given"}


def test_a_second_copy_of_a_picture_is_left_out_and_not_a_second_row(openi: Path) -> None:
    (openi / "NLMCXR_dcm/2").mkdir(parents=True)
    (openi / "NLMCXR_dcm/2/2_IM-0652-1001.dcm").write_bytes(b"DICM")
    found = read(openi, {})
    assert found.left_out["NLMCXR_dcm/2/2_IM-0652-1001.dcm"] == "another copy of the picture"
    assert "NLMCXR_png/CXR2_IM-0652-1001.png" in found.images


def test_packed_reports_are_read_as_they_are(openi: Path, tmp_path: Path) -> None:
    unpacked = read(openi, {})
    archive = tmp_path / "NLMCXR_reports.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(openi / "ecgen-radiology", "ecgen-radiology")
    found = read(openi, {"reports": str(archive)})
    assert found.images == unpacked.images
    assert (found.labels == unpacked.labels).all()
    assert archive in found.tables


def test_a_report_that_is_no_xml_is_listed_and_the_others_are_used(openi: Path) -> None:
    (openi / "ecgen-radiology/2.xml").write_text("<eCitation><uId")
    found = read(openi, {})
    assert found.problems["report that cannot be read"][0].startswith("2.xml: no XML")
    assert "CXR2" not in found.patients
    with pytest.raises(ValueError, match="unknown encoding"):
        parse_report(b"<?xml version='1.0' encoding='none'?><eCitation/>")
    with pytest.raises(ValueError, match="no uId"):
        parse_report(b"<eCitation/>")


def test_an_archive_that_was_cut_is_named(openi: Path, tmp_path: Path) -> None:
    archive = tmp_path / ARCHIVES[0]
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(openi / "ecgen-radiology", "ecgen-radiology")
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(DataError, match="not a readable tar"):
        read(openi, {"reports": str(archive)})


def test_no_reports_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ecgen-radiology"):
        read(tmp_path, {})


def test_a_store_is_made_from_the_folder(openi: Path) -> None:
    dataset = load_dataset(f"openi:{openi}", 32)
    assert len(dataset) == 2
    assert dataset.reports[0] == "The lungs are clear."
    assert not dataset.mask[1].any()


@pytest.fixture(scope="module")
def real() -> Listing:
    archive = SHARED / "data/raw/openi/NLMCXR_reports_part.tgz"
    if not archive.is_file():
        pytest.skip("the reports of ../shared/data/raw/openi are not here")
    return read(archive.parent, {"reports": str(archive), "views": "all"})


def test_all_real_reports_are_read(real: Listing) -> None:
    assert (len(real), len(set(real.patients))) == (5_468, 2_784)
    assert {kind: len(names) for kind, names in real.problems.items()} == {
        "report that was not coded": 69
    }
    assert sum(not text for text in real.impressions) == 8
    assert Counter(real.views)["FRONTAL"] == 2_434


def test_the_coding_of_the_real_reports_gives_these_counts(real: Listing) -> None:
    first = np.unique(real.patients, return_index=True)[1]
    labels = real.labels[first]
    counts = dict(zip(CODED, (labels == 1).sum(axis=0).tolist(), strict=True))
    assert counts["Normal"] == 993
    assert counts["Cardiomegaly"] == 229
    assert counts["Lung Opacity"] == 422
    assert counts["Rib Fracture"] == 40
    assert {n for n in CODED if not counts[n]} == {
        "Infarction", "Pneumomediastinum", "Pulmonary Embolism",
    }  # fmt: skip
    assert (labels == UNLABELLED).all(axis=1).sum() == 69
    normal = labels[:, CODED.index("Normal")] == 1
    assert (labels[normal].sum(axis=1) == 1).all()


def test_the_coding_agrees_with_labels_made_from_the_same_reports_by_others(real: Listing) -> None:
    path = SHARED / "data/openreal/labels_only/iu_reports.csv.gz"
    if not path.is_file():
        pytest.skip("the labels of ../shared/data/openreal are not here")
    theirs = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("study_id")
    first = np.unique(real.patients, return_index=True)[1]
    studies = [f"iu{int(real.patients[row][3:]):05d}" for row in first]
    codes = {"1": 1, "0": 0, "": UNLABELLED}
    other = theirs.loc[studies, list(CODED)].map(codes.__getitem__).to_numpy()
    different = other != real.labels[first]
    # 2 reports of which only the picture's poor quality is said are masked here; 6 cells differ.
    whole = different.sum(axis=1) == len(CODED)
    assert whole.sum() == 2
    assert different[~whole].sum() == 6


def test_a_report_without_phrases_is_masked_and_poor_quality_alone_says_nothing() -> None:
    for phrases in ([], [""], ["Technical Quality of Image Unsatisfactory"]):
        assert (mesh_labels(phrases) == UNLABELLED).all()
    both = mesh_labels(["Technical Quality of Image Unsatisfactory", "normal"])
    assert both.tolist() == [int(name == "Normal") for name in CODED]


def test_a_certain_phrase_outweighs_a_borderline_one() -> None:
    labels = mesh_labels(["Cardiomegaly/borderline", "Cardiac Shadow/enlarged"])
    assert labels[CODED.index("Cardiomegaly")] == 1


def test_every_rule_names_a_class_and_is_in_small_letters() -> None:
    assert set(RULES) < set(CLASSES)
    assert all(rule == rule.lower() for rules in RULES.values() for rule in rules)
