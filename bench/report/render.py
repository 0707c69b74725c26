"""One table as markdown, CSV, LaTeX and JSON. Same table, same bytes: no dates and no paths."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

from bench.errors import ResultsError
from bench.report.table import Column, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    **{char: "\\" + char for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "§": r"\S{}",
    "*": r"$^{*}$",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",
}


def markdown(table: Table) -> str:
    """The table as GitHub markdown, its notes under it."""
    from tabulate import tabulate

    shown = _shown(table)
    body = [[row[i].text.replace("|", r"\|") for i, _ in shown] for row in table.rows]
    headers = [column.title or "" for _, column in shown]
    lines = tabulate(body, headers, tablefmt="github", disable_numparse=True)
    notes = "\n".join(f"- {note}" for note in table.notes)
    return f"### {table.title}\n\n{lines}\n\n{notes}\n"


def comma_separated(table: Table) -> str:
    """The numbers as CSV, one line a row, empty where undefined."""
    out = io.StringIO()
    writer = csv.DictWriter(out, table.names(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.records())
    return out.getvalue()


def latex(table: Table) -> str:
    """The table for LaTeX with the package booktabs, its notes as a list under it."""
    shown = _shown(table)
    layout = "".join("l" if column.left else "c" for _, column in shown)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(table.title)}}}",
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
        " & ".join(_escaped(column.title or "") for _, column in shown) + r" \\",
        r"\midrule",
        *(" & ".join(_escaped(row[i].text) for i, _ in shown) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if table.notes:
        items = [rf"\item {_escaped(note)}" for note in table.notes]
        lines += [r"\par\smallskip", r"\begin{minipage}{\linewidth}\footnotesize"]
        lines += [r"\begin{itemize}", *items, r"\end{itemize}", r"\end{minipage}"]
    return "\n".join([*lines, r"\end{table}", ""])


def json_text(table: Table) -> str:
    """The numbers and notes as JSON, null where undefined."""
    content = {"title": table.title, "rows": table.records(), "notes": list(table.notes)}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Table], str]] = {
    "md": markdown,
    "csv": comma_separated,
    "tex": latex,
    "json": json_text,
}


def write_table(table: Table, folder: Path) -> list[Path]:
    """Writes the table in every format into the study's folder and returns the paths.

    Raises:
        ResultsError: the folder cannot be written.
    """
    written = []
    for suffix, render in FORMATS.items():
        path = folder / f"{table.stem}.{suffix}"
        try:
            path.write_text(render(table), encoding="utf-8")
        except OSError as error:
            raise ResultsError(f"Cannot write {path}: {error.strerror}.") from error
        written.append(path)
    return written


def check_table(table: Table, folder: Path) -> list[Path]:
    """The files of the table, when all are what the records give; writes nothing.

    Raises:
        ResultsError: a file is not there, or differs; with the first line that does.
    """
    paths = []
    for suffix, render in FORMATS.items():
        path = folder / f"{table.stem}.{suffix}"
        try:
            found = path.read_text(encoding="utf-8").split("\n")
        except OSError as error:
            raise ResultsError(f"Cannot read {path}: {error.strerror}. Run: bench table") from error
        made = render(table).split("\n")
        if found != made:
            pairs = enumerate(zip_longest(found, made, fillvalue="(no line)"), start=1)
            number, (old, new) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
            raise ResultsError(
                f"{path} is not what the records give; it differs first in line {number}.\n"
                f"  file:    {old}\n  records: {new}\n"
                "Check with the options it was written with, or write it anew: bench table"
            )
        paths.append(path)
    return paths


def _shown(table: Table) -> list[tuple[int, Column]]:
    return [(i, column) for i, column in enumerate(table.columns) if column.title is not None]


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)
