from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.classes import CLASSES
from bench.data import load_dataset
from bench.data.listing import UNLABELLED, Listing
from bench.data.readers.padchest import CLASS_OF, TASKS, parse_labels, read
from bench.errors import DataError, UsageError
from tests.data.readers.trees import (
    PADCHEST_HEADER,
    PADCHEST_PATIENTS,
    padchest_row,
    picture,
    table,
)

NAME = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
FIRST, SECOND = PADCHEST_PATIENTS
ROWS = [
    padchest_row("a.png", FIRST, "['callus rib fracture', ' NSG tube', 'unknown thing']"),
    padchest_row("b.png", SECOND, "['normal']", folder="54", method="RNN_model"),
    padchest_row("c.png", SECOND, "['pneumonia', 'unchanged']", projection="AP_horizontal"),
    padchest_row("d.png", SECOND, "['bullas']", projection="L"),
    padchest_row("e.png", SECOND, "['exclude']"),
    padchest_row("f.png", SECOND, "['normal']", projection="EXCLUDE"),
    padchest_row("g.png", SECOND, "nan"),
    padchest_row("h.png", SECOND, "['normal']", projection="UNK"),
]


def tree(root: Path, rows: list[list[str]] = ROWS) -> Path:
    table(root / NAME, PADCHEST_HEADER, rows)
    for row in rows:
        picture(root / row[2] / row[1], deep=True)
    return root


def label(found: Listing, image: str, name: str) -> int:
    return int(found.labels[list(found.images).index(image), found.classes.index(name)])


def test_long_ids_stay_text_so_that_two_patients_stay_two(tmp_path: Path) -> None:
    found = read(tree(tmp_path), {})
    assert float(FIRST) == float(SECOND)
    assert set(found.patients) == {FIRST, SECOND}


def test_ids_that_a_float_has_rounded_are_refused(tmp_path: Path) -> None:
    rows = [padchest_row("a.png", "8.439571112098642e+37", "['normal']")]
    with pytest.raises(DataError, match=r"line 2: PatientID is '8\.4.*rounded"):
        read(tree(tmp_path, rows), {})


def test_labels_mean_our_classes_and_the_rest_is_absent(tmp_path: Path) -> None:
    found = read(tree(tmp_path), {})
    row = found.labels[list(found.images).index("0/a.png")]
    positive = {name for name, value in zip(found.classes, row, strict=True) if value}
    assert positive == {"Fracture", "Rib Fracture", "Support Devices"}
    assert set(row.tolist()) == {0, 1}


def test_what_an_unchanged_report_does_not_name_is_masked(tmp_path: Path) -> None:
    found = read(tree(tmp_path), {})
    assert label(found, "0/c.png", "Pneumonia") == 1
    assert label(found, "0/c.png", "Edema") == UNLABELLED


def test_a_row_without_labels_is_masked_and_listed(tmp_path: Path) -> None:
    found = read(tree(tmp_path), {})
    assert (found.labels[list(found.images).index("0/g.png")] == UNLABELLED).all()
    assert found.problems == {"row without a label": ["g.png"]}


def test_views_and_what_is_left_out(tmp_path: Path) -> None:
    found = read(tree(tmp_path), {})
    assert dict(zip(found.images, found.views, strict=True)) == {
        "0/a.png": "PA", "54/b.png": "PA", "0/c.png": "AP", "0/d.png": "LATERAL", "0/g.png": "PA",
    }  # fmt: skip
    assert found.left_out == {
        "0/e.png": "excluded by the publisher",
        "0/f.png": "excluded by the publisher",
        "0/h.png": "view not given",
    }


def test_labels_by_physicians_only(tmp_path: Path) -> None:
    found = read(tree(tmp_path), {"by": "physician"})
    assert found.left_out["54/b.png"] == "not labelled by a physician"
    with pytest.raises(UsageError, match="Did you mean 'physician'"):
        read(tmp_path, {"by": "physicians"})


def test_task_3_has_unseen_classes(tmp_path: Path) -> None:
    found = read(tree(tmp_path), {"task": "3"})
    assert found.classes == ("Bulla", "Osteopenia", "Scoliosis")
    assert label(found, "0/d.png", "Bulla") == 1


@pytest.mark.parametrize("folder", ["", "images"])
def test_images_may_lie_in_one_folder(tmp_path: Path, folder: str) -> None:
    table(tmp_path / NAME, PADCHEST_HEADER, ROWS)
    for row in ROWS:
        picture(tmp_path / folder / row[1])
    found = read(tmp_path, {})
    assert all((found.root / image).is_file() for image in found.images)


def test_the_map_has_38_of_our_classes_and_no_label_of_its_own_twice() -> None:
    assert len(TASKS["1"]) == 38
    assert set(CLASSES) - set(TASKS["1"]) == {"Infarction", "Pulmonary Embolism"}
    for labels in CLASS_OF.values():
        assert len(set(labels)) == len(labels)
        assert all(label == label.lower() for label in labels)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("['a', 'b']", ["a", "b"]),
        ("['a  b', \"c\", '']", ["a b", "c"]),
        ("[]", []),
        ("nan", []),
        ("['normal', nan]", ["normal"]),
        ("__import__('os').remove('x')", ["os", "x"]),
    ],
)
def test_a_cell_is_read_without_running_it(cell: str, expected: list[str]) -> None:
    assert parse_labels(cell) == expected


def test_a_store_is_made_of_16_bit_images(tmp_path: Path) -> None:
    dataset = load_dataset(f"padchest:{tree(tmp_path)}", 32)
    assert len(dataset) == 4
    assert np.ptp(dataset.pixels[0]) > 200
    assert dataset.findings[0] == "sin hallazgos ."
