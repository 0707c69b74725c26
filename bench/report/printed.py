"""The values of a study's tables where the trials behind them are not there: committed results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import ResultsError, UsageError, unknown
from bench.report.options import Options
from bench.report.results import load_results
from bench.report.run_table import run_table
from bench.report.table import Scalar

_DATA = re.compile(r"Data: (.+) \(.+\), (\d+) images of \d+ patients\. Preset: (\w+)\. "
                   r"Track: (\w+)\. Seed: (\d+)\. ")  # fmt: skip
_PHANTOM = re.compile(r"phantom((?:-[a-z]+\d+)*)-(?:tiny|paper|upstream)")


@dataclass(frozen=True)
class Printed:
    """A row as the tables of a study's folder print it."""

    method: str
    settings: Mapping[str, str]
    title: str
    data: str | None
    """How to ask for the data, where the folder's name tells."""
    images: int
    preset: str
    seed: int
    folds: int
    lines: Sequence[Mapping[str, Scalar]]
    """Its lines of the table of runs by folds."""

    @property
    def runs(self) -> list[int]:
        """The runs it was done in."""
        return sorted({int(line["run"] or 0) for line in self.lines})


def printed_row(folder: Path, method: str, label: str) -> Printed:
    """A row from `table2.json` and `table-runs.json` of a study's folder.

    Raises:
        ResultsError: the tables are not there, or not as `bench table` writes them.
        UsageError: no such row, or one that the tables tell too little of.
    """
    rows, by_run = (_read(folder / name) for name in ("table2.json", "table-runs.json"))
    known = {f"{row['method']}:{row['row']}": row for row in rows["rows"]}
    name = f"{method}:{label}"
    if name not in known:
        raise UsageError(unknown("row", name, known))
    title = known[name]["title"]
    told = _DATA.match(by_run["notes"][0])
    lines = [line for line in by_run["rows"] if line["title"] == title]
    if told is None or not lines:
        raise ResultsError(f"{folder / 'table-runs.json'} is not as bench table writes it.")
    parts = [] if label == "default" else [part.partition("=") for part in label.split(",")]
    if told[4] != "trained" or not all(sign for _, sign, _ in parts):
        raise UsageError(
            f"The tables do not tell all that {name} was made with; it takes the trials."
        )
    phantom = _PHANTOM.match(folder.resolve().name) if told[1] == "phantom" else None
    return Printed(
        method=method,
        settings={key: value for key, _, value in parts},
        title=str(title),
        data=_phantom(phantom[1]) if phantom else None,
        images=int(told[2]),
        preset=told[3],
        seed=int(told[5]),
        folds=sum(key.startswith("fold_") for key in lines[0]),
        lines=lines,
    )


def _phantom(options: str) -> str:
    """A phantom as it is asked for, from the part of a folder's name.

    >>> _phantom(""), _phantom("-n60-size32")
    ('phantom', 'phantom:n=60,size=32')
    """
    pairs = [re.sub(r"(\d+)$", r"=\1", part) for part in options.split("-") if part]
    return f"phantom:{','.join(pairs)}" if pairs else "phantom"


def differing(printed: Printed, results: Path, study: str) -> tuple[int, list[str]]:
    """How many printed values were compared with a study's trials, and which differ.

    Of every trial that is there the value of its fold; of runs only where all of the row's are,
    since a run's value is over the classes that are defined in every run.
    """
    (row,) = load_results(results, study, Options())
    made = run_table(study, [row], Options()).records()
    now = {(line["group"], line["run"]): line for line in made}
    whole = list(row.complete) == printed.runs
    compared, found = 0, []
    for line in printed.lines:
        here = now.get((line["group"], line["run"]))
        for key, before in line.items():
            of_fold = key.startswith("fold_") and (line["run"], int(key[5:])) in row.folders
            if here is not None and (of_fold or (whole and key == "of_run")):
                compared += 1
                if here[key] != before:
                    place = f"run {line['run']} {key.replace('_', ' ')} {line['group']}"
                    found.append(f"{place} was {before}, is {here[key]}")
    return compared, found


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        usable = content["notes"][0] and all({"title"} <= set(row) for row in content["rows"])
    except OSError as error:
        raise ResultsError(
            f"Cannot read {file}: {error.strerror or error}. Name a folder with trials, or with "
            "the tables that bench table and bench table --table runs write."
        ) from error
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        usable = None
    if not usable:
        raise ResultsError(f"{file} is not as bench table writes it.")
    return dict(content)
