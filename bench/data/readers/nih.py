"""NIH ChestX-ray14 (Wang et al., CVPR 2017): 112,120 PNGs of 30,805 patients, 14 text-mined labels.

    nih:DIR[,labels=DIR][,split=all|train_val|test]

DIR holds the PNGs in `images`, in `images_001/images` to `images_012/images`, or itself; `labels`
(else DIR) holds `Data_Entry_2017_v2020.csv` or the older `Data_Entry_2017.csv`, whose lines end
in a comma, and `train_val_list.txt` and `test_list.txt` for the official split.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bench.classes import CLASSES
from bench.data.listing import UNLABELLED, Listing
from bench.data.reading import assemble, choice, folders_of_files, from_findings, place
from bench.data.tables import find_file, read_table
from bench.errors import DataError

VERSION = 1

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}
FOLDERS = ("images", *(f"images_{part:03d}/images" for part in range(1, 13)), "")
NO_FINDING = "No Finding"
MEANING: Mapping[str, tuple[str, ...]] = {
    "Atelectasis": ("Atelectasis",),
    "Cardiomegaly": ("Cardiomegaly",),
    "Consolidation": ("Consolidation",),
    "Edema": ("Edema",),
    "Effusion": ("Pleural Effusion",),
    "Emphysema": ("Emphysema",),
    "Fibrosis": ("Fibrosis",),
    "Hernia": ("Hernia",),
    "Infiltration": ("Infiltration",),
    "Mass": ("Mass",),
    "Nodule": ("Nodule",),
    "Pleural_Thickening": ("Pleural Thickening",),
    "Pneumonia": ("Pneumonia",),
    "Pneumothorax": ("Pneumothorax",),
    NO_FINDING: ("Normal",),
}
"""Finding -> classes. "No Finding" says that none of the other 14 was found in the report."""
LABELLED = tuple(name for name in CLASSES if (name,) in MEANING.values())
VIEWS = {"PA": "PA", "AP": "AP"}


def read(root: Path, options: Mapping[str, str]) -> Listing:
    """The rows of the table. A row without a finding's name is masked, as is the class Normal of
    one that has "No Finding" beside a finding.

    Raises:
        DataError: no table, or no list of the split that was asked for.
    """
    split = choice(options, "split", ("all", *LISTS), "all")
    folder = place(options, "labels", root)
    path = find_file([folder], TABLES, "label table of NIH ChestX-ray14 (see docs/data.md)")
    table = read_table(path, ["Image Index", "Finding Labels", "Patient ID"], ["View Position"])
    names = table["Image Index"].tolist()
    found = [
        [part.strip() for part in cell.split("|") if part.strip()]
        for cell in table["Finding Labels"]
    ]
    labels = from_findings(found, MEANING, LABELLED)
    said = np.array([bool(findings) for findings in found], bool)
    torn = np.array([NO_FINDING in f and len(f) > 1 for f in found], bool)
    labels[~said] = UNLABELLED
    labels[torn, LABELLED.index("Normal")] = UNLABELLED
    where = folders_of_files(root, FOLDERS)
    tables = [path]
    omit: list[str] = []
    if split != "all":
        tables.append(find_file([folder], [LISTS[split]], f"list of the {split} images"))
        chosen = _names(tables[-1])
        omit = ["" if name in chosen else "not in this split" for name in names]
    return assemble(
        root,
        LABELLED,
        labels,
        images=[where.get(name, f"images/{name}") for name in names],
        patients=table["Patient ID"].tolist(),
        # Every picture is a visit of its own (Follow-up #), so the name without its ending is one.
        studies=[name.removesuffix(".png") for name in names],
        views=[VIEWS.get(v, "FRONTAL") for v in table.get("View Position", [""] * len(names))],
        omit=omit,
        problems={
            "row without a finding": [n for n, ok in zip(names, said, strict=True) if not ok],
            "No Finding beside a finding": [n for n, bad in zip(names, torn, strict=True) if bad],
            "finding that is not one of the 15": [
                f"{name}: {finding}"
                for name, findings in zip(names, found, strict=True)
                for finding in findings
                if finding not in MEANING
            ],
        },
        tables=tables,
    )


def _names(path: Path) -> set[str]:
    try:
        return set(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
