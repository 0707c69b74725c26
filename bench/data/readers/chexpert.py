"""CheXpert v1.0 (Irvin et al., AAAI 2019), full or `-small`: 14 labels from an automatic labeller.

    chexpert:DIR[,labels=DIR][,split=all|train|valid]

DIR holds `train.csv`, `valid.csv` and the folders `train` and `valid`, or is the folder above; the
full release, which comes as four folders "CheXpert-v1.0 batch ...", is read as it is unpacked.
Patients are numbered anew in no split, so both splits can be used together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.classes import CLASSES
from bench.data.listing import UNLABELLED, Listing
from bench.data.reading import assemble, choice, place
from bench.data.tables import coded_labels, find_file, optional_file, read_table
from bench.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1

NO_FINDING = "No Finding"
MEANING = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Enlarged Cardiomediastinum": "Enlarged Cardiomediastinum",
    "Fracture": "Fracture",
    "Lung Lesion": "Lung Lesion",
    "Lung Opacity": "Lung Opacity",
    NO_FINDING: "Normal",
    "Pleural Effusion": "Pleural Effusion",
    "Pleural Other": "Pleural Other",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
    "Support Devices": "Support Devices",
}
"""Column -> class."""
LABELLED = tuple(name for name in CLASSES if name in MEANING.values())
_COLUMNS = {name: column for column, name in MEANING.items()}
_NORMAL = LABELLED.index("Normal")
# What "No Finding" does not speak of.
_APART = (NO_FINDING, "Support Devices")
_FINDINGS = [column for column in MEANING if column not in _APART]
_PATH = re.compile(r"(?:.*/)?(train|valid)/(patient\d+)/([^/]+)/([^/]+)")
_RELEASES = ("CheXpert-v1.0", "CheXpert-v1.0-small")
_BATCH = "CheXpert-v1.0 batch "
_POSITIONS = {"AP": "AP", "PA": "PA"}


def read(root: Path, options: Mapping[str, str]) -> Listing:
    """The rows of both tables.

    -1 (uncertain) and blank (not mentioned) are masked, with two exceptions that the labeller's
    rules imply: a report with "No Finding" has none of the other findings, devices apart, and one
    that has a finding, certain or not, is not Normal.

    Raises:
        DataError: no table, or a path that is not as published.
    """
    split = choice(options, "split", ("all", "train", "valid"), "all")
    base, batches = _images_of(root)
    given = place(options, "labels", base)
    folders = [given, *sorted(given.glob(f"{_BATCH}*"))]
    names = ["train.csv", "valid.csv"] if split == "all" else [f"{split}.csv"]
    found = {name: optional_file(folders, [name]) for name in names}
    tables = [path for path in found.values() if path is not None]
    if not tables:
        find_file(folders, names, "label table of CheXpert (see docs/data.md)")
    frames = [_table(path) for path in tables]
    labels = [_labels(frame, path) for frame, path in zip(frames, tables, strict=True)]
    parts = [_parts(frame, path) for frame, path in zip(frames, tables, strict=True)]
    files = [file for part in parts for file in part]
    return assemble(
        base,
        LABELLED,
        np.concatenate(labels),
        images=[f"{batches.get(f.patient, f.split)}/{f.patient}/{f.study}/{f.name}" for f in files],
        patients=[f.patient for f in files],
        studies=[f"{f.patient}/{f.study}" for f in files],
        views=[view for frame in frames for view in _views(frame)],
        problems={"label table not found": [name for name, path in found.items() if path is None]},
        tables=tables,
    )


class _File(NamedTuple):
    split: str
    patient: str
    study: str
    name: str


def _table(path: Path) -> pd.DataFrame:
    return read_table(path, ["Path", *MEANING], ["Frontal/Lateral", "AP/PA"])


def _parts(table: pd.DataFrame, path: Path) -> list[_File]:
    """What the column Path says. Its first folder is the release's name, which may have changed."""
    files = []
    for row, cell in enumerate(table["Path"]):
        match = _PATH.fullmatch(cell)
        if match is None:
            raise DataError(
                f"{path} line {row + 2}: Path '{cell}' does not end in "
                "train|valid/patient.../study.../view....jpg."
            )
        files.append(_File(*match.groups()))
    return files


def _labels(table: pd.DataFrame, path: Path) -> np.ndarray:
    """(N, 14) uint8; see `read` for what is known without being said."""
    labels = coded_labels(table, [_COLUMNS[name] for name in LABELLED], path)
    raised = table[_FINDINGS].isin(["1", "1.0", "-1", "-1.0"]).to_numpy().any(axis=1)
    normal = labels[:, _NORMAL]
    normal[(normal == UNLABELLED) & raised] = 0
    for column in _FINDINGS:
        values = labels[:, LABELLED.index(MEANING[column])]
        values[(normal == 1) & (values == UNLABELLED)] = 0
    return labels


def _views(table: pd.DataFrame) -> list[str]:
    """PA or AP where said, else the word of the column Frontal/Lateral."""
    empty = [""] * len(table)
    sides = table.get("Frontal/Lateral", empty)
    positions = table.get("AP/PA", empty)
    return [
        "LATERAL"
        if side == "Lateral"
        else _POSITIONS.get(position, "FRONTAL" if side == "Frontal" else "")
        for side, position in zip(sides, positions, strict=True)
    ]


def _images_of(root: Path) -> tuple[Path, dict[str, str]]:
    """The folder above `train` and `valid`; or where each patient is in the unpacked batches."""
    for folder in (root, *(root / name for name in _RELEASES)):
        if (folder / "train").is_dir() or (folder / "valid").is_dir():
            return folder, {}
    batches = {
        patient.name: f"{folder.relative_to(root).as_posix()}"
        for batch in sorted(root.glob(f"{_BATCH}*"))
        for folder in (batch, batch / "valid")
        for patient in folder.glob("patient*")
    }
    return root, batches
