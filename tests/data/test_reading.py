from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.classes import CLASSES
from bench.data.dataset import READERS
from bench.data.listing import UNLABELLED
from bench.data.reading import assemble, distinct, folders_of_files, from_findings, refuse_rounded
from bench.errors import DataError


def test_repeats_are_merged_masked_or_left_out_and_always_listed() -> None:
    labels = np.array([[1, 0], [1, 0], [0, 1], [1, 1], [0, 0], [0, 0]], np.uint8)
    images = ["a", "a", "b", "b", "c", "c"]
    found = distinct(images, ["1", "1", "2", "2", "3", "4"], labels)
    assert found.rows == [0, 2]
    assert found.labels[2].tolist() == [UNLABELLED, 1]
    assert found.left_out == {"c": "given to two patients"}
    assert found.problems == {
        "row given twice": ["a"],
        "rows of one image with unequal labels": ["b"],
    }
    assert labels[2].tolist() == [0, 1]


def test_rows_to_omit_are_left_out_with_their_reason() -> None:
    found = assemble(
        Path(),
        ("Edema",),
        np.array([[1], [0], [1]], np.uint8),
        images=["a", "b", "c"],
        patients=["1", "2", "3"],
        studies=["1", "2", "3"],
        views=["PA", "AP", ""],
        omit=["", "not in this split", ""],
        problems={"seen": [], "odd": ["x", "x"]},
        tables=[],
    )
    assert found.images == ["a", "c"]
    assert found.labels.tolist() == [[1], [1]]
    assert found.left_out == {"b": "not in this split"}
    assert found.problems == {"odd": ["x"]}


def test_a_finding_may_mean_several_classes_or_none() -> None:
    meaning = {"rib": ["Fracture", "Rib Fracture"]}
    labels = from_findings([["rib"], ["else"], []], meaning, ("Fracture", "Rib Fracture"))
    assert labels.tolist() == [[1, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize("value", ["3.24e+38", "1.0", "-2E10"])
def test_a_rounded_identifier_is_refused_with_its_line(value: str) -> None:
    with pytest.raises(DataError, match="line 3: ID is"):
        refuse_rounded(["123", value], "ID", Path("t.csv"))


def test_identifiers_that_only_look_odd_are_kept() -> None:
    given = ["12e4f", "p10.2", "", "00012"]
    refuse_rounded(given, "ID", Path("t.csv"))
    # Not vacuous: one rounded value among the same ones is found, at its own line.
    with pytest.raises(DataError, match="line 6: ID is"):
        refuse_rounded([*given, "1.2e+07"], "ID", Path("t.csv"))


def test_a_file_in_two_folders_is_that_of_the_first(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").touch()
    (tmp_path / "y.png").touch()
    found = folders_of_files(tmp_path, ["two", "none", "one", ""])
    assert found["x.png"] == "two/x.png"
    assert found["y.png"] == "y.png"


def test_every_file_reader_declares_what_it_labels_by_the_names_of_cxr_lt() -> None:
    folded = {name.casefold(): name for name in CLASSES}
    from bench.data.mesh import CODED
    from bench.data.readers import chexpert, cxr_lt_2026, mimic_cxr_lt, nih, padchest, vindr

    lists = [
        CODED,
        chexpert.LABELLED,
        nih.LABELLED,
        vindr.LABELLED,
        *padchest.TASKS.values(),
        *(tuple(columns.values()) for columns, _ in cxr_lt_2026.TASKS.values()),
        *(classes for classes, _ in mimic_cxr_lt.LABEL_SETS.values()),
    ]
    for names in lists:
        assert len(set(names)) == len(names)
        assert all(folded.get(name.casefold(), name) == name for name in names)


def test_the_readers_of_published_sets_are_listed() -> None:
    names = {reader.name for reader in READERS}
    assert {
        "mimic-cxr-lt", "cxr-lt-2026", "openi", "nih", "chexpert", "padchest", "vindr", "csv",
    } <= names  # fmt: skip
