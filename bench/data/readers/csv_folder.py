"""A folder of images with a `labels.csv`: for everybody whose data has no reader of its own.

Columns: `image` (path inside the folder) and `patient_id` are needed, and at least one class of
CXR-LT 2024 by its name. `study_id`, `view`, `source`, `report_findings` and `report_impression`
are used where present; other columns are ignored and listed. A label is 1, 0 or empty; empty means
that the source does not say, and is masked. Columns of other names are given as
`columns=image=file;patient_id=subject;Pleural Effusion=effusion`.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.classes import CLASSES
from bench.data.listing import UNLABELLED, Listing
from bench.errors import DataError, UsageError, unknown

if TYPE_CHECKING:
    import pandas as pd

VERSION = 3
NEEDED = ("image", "patient_id")
OPTIONAL = ("study_id", "view", "source", "report_findings", "report_impression")
# DICOM view codes and the words that public sets use for a picture taken from the side.
_LATERAL = {"LATERAL", "LL", "RL", "LLD", "LAT", "L"}
_FRONTAL = {"PA", "AP", "FRONTAL"}
_IDENTIFIERS = ("image", "patient_id", "study_id", "source")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
# What other collections call classes of ours, where no spelling would tell.
_OTHER_NAMES = {
    "effusion": "Pleural Effusion",
    "no finding": "Normal",
    "no findings": "Normal",
    "airspace opacity": "Lung Opacity",
    "subcutaneous air": "Subcutaneous Emphysema",
    "hiatal hernia": "Hernia",
    "rounded atelectasis": "Round(ed) Atelectasis",
    "lymphadenopathy": "Adenopathy",
    "medical device": "Support Devices",
}


def read(root: Path, options: Mapping[str, str]) -> Listing:
    """The rows of a folder's `labels.csv`, or of the CSV file that `root` is.

    Raises:
        DataError: no label file, a missing column or a bad label.
        UsageError: a mapping of columns that cannot be meant.
    """
    file = root / "labels.csv" if root.is_dir() else root
    if not file.is_file():
        raise DataError(f"No label file at {file}. --data csv:PATH takes a folder with labels.csv.")
    table = _read_table(_bytes(file), file, _mapping(options.get("columns", "")))
    labels, classes, unused = _labels(table, file)
    return Listing(
        root=file.parent.resolve(),
        images=table["image"].tolist(),
        patients=table["patient_id"].tolist(),
        studies=_studies(table),
        views=[_view(text) for text in _column(table, "view")],
        classes=classes,
        labels=labels,
        sources=_column(table, "source"),
        findings=_column(table, "report_findings"),
        impressions=_column(table, "report_impression"),
        problems={
            "column that is not used": unused,
            "view that is not known, taken for frontal": _unknown_views(table),
        },
        tables=(file,),
        lines=table.index.tolist(),
        name=file.parent.resolve().name,
    )


def _mapping(text: str) -> dict[str, str]:
    """A file's column -> the name it has here."""
    names: dict[str, str] = {}
    for pair in filter(None, text.split(";")):
        ours, sign, theirs = (part.strip() for part in pair.partition("="))
        if not sign or not theirs:
            raise UsageError(f"columns={text}: '{pair}' is not OURS=COLUMN. Separate pairs by ';'.")
        known = {_folded(name): name for name in (*NEEDED, *OPTIONAL, *CLASSES)}
        if _folded(ours) not in known:
            raise UsageError(unknown("column", ours, known.values()))
        names[theirs] = known[_folded(ours)]
    return names


def _folded(name: str) -> str:
    """A name without what people vary: case, and what stands between words."""
    return re.sub(r"[\s_-]+", " ", name.strip()).casefold()


def _view(text: str) -> str:
    view = text.strip().upper()
    return "LATERAL" if view in _LATERAL else view if view in _FRONTAL else ""


def _unknown_views(table: pd.DataFrame) -> list[str]:
    """The words in the column `view` that are none of ours, once each."""
    words = dict.fromkeys(text.strip() for text in _column(table, "view"))
    return [word for word in words if word and not _view(word)]


def _studies(table: pd.DataFrame) -> list[str]:
    """A row without a study is a study of its own."""
    images = table["image"]
    if "study_id" not in table:
        return images.tolist()
    return table["study_id"].where(table["study_id"] != "", images).tolist()


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error


def _read_table(content: bytes, file: Path, names: Mapping[str, str]) -> pd.DataFrame:
    """The rows by the line of the file they begin in, identifiers without blanks around them."""
    import pandas as pd

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not a UTF-8 CSV table: {error}") from error
    header, rows = _parse(text, file)
    header = _renamed(header, names, file)
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


def _renamed(header: list[str], names: Mapping[str, str], file: Path) -> list[str]:
    """The header in our names: as mapped, else as spelt here but for case and separators."""
    for theirs in names:
        if theirs not in header:
            raise UsageError(f"columns: {file} has no column. {unknown('column', theirs, header)}")
    taken = set(header) | set(names.values())
    ours = {_folded(name): name for name in (*NEEDED, *OPTIONAL, *CLASSES)}

    def name_of(column: str) -> str:
        if column in names:
            return names[column]
        if column in names.values():
            return f"{column} (not used)"  # another column was given in its place
        close = ours.get(_folded(column))
        return close if close is not None and close not in taken else column

    return [name_of(column) for column in header]


def _labels(table: pd.DataFrame, file: Path) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Labels, classes, and the columns that are neither a class nor anything else."""
    classes = tuple(name for name in CLASSES if name in table)
    folded = {_folded(name): name for name in CLASSES}
    unused = []
    for column in map(str, table.columns):
        if column in CLASSES or column in NEEDED + OPTIONAL:
            continue
        close = difflib.get_close_matches(_folded(column), folded, n=1, cutoff=0.9)
        if close and folded[close[0]] not in classes:
            meant = folded[close[0]]
            raise DataError(
                f"{file} has a column '{column}'. Did you mean the class '{meant}'? Rename the "
                f"column or say columns={meant}={column}, or give it a name of its own if it is "
                "something else."
            )
        other = _OTHER_NAMES.get(_folded(column))
        hint = f" (if it is '{other}': columns={other}={column})" if other else ""
        unused.append(column + (hint if other not in classes else ""))
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
    return labels, classes, unused


def _column(table: pd.DataFrame, name: str) -> list[str]:
    return table[name].tolist() if name in table else [""] * len(table)
