"""Published tables as text, and their columns as labels: what the readers share."""

from __future__ import annotations

import csv
import difflib
import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from bench.data.listing import UNLABELLED
from bench.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

SPOILT = (OSError, ValueError, EOFError, csv.Error, zlib.error)
"""What reading a table raises that is not one, or whose packed file was cut or damaged."""


def optional_file(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The first of `names` that is a file in one of `folders`, packed (.gz) or not, or None."""
    for folder in folders:
        for name in names:
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    return path
    return None


def find_file(folders: Sequence[Path], names: Sequence[str], what: str) -> Path:
    """As `optional_file`, where there has to be one.

    Args:
        what: the thing that is looked for, and where to get it, for the message.

    Raises:
        DataError: there is none.
    """
    places = [folder / name for folder in folders for name in names]
    found = optional_file(folders, names)
    if found is not None:
        return found
    looked = ", ".join(str(place) for place in places[:4])
    raise DataError(f"No {what}. Looked for {looked}{', ...' if len(places) > 4 else ''}.")


def read_table(path: Path, needed: Sequence[str], wanted: Sequence[str] = ()) -> pd.DataFrame:
    """The columns `needed`, and those of `wanted` that are there, as text; empty cells are "".

    Blanks around names and values are removed. Files that end in .gz are unpacked.

    Raises:
        DataError: the file cannot be read, is no CSV table, lacks a needed column, has one
            twice, or has rows of unequal length.
    """
    import pandas as pd

    header = _header(path)
    names = [name.strip() for name in header]
    for column in needed:
        if column not in names:
            raise DataError(_no_column(path, column, names))
    columns = [column for column in (*needed, *wanted) if column in names]
    for column in columns:
        if names.count(column) > 1:
            raise DataError(f"{path} has {names.count(column)} columns '{column}'. Keep one.")
    use = [header[names.index(column)] for column in columns]
    try:
        _refuse_ragged(path, len(header))
        table = pd.read_csv(
            path,
            usecols=use,
            dtype=str,
            keep_default_na=False,
            index_col=False,
            encoding="utf-8-sig",
        )
    except SPOILT as error:
        raise _no_table(path, error) from error
    table.columns = [str(name).strip() for name in table.columns]
    for column in table.columns:
        table[column] = table[column].str.strip()
    return table


def column_names(path: Path) -> tuple[str, ...]:
    """The names in the first line of a CSV table, without blanks around them.

    Raises:
        DataError: the file cannot be read or is empty.
    """
    return tuple(name.strip() for name in _header(path))


def _header(path: Path) -> list[str]:
    try:
        with _opened(path) as file:
            names = next(csv.reader(file), [])
    except SPOILT as error:
        raise _no_table(path, error) from error
    if not names:
        raise _no_table(path, "it is empty")
    return names


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _no_table(path: Path, why: object) -> DataError:
    return DataError(
        f"{path} cannot be read as a CSV table: {why}. If it came over a network, get it again."
    )


def _refuse_ragged(path: Path, columns: int) -> None:
    """Refuses a table whose rows differ in their number of fields, as those of a cut file do.

    pandas would fill them up or drop the last ones, and labels would move to the next class. All
    rows may have more fields than there are names: NIH's do in one release.
    """
    with _opened(path) as file:
        rows = csv.reader(file)
        next(rows, None)
        width = 0
        line = rows.line_num + 1
        for fields in rows:
            if fields and len(fields) != (width := width or max(len(fields), columns)):
                raise DataError(
                    f"{path} line {line}: {len(fields)} fields where {width} are expected. The "
                    "file was cut or edited; get the publisher's again."
                )
            line = rows.line_num + 1


def _no_column(path: Path, column: str, found: Sequence[str]) -> str:
    close = difflib.get_close_matches(column, found, n=1)
    hint = f" Is it '{close[0]}'?" if close else ""
    return f"{path} has no column '{column}'.{hint} Found: {', '.join(found[:12])}."


LABEL_CODES: Mapping[str, int] = {
    "1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": UNLABELLED, "-1.0": UNLABELLED, "": UNLABELLED,
}  # fmt: skip
"""CheXpert's codes: -1 is "uncertain", which is masked."""


def coded_labels(table: pd.DataFrame, columns: Sequence[str], path: Path) -> np.ndarray:
    """(N, C) uint8 labels of the columns.

    Raises:
        DataError: a cell holds none of the codes; the message names its line.
    """
    labels = np.full((len(table), len(columns)), UNLABELLED, np.uint8)
    for index, column in enumerate(columns):
        coded = table[column].map(LABEL_CODES)
        bad = np.flatnonzero(coded.isna().to_numpy())
        if len(bad):
            raise DataError(
                f"{path} line {bad[0] + 2}: '{column}' is '{table[column].iloc[bad[0]]}'. Known: "
                f"{', '.join(repr(code) for code in LABEL_CODES)}."
            )
        labels[:, index] = coded.to_numpy().astype(np.uint8)
    return labels
