"""A folder of images with a `labels.csv`: for everybody whose data has no reader of its own.

Columns: `image` (path inside the folder) and `patient_id` are needed, and at least one class of
CXR-LT 2024 by its name. `study_id`, `view`, `source`, `report_findings` and `report_impression`
are used where present; other columns are ignored. A label is 1, 0 or empty; empty means that the
source does not say, and is masked.
"""

from __future__ import annotations

import csv
import difflib
import errno
import hashlib
import io
import json
import os
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

VERSION = 2
NEEDED = ("image", "patient_id")
OPTIONAL = ("study_id", "view", "source", "report_findings", "report_impression")
# DICOM view codes and the words that public sets use for a picture taken from the side.
_LATERAL = {"LATERAL", "LL", "RL", "LLD", "LAT", "L"}
_IDENTIFIERS = ("image", "patient_id", "study_id", "source")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
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
    content = _bytes(file)
    labels_sha256 = hashlib.sha256(content).hexdigest()
    table = _read_table(content, file)
    stamps = [_stamp(root, image) for image in table["image"]]
    key = json.dumps([VERSION, str(root), labels_sha256, size, views, skip_unreadable, stamps])
    name = root.name
    target = cache_folder() / f"csv-{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if is_finished(target):
        return target
    paths = _inside(root, table, file)
    table, left_out = _select_views(table, views, file)
    labels, classes = _labels(table, file)
    with new_store(target) as folder:
        pixels = np.lib.format.open_memmap(
            folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(len(table), size, size)
        )
        boxes = np.zeros((len(table), 4), np.int16)
        unreadable: dict[str, str] = {}
        kept = np.ones(len(table), bool)
        for row, line in enumerate(table.index):
            try:
                pixels[row], boxes[row] = read_square(paths[line], size)
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
            made_from={
                "reader": "csv",
                "version": VERSION,
                "labels_sha256": labels_sha256,
                "size": size,
            },
        )
    return target


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error


def _stamp(root: Path, image: str) -> tuple[str, int, int]:
    """What changes when an image is replaced, or mended where there was none."""
    try:
        status = os.stat(os.path.join(root, image))
    except (OSError, ValueError):
        return image, -1, -1
    return image, status.st_size, status.st_mtime_ns


def _read_table(content: bytes, file: Path) -> pd.DataFrame:
    """The rows by the line of the file they begin in, identifiers without blanks around them."""
    import pandas as pd

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not a UTF-8 CSV table: {error}") from error
    header, rows = _parse(text, file)
    _refuse_header(header, text, file)
    table = pd.DataFrame(list(rows.values()), index=list(rows), columns=header, dtype=str)
    for column in _IDENTIFIERS:
        if column in table:
            table[column] = table[column].str.strip()
    for column in NEEDED:
        empty = table.index[table[column] == ""]
        if len(empty):
            raise DataError(f"{file} line {empty[0]}: '{column}' is empty.")
    return table


def _parse(text: str, file: Path) -> tuple[list[str], dict[int, list[str]]]:
    """Header, and the fields of each row by its line; missing ones at its end are empty."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: dict[int, list[str]] = {}
    line = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        line = reader.line_num + 1
        for fields in reader:
            if len(fields) > len(header):
                raise DataError(
                    f"{file} line {line}: {len(fields)} fields under {len(header)} column names. "
                    "Remove commas at the end of the line, and put text that holds a comma in "
                    "double quotes."
                )
            if fields:
                rows[line] = fields + [""] * (len(header) - len(fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{file} line {line} is not CSV: {error}.{_other_separator(text)} A double quote "
            "inside quoted text is written twice."
        ) from error
    return header, rows


def _refuse_header(header: list[str], text: str, file: Path) -> None:
    for column in NEEDED:
        if column not in header:
            close = difflib.get_close_matches(column, header, n=1)
            hint = f" Is it '{close[0]}'? Rename it." if close else ""
            raise DataError(
                f"{file} has no column '{column}'.{_other_separator(text) or hint} Needed: "
                f"{', '.join(NEEDED)} and at least one class. Found: {', '.join(header[:12])}."
            )
    for column in (*NEEDED, *OPTIONAL, *CLASSES):
        if header.count(column) > 1:
            raise DataError(
                f"{file} has {header.count(column)} columns '{column}'. Keep one and rename or "
                "remove the others."
            )


def _other_separator(text: str) -> str:
    """A hint where the first line has no comma but another separator."""
    first = text.split("\n", 1)[0]
    for character, name in _SEPARATORS.items():
        if "," not in first and character in first:
            return f" Its columns seem to be separated by {name}; save it with commas."
    return ""


def _select_views(
    table: pd.DataFrame, views: str, file: Path
) -> tuple[pd.DataFrame, dict[str, str]]:
    if not len(table):
        raise DataError(f"{file}: no image left, for it has a header and no rows.")
    if views == "all" or "view" not in table:
        return table, {}
    lateral = table["view"].str.strip().str.upper().isin(_LATERAL)
    if lateral.all():
        raise DataError(
            f"{file}: no image left, for all {len(table)} are lateral views. To use them: "
            "--data csv:PATH,views=all."
        )
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
            line = table.index[bad[0]]
            raise DataError(
                f"{file} line {line}: '{name}' is '{values.iloc[bad[0]]}'. A label is 1, 0 or "
                "empty (empty = the source does not say)."
            )
        labels[:, index] = coded.to_numpy().astype(np.uint8)
    return labels, classes


def _inside(root: Path, table: pd.DataFrame, file: Path) -> dict[int, Path]:
    """The path of each line's image, all below `root` and each named once, or it is refused."""
    named: dict[Path, tuple[int, str]] = {}
    twice = []
    for line, image in zip(table.index.tolist(), table["image"].tolist(), strict=True):
        try:
            path = _resolved(root / image)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{file} line {line}: image {image!r} cannot be a file ({error}). Mend the name."
            ) from error
        if not path.is_relative_to(root):
            raise DataError(f"{file} line {line}: image '{image}' lies outside {root}.")
        if path in named:
            twice.append((*named[path], line, image))
        named.setdefault(path, (line, image))
    if twice:
        line, image, later, again = twice[0]
        raise DataError(
            f"{file} names {len(twice)} images twice, first '{image}' (line {line}) and '{again}' "
            f"(line {later}). Keep one row an image."
        )
    return {line: path for path, (line, _) in named.items()}


def _resolved(path: Path) -> Path:
    """`path` without links. Unlike `Path.resolve`, a loop is an OSError in every Python."""
    real = Path(os.path.realpath(path))
    try:
        real.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
    return real


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
