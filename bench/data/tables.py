"""Published tables as text, and their columns as labels: what the readers share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data.listing import UNLABELLED
from bench.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def find_file(folders: Iterable[Path], names: Sequence[str], what: str) -> Path:
    """The first of `names` that is a file in one of `folders`, packed (.gz) or not.

    Args:
        what: the thing that is looked for, and where to get it, for the message.

    Raises:
        DataError: there is none.
    """
    places = [folder / name for folder in folders for name in names]
    for place in places:
        for path in (place, place.with_name(place.name + ".gz")):
            if path.is_file():
                return path
    looked = ", ".join(str(place) for place in places[:4])
    raise DataError(f"No {what}. Looked for {looked}{', ...' if len(places) > 4 else ''}.")


def read_table(path: Path, needed: Sequence[str], wanted: Sequence[str] = ()) -> pd.DataFrame:
    """The columns `needed`, and those of `wanted` that are there, as text; empty cells are "".

    Blanks around names and values are removed. Files that end in .gz are unpacked.

    Raises:
        DataError: the file cannot be read, is no CSV table, or lacks a needed column.
    """
    import pandas as pd

    try:
        header = [str(name) for name in pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns]
        named = {name.strip(): name for name in header}
        for column in needed:
            if column not in named:
                raise DataError(_no_column(path, column, list(named)))
        use = [named[column] for column in (*needed, *wanted) if column in named]
        table = pd.read_csv(
            path,
            usecols=use,
            dtype=str,
            keep_default_na=False,
            index_col=False,
            encoding="utf-8-sig",
        )
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a CSV table: {error}") from error
    table.columns = [str(name).strip() for name in table.columns]
    for column in table.columns:
        table[column] = table[column].str.strip()
    return table


def _no_column(path: Path, column: str, found: Sequence[str]) -> str:
    close = difflib.get_close_matches(column, found, n=1)
    hint = f" Is it '{close[0]}'?" if close else ""
    return f"{path} has no column '{column}'.{hint} Found: {', '.join(found[:12])}."


LABEL_CODES: Mapping[str, int] = {
    "1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": UNLABELLED, "-1.0": UNLABELLED, "": UNLABELLED,
}  # fmt: skip
"""CheXpert's codes: -1 is "uncertain", which is masked."""


def coded_labels(
    table: pd.DataFrame, columns: Sequence[str], path: Path, codes: Mapping[str, int] = LABEL_CODES
) -> np.ndarray:
    """(N, C) uint8 labels of the columns.

    Raises:
        DataError: a cell holds none of the codes; the message names its line.
    """
    labels = np.full((len(table), len(columns)), UNLABELLED, np.uint8)
    for index, column in enumerate(columns):
        coded = table[column].map(codes)
        bad = np.flatnonzero(coded.isna().to_numpy())
        if len(bad):
            raise DataError(
                f"{path} line {bad[0] + 2}: '{column}' is '{table[column].iloc[bad[0]]}'. Known: "
                f"{', '.join(repr(code) for code in codes)}."
            )
        labels[:, index] = coded.to_numpy().astype(np.uint8)
    return labels
