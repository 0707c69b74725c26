"""PadChest (Bustos et al., Med. Image Anal. 2020): 160,868 16-bit PNGs with labels from reports.

    padchest:DIR[,labels=DIR][,task=1|3][,by=all|physician]

`labels` (else DIR) holds `PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv`. The PNGs lie in
the folders "0" to "54" that its column ImageDir names, in `images`, or in DIR itself. 27 % of the
reports were labelled by physicians (`by=physician`), the others by a network trained on those.
Patient ids are numbers of some 38 digits and are text here. The reports' text is Spanish.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.classes import CLASSES
from bench.data.listing import UNLABELLED, Listing
from bench.data.reading import (
    assemble,
    choice,
    from_findings,
    place,
    refuse_rounded,
    unknown_views,
)
from bench.data.tables import find_file, read_table

VERSION = 1

TABLES = (
    "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
    "PADCHEST_chest_x_ray_images_labels_160K.csv",
)
VIEWS = {
    "PA": "PA", "AP": "AP", "AP_HORIZONTAL": "AP", "L": "LATERAL", "COSTAL": "OTHER",
    "EXCLUDE": "OTHER", "UNK": "", "": "",
}  # fmt: skip
EXCLUDE = "exclude"
UNCHANGED = "unchanged"

CLASS_OF: Mapping[str, tuple[str, ...]] = {
    "Adenopathy": ("adenopathy",),
    "Atelectasis": (
        "atelectasis", "atelectasis basal", "laminar atelectasis", "lobar atelectasis",
        "round atelectasis", "segmental atelectasis", "total atelectasis",
    ),
    "Azygos Lobe": ("azygos lobe",),
    "Calcification of the Aorta": ("aortic atheromatosis",),
    "Cardiomegaly": ("cardiomegaly",),
    "Clavicle Fracture": ("clavicle fracture",),
    "Consolidation": ("consolidation",),
    "Edema": ("pulmonary edema",),
    "Emphysema": ("emphysema",),
    "Enlarged Cardiomediastinum": ("mediastinal enlargement", "superior mediastinal enlargement"),
    "Fibrosis": ("pulmonary fibrosis",),
    "Fissure": (
        "fissure thickening", "loculated fissural effusion", "major fissure thickening",
        "minor fissure thickening",
    ),
    "Fracture": (
        "callus rib fracture", "clavicle fracture", "fracture", "humeral fracture", "rib fracture",
        "vertebral fracture",
    ),
    "Granuloma": ("calcified granuloma", "granuloma"),
    "Hernia": ("hiatal hernia",),
    "Hydropneumothorax": ("hydropneumothorax",),
    "Infiltration": ("infiltrates",),
    "Kyphosis": ("kyphosis",),
    "Lobar Atelectasis": ("lobar atelectasis",),
    "Lung Lesion": (
        "cavitation", "lung metastasis", "mass", "multiple nodules", "nodule", "pulmonary mass",
    ),
    "Lung Opacity": (
        "air bronchogram", "alveolar pattern", "consolidation", "ground glass pattern",
        "increased density", "infiltrates", "interstitial pattern", "miliary opacities",
        "reticular interstitial pattern", "reticulonodular interstitial pattern",
    ),
    "Mass": ("mass", "pulmonary mass"),
    "Nodule": ("multiple nodules", "nodule"),
    "Normal": ("normal",),
    "Pleural Effusion": (
        "empyema", "hemothorax", "hydropneumothorax", "loculated fissural effusion",
        "loculated pleural effusion", "pleural effusion",
    ),
    "Pleural Other": ("calcified pleural plaques", "pleural mass", "pleural plaques"),
    "Pleural Thickening": (
        "apical pleural thickening", "calcified pleural thickening", "pleural thickening",
    ),
    "Pneumomediastinum": ("pneumomediastinum",),
    "Pneumonia": ("atypical pneumonia", "pneumonia"),
    "Pneumoperitoneum": ("pneumoperitoneo",),
    "Pneumothorax": ("hydropneumothorax", "pneumothorax"),
    "Pulmonary Hypertension": ("pulmonary artery hypertension", "pulmonary hypertension"),
    "Rib Fracture": ("callus rib fracture", "rib fracture"),
    "Round(ed) Atelectasis": ("round atelectasis",),
    "Subcutaneous Emphysema": ("subcutaneous emphysema",),
    "Support Devices": (
        "aortic endoprosthesis", "artificial aortic heart valve", "artificial heart valve",
        "artificial mitral heart valve", "catheter", "central venous catheter",
        "central venous catheter via jugular vein", "central venous catheter via subclavian vein",
        "central venous catheter via umbilical vein", "chest drain tube", "dai",
        "dual chamber device", "electrical device", "endoprosthesis", "endotracheal tube",
        "gastrostomy tube", "nsg tube", "pacemaker", "reservoir central venous catheter",
        "single chamber device", "tracheostomy tube", "ventriculoperitoneal drain tube",
    ),
    "Tortuous Aorta": (
        "aortic elongation", "ascendent aortic elongation", "descendent aortic elongation",
        "supra aortic elongation",
    ),
    "Tuberculosis": ("tuberculosis", "tuberculosis sequelae"),
    "Bulla": ("bullas",),
    "Osteopenia": ("osteopenia",),
    "Scoliosis": ("scoliosis",),
}  # fmt: skip
"""Class -> the publisher's labels, in small letters. What lies below a label in the publisher's
tree is under its class too (an empyema is a pleural effusion). No label means Infarction or
Pulmonary Embolism."""
TASKS = {
    "1": tuple(name for name in CLASSES if name in CLASS_OF),
    "3": tuple(name for name in CLASS_OF if name not in CLASSES),
}
MEANING: Mapping[str, tuple[str, ...]] = {
    label: tuple(name for name, labels in CLASS_OF.items() if label in labels)
    for label in {label for labels in CLASS_OF.values() for label in labels}
}
_LABEL = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def read(root: Path, options: Mapping[str, str]) -> Listing:
    """The rows of the table.

    Rows without a label are masked; so is what a row labelled "unchanged" does not name, since its
    report refers to an earlier one. Rows labelled "exclude", and pictures whose projection is
    EXCLUDE, are left out.

    Raises:
        DataError: no table, or patient ids that were rounded.
    """
    classes = TASKS[choice(options, "task", tuple(TASKS), "1")]
    by = choice(options, "by", ("all", "physician"), "all")
    folder = place(options, "labels", root)
    path = find_file([folder], TABLES, "label table of PadChest (see docs/data.md)")
    table = read_table(
        path,
        ["ImageID", "StudyID", "PatientID", "Projection", "MethodLabel", "Labels"],
        ["ImageDir", "Report"],
    )
    refuse_rounded(table["PatientID"].tolist(), "PatientID", path)
    names = table["ImageID"].tolist()
    found = [parse_labels(cell) for cell in table["Labels"]]
    meaning = {label: [n for n in MEANING[label] if n in classes] for label in MEANING}
    labels = from_findings(found, meaning, classes)
    said = np.array([bool(labels_) for labels_ in found], bool)
    unchanged = np.array([UNCHANGED in labels_ for labels_ in found], bool)
    labels[~said] = UNLABELLED
    labels[unchanged[:, None] & (labels == 0)] = UNLABELLED
    projections = table["Projection"].str.upper().tolist()
    views = [view(word) for word in projections]
    rows = zip(found, projections, table["MethodLabel"], strict=True)
    omit = [
        _reason(labels_, projection, method, by) or unknown
        for (labels_, projection, method), unknown in zip(
            rows, unknown_views(views, options), strict=True
        )
    ]
    return assemble(
        root,
        classes,
        labels,
        images=image_paths(root, names, table["ImageDir"].tolist() if "ImageDir" in table else []),
        patients=table["PatientID"].tolist(),
        studies=table["StudyID"].tolist(),
        views=views,
        omit=omit,
        findings=table["Report"].tolist() if "Report" in table else [],
        problems={
            "row without a label": [n for n, ok in zip(names, said, strict=True) if not ok],
        },
        tables=[path],
    )


def view(projection: str) -> str:
    """Our word for a value of the column Projection."""
    return VIEWS.get(projection.upper(), "OTHER")


def _reason(labels: Sequence[str], projection: str, method: str, by: str) -> str:
    """Why a row is not used, "" where it is."""
    if EXCLUDE in labels or projection == EXCLUDE.upper():
        return "excluded by the publisher"
    if by == "physician" and method.lower() != "physician":
        return "not labelled by a physician"
    return ""


def parse_labels(cell: str) -> list[str]:
    """The labels of a cell, which is a Python list as text, in small letters and without blanks.

    >>> parse_labels("['pleural effusion', ' NSG tube', '']")
    ['pleural effusion', 'nsg tube']
    """
    words = (" ".join((one or two).split()).lower() for one, two in _LABEL.findall(cell))
    return [word for word in words if word]


def image_paths(root: Path, names: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Where the images lie: in their numbered folder, in `images`, or beside one another.

    Args:
        folders: the value of ImageDir of each image; empty where the table has none.
    """
    flat = "images/" if (root / "images").is_dir() else ""
    numbered = {
        number: next(
            (f"{above}{number}/" for above in ("", "images/") if (root / above / number).is_dir()),
            flat,
        )
        for number in set(folders)
        if number.isdecimal()
    }
    inside = [numbered.get(number, flat) for number in folders] or [flat] * len(names)
    return [f"{folder}{name}" for folder, name in zip(inside, names, strict=True)]
