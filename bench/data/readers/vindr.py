"""VinDr-CXR 1.0.0 (Nguyen et al., Sci. Data 2022): 18,000 PA DICOMs, labels by radiologists.

    vindr:DIR[,labels=DIR][,split=all|train|test]

DIR is the PhysioNet folder with `train`, `test` and `annotations`. Each training image was read
by three radiologists, one row each: the label is their majority. Test images have one row, agreed
upon by five. The publisher gives no patients, so every image is a patient of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.classes import CLASSES
from bench.data.listing import UNLABELLED, Listing
from bench.data.reading import assemble, choice, folders_of_files, listed, place
from bench.data.tables import coded_labels, find_file, optional_file, read_table

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1

TABLES = {"train": "image_labels_train.csv", "test": "image_labels_test.csv"}
MEANING = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Clavicle fracture": "Clavicle Fracture",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Emphysema": "Emphysema",
    "Infiltration": "Infiltration",
    "Lung Opacity": "Lung Opacity",
    "No finding": "Normal",
    "Nodule/Mass": "Lung Lesion",
    "Pleural effusion": "Pleural Effusion",
    "Pleural thickening": "Pleural Thickening",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
    "Pulmonary fibrosis": "Fibrosis",
    "Rib fracture": "Rib Fracture",
    "Tuberculosis": "Tuberculosis",
}
"""Column -> class. Of the 28 columns, these have no class of the same meaning here: Aortic
enlargement, Calcification, COPD, Enlarged PA, ILD, Lung cavity, Lung cyst, Lung tumor,
Mediastinal shift, Other lesion, Other disease(s)."""
LABELLED = tuple(name for name in CLASSES if name in MEANING.values())
_COLUMNS = {name: column for column, name in MEANING.items()}
_READERS = 3
_ENDINGS = (".dicom", ".dcm", ".png", ".jpg", ".jpeg")


def read(root: Path, options: Mapping[str, str]) -> Listing:
    """One row an image.

    Raises:
        DataError: no label table, or a label other than 1, 0 and blank.
    """
    split = choice(options, "split", ("all", *TABLES), "all")
    given = place(options, "labels", root)
    folders = [given / "annotations", given]
    wanted = list(TABLES) if split == "all" else [split]
    found = {name: optional_file(folders, [TABLES[name]]) for name in wanted}
    if not any(found.values()):
        find_file(folders, [TABLES[name] for name in wanted], "label table of VinDr-CXR")
    images: list[str] = []
    names: list[str] = []
    labels: list[np.ndarray] = []
    problems: dict[str, list[str]] = {
        "label table not found": [TABLES[name] for name, path in found.items() if path is None]
    }
    tables = [path for path in found.values() if path is not None]
    for name, path in found.items():
        if path is None:
            continue
        ids, values, odd = _images(path)
        files = _stems(folders_of_files(root, [name]))
        images += [files.get(image, f"{name}/{image}.dicom") for image in ids]
        names += ids
        labels.append(values)
        problems |= odd
    return assemble(
        root,
        LABELLED,
        np.concatenate(labels),
        images=images,
        patients=names,
        studies=names,
        views=["PA"] * len(images),
        problems=problems,
        tables=tables,
    )


def _images(path: Path) -> tuple[list[str], np.ndarray, dict[str, list[str]]]:
    """The images of a table in its order, their labels, and those not read by three readers."""
    table = read_table(path, ["image_id", *MEANING], ["rad_id"])
    votes = coded_labels(table, [_COLUMNS[name] for name in LABELLED], path)
    if "rad_id" not in table:
        return table["image_id"].tolist(), votes, {}
    names, repeated = _one_row_a_reader(table)
    ids, group = np.unique(table["image_id"].to_numpy()[names], return_inverse=True)
    votes = votes[names]
    positive = np.zeros((len(ids), len(LABELLED)), int)
    negative = np.zeros_like(positive)
    np.add.at(positive, group, votes == 1)
    np.add.at(negative, group, votes == 0)
    labels = np.full(positive.shape, UNLABELLED, np.uint8)
    labels[positive > negative] = 1
    labels[positive < negative] = 0
    counts = np.bincount(group, minlength=len(ids))
    return (
        ids.tolist(),
        labels,
        listed(
            {
                "image not read by three radiologists": ids[counts != _READERS].tolist(),
                "row given twice by one radiologist": repeated,
            }
        ),
    )


def _one_row_a_reader(table: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Rows with each reader's first word on an image, and the images with a second one."""
    again = table.duplicated(["image_id", "rad_id"]).to_numpy()
    return np.flatnonzero(~again), table["image_id"][again].tolist()


def _stems(files: Mapping[str, str]) -> dict[str, str]:
    """Image id -> path, the publisher's ending before those of converted copies."""
    found: dict[str, str] = {}
    for ending in _ENDINGS:
        for name, path in files.items():
            if name.endswith(ending):
                found.setdefault(name.removesuffix(ending), path)
    return found
