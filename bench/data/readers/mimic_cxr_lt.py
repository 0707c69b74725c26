"""CXR-LT 2024 or 2023 labels on MIMIC-CXR-JPG images, with MIMIC-CXR reports where they are given.

    mimic-cxr-lt:DIR[,labels=DIR][,reports=DIR|ZIP][,year=2024|2023][,task=1|2|3|all][,split=...]

DIR is MIMIC-CXR-JPG 2.0.0 or 2.1.0 (same file names), or a folder with a shrunken copy of its
tree, such as `files-512`. `labels` is the unpacked CXR-LT 2.0.0; the splits of 2023 and 2024
differ, so the two are never mixed. `reports` is MIMIC-CXR's `mimic-cxr-reports.zip` or its folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.classes import CLASSES
from bench.data.listing import Listing
from bench.data.reading import (
    assemble,
    choice,
    listed,
    place,
    unknown_views,
)
from bench.data.reports import Reports, parse_report
from bench.data.tables import coded_labels, find_file, optional_file, read_table
from bench.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1

_RELEASE = "cxr-lt-multi-label-long-tailed-classification-on-chest-x-rays-2.0.0"
_IDS = ("dicom_id", "subject_id", "study_id")
_SPLITS = {
    "train": "train", "development": "development", "dev": "development", "val": "development",
    "validate": "development", "validation": "development", "test": "test",
}  # fmt: skip

# Task 2 of 2024 has the 26 classes of 2023, task 3 five that no training caption holds. Columns
# are named as in the files; `Normal` is called `No Finding` in 2023.
TASK_2 = (
    "Atelectasis", "Calcification of the Aorta", "Cardiomegaly", "Consolidation", "Edema",
    "Emphysema", "Enlarged Cardiomediastinum", "Fibrosis", "Fracture", "Hernia", "Infiltration",
    "Lung Lesion", "Lung Opacity", "Mass", "Nodule", "Normal", "Pleural Effusion", "Pleural Other",
    "Pleural Thickening", "Pneumomediastinum", "Pneumonia", "Pneumoperitoneum", "Pneumothorax",
    "Subcutaneous Emphysema", "Support Devices", "Tortuous Aorta",
)  # fmt: skip
TASK_3 = ("Bulla", "Cardiomyopathy", "Hilum", "Osteopenia", "Scoliosis")
COLUMNS_2023 = {"Normal": "No Finding"}

# (year, task) -> classes, and the file of each split. `labels.csv` holds all splits and says in its
# column `split` which one a row belongs to.
LABEL_SETS: Mapping[tuple[str, str], tuple[tuple[str, ...], Mapping[str, str]]] = {
    ("2024", "1"): (CLASSES, {
        "train": "train_labeled.csv",
        "development": "development_labeled_task1.csv",
        "test": "test_labeled_task1.csv",
    }),
    ("2024", "2"): (TASK_2, {
        "train": "train_labeled.csv",
        "development": "development_labeled_task2.csv",
        "test": "test_labeled_task2.csv",
    }),
    ("2024", "3"): (TASK_3, {
        "train": "labels.csv",
        "development": "development_labeled_task3.csv",
        "test": "test_labeled_task3.csv",
    }),
    ("2024", "all"): (CLASSES + TASK_3, {
        "train": "labels.csv", "development": "labels.csv", "test": "labels.csv",
    }),
    ("2023", "2"): (TASK_2, {
        "train": "train.csv", "development": "development.csv", "test": "test.csv",
    }),
}  # fmt: skip

VIEWS = {
    "AP": "AP", "PA": "PA", "AP AXIAL": "AP", "AP LLD": "AP", "AP RLD": "AP", "PA LLD": "PA",
    "PA RLD": "PA", "LAO": "FRONTAL", "RAO": "FRONTAL", "LATERAL": "LATERAL", "LL": "LATERAL",
    "RL": "LATERAL", "XTABLE LATERAL": "LATERAL", "SWIMMERS": "OTHER",
}  # fmt: skip
"""ViewPosition -> our word. The obliques LAO and RAO (6 training images) count as frontal, as in
the published count of 166,508 frontal training images."""
_MEANINGS = {
    "antero-posterior": "AP", "postero-anterior": "PA", "lateral": "LATERAL",
    "left lateral": "LATERAL", "right lateral": "LATERAL",
}  # fmt: skip


def read(root: Path, options: Mapping[str, str]) -> Listing:
    """The rows of the label tables, with the reports' texts.

    Raises:
        UsageError: an option that does not exist, or a task that the year does not have.
        DataError: no image tree, label table or report, or a table that is not as published.
    """
    year = choice(options, "year", ("2024", "2023"), "2024")
    task = choice(options, "task", ("1", "2", "3", "all"), "1" if year == "2024" else "2")
    wanted = choice(options, "split", ("all", "train", "development", "test"), "all")
    if (year, task) not in LABEL_SETS:
        raise UsageError(f"CXR-LT {year} has no task={task}; it has the 26 classes of task=2.")
    classes, files = LABEL_SETS[year, task]
    splits = [split for split in files if wanted in ("all", split)]
    table, labels, paths, missing = _tables(_label_folders(root, options, year), year, task, splits)
    tree, prefix = _tree(root)
    images = _images(table, prefix)
    views = _views(table)
    listing = assemble(
        tree,
        classes,
        labels,
        images=images,
        patients=table["subject_id"].tolist(),
        studies=table["study_id"].tolist(),
        views=views,
        omit=unknown_views(views, options),
        problems={
            "label table not found": missing,
            "path does not fit the ids": _strange_paths(table, images),
        },
        tables=paths,
    )
    return _with_reports(listing, root, options)


def _label_folders(root: Path, options: Mapping[str, str], year: str) -> list[Path]:
    given = place(options, "labels", root)
    starts = [given] if "labels" in options else [root, root.parent]
    return [
        folder
        for start in starts
        for folder in (start / f"cxr-lt-{year}", start / _RELEASE / f"cxr-lt-{year}", start)
    ]


def _tables(
    folders: list[Path], year: str, task: str, splits: list[str]
) -> tuple[pd.DataFrame, np.ndarray, list[Path], list[str]]:
    """All rows of the splits, their labels, the files read, and the files that are not there."""
    import pandas as pd

    classes, files = LABEL_SETS[year, task]
    columns = [COLUMNS_2023.get(name, name) if year == "2023" else name for name in classes]
    frames: list[pd.DataFrame] = []
    labels: list[np.ndarray] = []
    paths: list[Path] = []
    missing: list[str] = []
    for name in dict.fromkeys(files[split] for split in splits):
        path = optional_file(folders, [name])
        if path is None:
            missing.append(name)
            continue
        mine = [split for split in splits if files[split] == name]
        frame, values = _table(path, columns, mine)
        frames.append(frame)
        labels.append(values)
        paths.append(path)
    if not paths:
        find_file(folders, missing, f"label table of CXR-LT {year} (PhysioNet, see docs/data.md)")
    return pd.concat(frames, ignore_index=True), np.concatenate(labels), paths, missing


def _table(path: Path, columns: list[str], splits: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Identifiers, views and paths of one file, and its labels in the order of `columns`."""
    wanted = ("ViewPosition", "ViewCodeSequence_CodeMeaning", "fpath", "path")
    mixed = path.name.removesuffix(".gz") == "labels.csv"
    table = read_table(path, [*_IDS, *columns, *(["split"] if mixed else [])], wanted)
    if mixed:
        named = table["split"].str.lower().map(_SPLITS)
        if named.isna().any():
            row = int(np.flatnonzero(named.isna().to_numpy())[0])
            raise DataError(
                f"{path} line {row + 2}: split '{table['split'].iloc[row]}' is none of "
                f"{', '.join(_SPLITS)}."
            )
        table = table[named.isin(splits)].reset_index(drop=True)
    _refuse_blank(table, path)
    labels = coded_labels(table, columns, path)
    if "fpath" in table:
        table = table.rename(columns={"fpath": "file"})
    elif "path" in table:
        table = table.rename(columns={"path": "file"})
    table["study_id"] = "s" + table["study_id"].str.removeprefix("s")
    return table.drop(columns=columns), labels


def _refuse_blank(table: pd.DataFrame, path: Path) -> None:
    for column in _IDS:
        empty = np.flatnonzero((table[column] == "").to_numpy())
        if len(empty):
            raise DataError(f"{path}: {column} of data row {empty[0] + 1} is empty.")


def _tree(root: Path) -> tuple[Path, str]:
    """The folder that images are named from, and the first part of their names.

    Raises:
        DataError: there are no folders p10 to p19.
    """
    places = (
        (root, "files"),
        (root, "files-512"),
        *((root / "physionet.org/files/mimic-cxr-jpg" / v, "files") for v in ("2.1.0", "2.0.0")),
        *((root / "mimic-cxr-jpg" / v, "files") for v in ("2.1.0", "2.0.0")),
        *((root / v, "files") for v in ("2.1.0", "2.0.0")),
        (root, ""),
    )
    for folder, prefix in places:
        if any((folder / prefix).glob("p1[0-9]")):
            return folder, prefix
    shrunken = sorted(p for p in root.glob("files-*") if any(p.glob("p1[0-9]")))
    if len(shrunken) == 1:
        return root, shrunken[0].name
    more = f" Several are there; name one: {', '.join(map(str, shrunken))}." if shrunken else ""
    raise DataError(
        f"No MIMIC-CXR-JPG images below {root}: expected files/p10 to files/p19, or the folder "
        f"with p10 to p19 itself.{more}"
    )


def _images(table: pd.DataFrame, prefix: str) -> list[str]:
    """Path of each row below the tree: that of the table, or made from the identifiers."""
    made = _made_paths(table)
    if "file" in table:
        given = table["file"].str.removeprefix("files/")
        made = given.where(given != "", made)
    return [f"{prefix}/{path}" if prefix else path for path in made.tolist()]


def _made_paths(table: pd.DataFrame) -> pd.Series[str]:
    subject = table["subject_id"]
    return (
        "p" + subject.str[:2] + "/p" + subject + "/" + table["study_id"] + "/"
        + table["dicom_id"] + ".jpg"
    )  # fmt: skip


def _strange_paths(table: pd.DataFrame, images: list[str]) -> list[str]:
    return [
        image
        for image, made in zip(images, _made_paths(table).tolist(), strict=True)
        if not image.endswith(made)
    ]


def _views(table: pd.DataFrame) -> list[str]:
    """Our words for the views; "" where the table gives neither position nor meaning."""
    words = [""] * len(table)
    if "ViewPosition" in table:
        words = [VIEWS.get(v, "OTHER") if v else "" for v in table["ViewPosition"].str.upper()]
    if "ViewCodeSequence_CodeMeaning" in table:
        meant = table["ViewCodeSequence_CodeMeaning"].str.lower().map(_MEANINGS).fillna("")
        words = [word or meaning for word, meaning in zip(words, meant, strict=True)]
    return words


def _with_reports(listing: Listing, root: Path, options: Mapping[str, str]) -> Listing:
    """The listing with the findings and impression of every row's report.

    Without `reports`, a zip file or folder of the name it is published under is looked for
    beside the images.
    """
    source = place(options, "reports", root)
    if "reports" not in options:
        beside = [root / "mimic-cxr-reports.zip", root / "mimic-cxr-reports"]
        found = [path for path in beside if path.exists()]
        if not found:
            return listing
        source = found[0]
    reports = Reports(source)
    keys = list(zip(listing.patients, listing.studies, strict=True))
    studies = list(dict.fromkeys(keys))
    parsed = {}
    absent: list[str] = []
    empty: list[str] = []
    for key, text in zip(studies, reports.texts(studies), strict=True):
        parsed[key] = parse_report(text or "")
        if text is None:
            absent.append(key[1])
        elif not any(parsed[key]):
            empty.append(key[1])
    noticed = {"study without a report": absent, "report that describes no picture": empty}
    return replace(
        listing,
        findings=[parsed[key].findings for key in keys],
        impressions=[parsed[key].impression for key in keys],
        problems={**listing.problems, **listed(noticed)},
        tables=(*listing.tables, *([reports.zip] if reports.zip else [])),
    )
