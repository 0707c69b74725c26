"""A study as data: which rows its tables have, and what the paper prints beside them.

Ours is `bench/studies/paper.toml`. A user's is a file of the same form: `bench run --study my.toml`
runs its rows and keeps a copy beside the trials, by which `bench table` knows them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import DataError, UsageError
from bench.runs.trial import row_label

PAPER_STUDY = Path(__file__).parent.parent / "studies" / "paper.toml"
COPY = "study.toml"
"""Name of the copy of a user's study file in the folder of its results."""
_KEYS = {"method", "title", "set", "tables", "baseline", "paper"}


@dataclass(frozen=True)
class Row:
    """One row of a table: a method with settings."""

    method: str
    title: str
    settings: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[int, ...] = (2,)
    baseline: bool = False
    paper: Mapping[str, float] | None = None
    """Total, base and rare AUC as the paper prints them."""

    @property
    def label(self) -> str:
        """The row's part of its folder name: its settings where they differ from the preset."""
        return row_label(self.settings, dict.fromkeys(self.settings))

    @property
    def key(self) -> tuple[str, str]:
        """Method and label: what a record is matched by."""
        name = Path(self.method).stem if self.method.endswith(".py") else self.method
        return (name, self.label)


@dataclass(frozen=True)
class Claims:
    """What a paper says outside the rows of its tables; the study file says where."""

    alpha: float
    sd_below: float
    runs_in_caption: int
    runs_in_text: int
    folds: int
    classes_in_text: int
    classes_in_abstract: int
    points_in_abstract: float
    baseline_starred: bool


def load_claims() -> Claims:
    """The claims of the paper."""
    return Claims(**_content(PAPER_STUDY)["claims"])


def load_study(path: Path = PAPER_STUDY) -> tuple[Row, ...]:
    """The rows of a study file in their order.

    Raises:
        DataError: the file cannot be read, is not TOML, or a row misses a key or has one too many.
    """
    entries = _content(path).get("row")
    if not isinstance(entries, list) or not entries:
        raise DataError(f"The study {path} has no [[row]].")
    return tuple(_row(entry, number, path) for number, entry in enumerate(entries, start=1))


def declared_rows(results: Path, study: str) -> tuple[Row, ...]:
    """The rows of the study file that the results of a study came from."""
    copy = results / study / COPY
    return load_study(copy if copy.exists() else PAPER_STUDY)


def _content(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"Cannot read the study {path}: {error}.") from error


def rows_of_table(table: int, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows that a table shows.

    Raises:
        UsageError: no row names that table.
    """
    chosen = tuple(row for row in rows if table in row.tables)
    if not chosen:
        known = sorted({number for row in rows for number in row.tables})
        raise UsageError(f"No row belongs to table {table}. Tables: {known}.")
    return chosen


def _row(entry: Any, number: int, path: Path) -> Row:
    if not isinstance(entry, dict) or not {"method", "title"} <= set(entry) <= _KEYS:
        raise DataError(
            f"{path}, row {number}: needs `method` and `title`, and knows {sorted(_KEYS)}."
        )
    paper = entry.get("paper")
    return Row(
        method=str(entry["method"]),
        title=str(entry["title"]),
        settings={str(key): str(value) for key, value in entry.get("set", {}).items()},
        tables=tuple(entry.get("tables", (2,))),
        baseline=bool(entry.get("baseline", False)),
        paper={str(key): float(value) for key, value in paper.items()} if paper else None,
    )
