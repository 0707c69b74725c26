"""A folder of images with a `labels.csv`: for everybody whose data has no reader of its own.

Columns: `image` (path inside the folder) and `patient_id` are needed, and at least one class of
CXR-LT 2024 by its name. `study_id`, `view`, `source`, `report_findings` and `report_impression`
are used where present; other columns are ignored. A label is 1, 0 or empty; empty means that the
source does not say, and is masked.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.classes import CLASSES
from bench.data.dataset import DataSpec, cache_folder
from bench.data.decode import read_square
from bench.data.store import UNLABELLED, Rows, finish_store, is_finished, new_store
from bench.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
NEEDED = ("image", "patient_id")
OPTIONAL = ("study_id", "view", "source", "report_findings", "report_impression")
# DICOM view codes and the words that public sets use for a picture taken from the side.
_LATERAL = {"LATERAL", "LL", "RL", "LLD", "LAT", "L"}
_SHOWN = 5


def prepare(spec: DataSpec, size: int, skip_unreadable: bool) -> Path:
    """The finished store of a CSV folder at `size` pixels, made on first use.

    Raises:
        DataError: no label file, a missing column, a bad label, or images that cannot be read
            (unless `skip_unreadable`).
    """
    views = spec.options.get("views", "frontal")
    if views not in {"frontal", "all"}:
        raise UsageError(f"views={views} is neither 'frontal' nor 'all'.")
    file = Path(str(spec.path)).expanduser()
    if file.is_dir():
        file = file / "labels.csv"
    if not file.is_file():
        raise DataError(f"No label file at {file}. --data csv:PATH takes a folder with labels.csv.")
    root = file.parent.resolve()
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    key = json.dumps([VERSION, str(root), content, size, views, skip_unreadable])
    name = root.name
    target = cache_folder() / f"csv-{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if is_finished(target):
        return target
    table = _read_table(file)
    table, left_out = _select_views(table, views)
    labels, classes = _labels(table, file)
    paths = _inside(root, table["image"].tolist(), file)
    with new_store(target) as folder:
        pixels = np.lib.format.open_memmap(
            folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(len(table), size, size)
        )
        boxes = np.zeros((len(table), 4), np.int16)
        unreadable: dict[str, str] = {}
        kept = np.ones(len(table), bool)
        for row, path in enumerate(paths):
            try:
                pixels[row], boxes[row] = read_square(path, size)
            except DataError as error:
                unreadable[table["image"].iloc[row]] = str(error)
                kept[row] = False
        _refuse_unreadable(unreadable, len(table), root, skip_unreadable)
        if not kept.all():
            np.save(folder / "pixels.npy", np.ascontiguousarray(pixels[kept]))
        del pixels
        table = table[kept]
        finish_store(
            folder,
            name,
            Rows(
                classes=classes,
                labels=labels[kept],
                images=table["image"].tolist(),
                patients=table["patient_id"].tolist(),
                studies=(table["study_id"] if "study_id" in table else table["image"]).tolist(),
                sources=_column(table, "source"),
                findings=_column(table, "report_findings"),
                impressions=_column(table, "report_impression"),
                boxes=boxes[kept],
                left_out=left_out | unreadable,
            ),
            made_from={"reader": "csv", "version": VERSION, "labels_sha256": content, "size": size},
        )
    return target


def _read_table(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not a UTF-8 CSV table: {error}") from error
    for column in NEEDED:
        if column not in table:
            close = difflib.get_close_matches(column, list(table.columns), n=1)
            hint = f" Is it '{close[0]}'? Rename it." if close else ""
            raise DataError(
                f"{file} has no column '{column}'.{hint} Needed: {', '.join(NEEDED)} and at least "
                f"one class. Found: {', '.join(map(str, table.columns[:12]))}."
            )
        empty = np.flatnonzero((table[column].str.strip() == "").to_numpy())
        if len(empty):
            raise DataError(f"{file} line {empty[0] + 2}: '{column}' is empty.")
    repeated = table["image"][table["image"].duplicated()]
    if len(repeated):
        raise DataError(
            f"{file} names {len(repeated)} images twice, first '{repeated.iloc[0]}'. Keep one row "
            "an image."
        )
    return table


def _select_views(table: pd.DataFrame, views: str) -> tuple[pd.DataFrame, dict[str, str]]:
    if views == "all" or "view" not in table:
        return table, {}
    lateral = table["view"].str.strip().str.upper().isin(_LATERAL)
    return table[~lateral], dict.fromkeys(table["image"][lateral], "lateral view")


def _labels(table: pd.DataFrame, file: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    classes = tuple(name for name in CLASSES if name in table)
    folded = {name.casefold(): name for name in CLASSES}
    for column in table.columns:
        if column in CLASSES or column in NEEDED + OPTIONAL:
            continue
        close = difflib.get_close_matches(str(column).casefold(), folded, n=1, cutoff=0.9)
        if close and folded[close[0]] not in classes:
            raise DataError(
                f"{file} has a column '{column}'. Did you mean the class '{folded[close[0]]}'? "
                "Rename the column, or give it a name of its own if it is something else."
            )
    if not classes:
        raise DataError(
            f"{file} has no class column. Classes are named as in CXR-LT 2024: "
            f"{', '.join(CLASSES[:5])}, ..."
        )
    labels = np.full((len(table), len(classes)), UNLABELLED, np.uint8)
    for index, name in enumerate(classes):
        values = table[name].str.strip()
        coded = values.map({"1": 1, "0": 0, "1.0": 1, "0.0": 0, "": UNLABELLED})
        bad = np.flatnonzero(coded.isna().to_numpy())
        if len(bad):
            line = int(table.index[bad[0]]) + 2
            raise DataError(
                f"{file} line {line}: '{name}' is '{values.iloc[bad[0]]}'. A label is 1, 0 or "
                "empty (empty = the source does not say)."
            )
        labels[:, index] = coded.to_numpy().astype(np.uint8)
    return labels, classes


def _inside(root: Path, images: list[str], file: Path) -> list[Path]:
    """Paths below `root`; a name that leads out of it is refused, whatever it points to."""
    paths = []
    for line, image in enumerate(images, start=2):
        path = (root / image).resolve()
        if not path.is_relative_to(root):
            raise DataError(f"{file} (row {line}): image '{image}' lies outside {root}.")
        paths.append(path)
    return paths


def _column(table: pd.DataFrame, name: str) -> list[str]:
    return table[name].tolist() if name in table else [""] * len(table)


def _refuse_unreadable(bad: dict[str, str], total: int, root: Path, skip: bool) -> None:
    if not bad:
        return
    if len(bad) == total:
        raise DataError(f"None of the {total} images below {root} can be read.")
    if skip:
        return
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(bad.items())[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    raise DataError(
        f"{len(bad)} of {total} images below {root} cannot be read: {shown}{more}. Mend them, or "
        "leave them out with --skip-unreadable (the record lists them)."
    )
