"""CXR-LT 2026: 30 classes on PadChest and NIH images (task 1), six unseen ones (task 2).

    cxr-lt-2026:DIR[,labels=DIR][,task=1|2][,split=all|train|test]

DIR holds the images as `padchest` and `nih` expect them; `labels` (else DIR) holds
`CXRLT_2026_training.csv` and `CXRLT_2026_TEST_ALL_TASK1.csv` or `..._TASK2.csv`. Only training
labels of task 1 come from reports; those of the tests are radiologists'. The tables say neither
view nor, in some copies, the patient as more than a rounded number: both are taken from PadChest's
own table, which is looked for beside them. Test images are all frontal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.data.listing import Listing
from bench.data.readers import nih, padchest
from bench.data.reading import (
    assemble,
    choice,
    folders_of_files,
    place,
    refuse_rounded,
    unknown_views,
)
from bench.data.tables import coded_labels, column_names, find_file, optional_file, read_table
from bench.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1

TASK_1: Mapping[str, str] = {
    "Normal": "Normal",
    "aortic elongation": "Aortic Elongation",
    "cardiomegaly": "Cardiomegaly",
    "pleural effusion": "Pleural Effusion",
    "Nodule": "Nodule",
    "atelectasis": "Atelectasis",
    "pleural thickening": "Pleural Thickening",
    "aortic atheromatosis": "Aortic Atheromatosis",
    "Support Devices": "Support Devices",
    "alveolar pattern": "Alveolar Pattern",
    "fracture": "Fracture",
    "Hernia": "Hernia",
    "Emphysema": "Emphysema",
    "azygos lobe": "Azygos Lobe",
    "Hydropneumothorax": "Hydropneumothorax",
    "Kyphosis": "Kyphosis",
    "Mass": "Mass",
    "Pneumothorax": "Pneumothorax",
    "Subcutaneous Emphysema": "Subcutaneous Emphysema",
    "pneumoperitoneo": "Pneumoperitoneum",
    "vascular hilar enlargement": "Vascular Hilar Enlargement",
    "vertebral degenerative changes": "Vertebral Degenerative Changes",
    "hyperinflated lung": "Hyperinflated Lung",
    "interstitial pattern": "Interstitial Pattern",
    "central venous catheter": "Central Venous Catheter",
    "hypoexpansion": "Hypoexpansion",
    "bronchiectasis": "Bronchiectasis",
    "hemidiaphragm elevation": "Hemidiaphragm Elevation",
    "sternotomy": "Sternotomy",
    "calcified densities": "Calcified Densities",
}
"""Column -> class, in the order of the challenge. The names of CXR-LT 2024 are used where the name
is the same; aortic elongation and atheromatosis stay classes of their own here."""
TASK_2: Mapping[str, str] = {
    "Scoliosis": "Scoliosis",
    "Osteopenia": "Osteopenia",
    "Bulla": "Bulla",
    "Infarction": "Infarction",
    "Adenopathy": "Adenopathy",
    "goiter": "Goiter",
}
"""The unseen ones. Infarction and Adenopathy are classes of CXR-LT 2024, so what was trained on
its labels has seen them."""
TASKS: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "1": (TASK_1, {
        "train": "CXRLT_2026_training.csv",
        "test": "CXRLT_2026_TEST_ALL_TASK1.csv",
    }),
    "2": (TASK_2, {"test": "CXRLT_2026_TEST_ALL_TASK2.csv"}),
}  # fmt: skip
_NIH_NAME = re.compile(r"(\d{8})_\d{3}\.png")


def read(root: Path, options: Mapping[str, str]) -> Listing:
    """The rows of the tables that are there and hold labels.

    Raises:
        UsageError: a split that the task does not have.
        DataError: no table with labels, or patients that cannot be told apart.
    """
    columns, files = TASKS[choice(options, "task", tuple(TASKS), "1")]
    split = choice(options, "split", ("all", "train", "test"), "all")
    if split not in ("all", *files):
        raise UsageError("Task 2 of CXR-LT 2026 has no training labels; its split is test.")
    folder = place(options, "labels", root)
    wanted = {name: file for name, file in files.items() if split in ("all", name)}
    found = {name: optional_file([folder], [file]) for name, file in wanted.items()}
    if not any(found.values()):
        find_file([folder], list(wanted.values()), "label table of CXR-LT 2026")
    padchest_table = optional_file([folder, root], padchest.TABLES)
    known = _padchest(padchest_table)
    parts = [
        _rows(path, columns, known, frontal=name == "test")
        for name, path in found.items()
        if path is not None
    ]
    if not any(part.names for part in parts):
        raise DataError(
            f"{', '.join(str(p) for p in found.values() if p)}: published without labels. Scores "
            "need the tables with labels that the organisers give out after the challenge."
        )
    names = [name for part in parts for name in part.names]
    views = [view for part in parts for view in part.views]
    tables = [path for path in found.values() if path is not None]
    return assemble(
        root,
        tuple(columns.values()),
        np.concatenate([part.labels for part in parts]),
        images=_paths(root, names, known),
        patients=[patient for part in parts for patient in part.patients],
        studies=[study for part in parts for study in part.studies],
        views=views,
        sources=["NIH" if _NIH_NAME.fullmatch(name) else "PadChest" for name in names],
        omit=unknown_views(views, options),
        problems={
            "label table not found": [wanted[name] for name, path in found.items() if path is None],
            "label table without labels": [part.path.name for part in parts if not part.names],
        },
        tables=[*tables, *([padchest_table] if padchest_table else [])],
    )


class _Known(NamedTuple):
    """What PadChest's own table says of an image."""

    patient: str
    study: str
    view: str
    folder: str


class _Rows(NamedTuple):
    """The rows of one label table; none where it was published without labels."""

    path: Path
    names: list[str]
    patients: list[str]
    studies: list[str]
    views: list[str]
    labels: np.ndarray


def _padchest(path: Path | None) -> dict[str, _Known]:
    if path is None:
        return {}
    table = read_table(path, ["ImageID", "PatientID", "StudyID", "Projection"], ["ImageDir"])
    refuse_rounded(table["PatientID"].tolist(), "PatientID", path)
    views = [padchest.view(word) for word in table["Projection"]]
    folders = table["ImageDir"] if "ImageDir" in table else [""] * len(table)
    rows = zip(table["PatientID"], table["StudyID"], views, folders, strict=True)
    return {name: _Known(*row) for name, row in zip(table["ImageID"], rows, strict=True)}


def _rows(
    path: Path, columns: Mapping[str, str], known: Mapping[str, _Known], *, frontal: bool
) -> _Rows:
    named = {name.casefold(): name for name in column_names(path)}
    there = [named[column.casefold()] for column in columns if column.casefold() in named]
    if not there:
        return _Rows(path, [], [], [], [], np.zeros((0, len(columns)), np.uint8))
    if len(there) < len(columns):
        lacking = [column for column in columns if column.casefold() not in named]
        raise DataError(f"{path} lacks {len(lacking)} label columns: {', '.join(lacking)}.")
    table = read_table(path, ["ImageID", *there], ["PatientID", "StudyID"])
    names = table["ImageID"].tolist()
    patients = _patients(table, names, known, path)
    published = table["StudyID"].tolist() if "StudyID" in table.columns else names
    return _Rows(
        path,
        names,
        patients,
        [known[n].study if n in known else s for n, s in zip(names, published, strict=True)],
        ["FRONTAL" if frontal else _view(name, known) for name in names],
        coded_labels(table, there, path),
    )


def _patients(
    table: pd.DataFrame, names: Sequence[str], known: Mapping[str, _Known], path: Path
) -> list[str]:
    """PadChest's patient, NIH's by the picture's name, else the column PatientID if it is whole."""
    given = table["PatientID"].tolist() if "PatientID" in table else [""] * len(names)
    patients = []
    needed = []
    for name, patient in zip(names, given, strict=True):
        nih_name = _NIH_NAME.fullmatch(name)
        if name in known:
            patient = known[name].patient
        elif nih_name:
            patient = str(int(nih_name[1]))
        else:
            needed.append(patient)
        patients.append(patient)
    if "" in needed:
        raise DataError(
            f"{path} does not give the patient of {needed.count('')} images. Put PadChest's own "
            f"table beside it ({padchest.TABLES[0]})."
        )
    refuse_rounded(needed, "PatientID", path)
    return patients


def _view(name: str, known: Mapping[str, _Known]) -> str:
    """The view by PadChest's table; the pictures of NIH are all frontal."""
    if name in known:
        return known[name].view
    return "FRONTAL" if _NIH_NAME.fullmatch(name) else ""


def _paths(root: Path, names: Sequence[str], known: Mapping[str, _Known]) -> list[str]:
    where = folders_of_files(root, nih.FOLDERS)
    folders = [known[name].folder if name in known else "" for name in names]
    numbered = padchest.image_paths(root, names, folders)
    return [where.get(name, path) for name, path in zip(names, numbered, strict=True)]
