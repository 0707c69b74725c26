"""A table of `bench table` as the page shows it: each number with its origin beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report.notes import BELOW_CHANCE
from bench.report.page.origin import record_path, records_of, run_command, slug
from bench.report.results import RowResults
from bench.report.seen import SEEN, UNKNOWN
from bench.report.table import Cell, Column, Scalar, Table, settled

_MARKS = "".join((BELOW_CHANCE, SEEN, UNKNOWN)).replace(" ", "")


@dataclass(frozen=True)
class Number:
    """A cell. One with `about` is a link to its row in the list of what was run."""

    text: str
    about: str = ""
    """What its tooltip says, line by line: exact values, records, commands."""
    sort: str = ""
    """What the column is sorted by; empty comes last."""
    row: str = ""
    heat: str = ""
    """Class of its colour in the heatmap."""


@dataclass(frozen=True)
class Head:
    """A column's head."""

    title: str
    row: str = ""
    left: bool = False
    printed: bool = False
    """Whether the column is the paper's."""


@dataclass(frozen=True)
class ShownLine:
    """A line, its first cell the name of it."""

    cells: tuple[Number, ...]
    row: str = ""
    of_class: str = ""


@dataclass(frozen=True)
class Shown:
    """A table with its caption, notes and the command that makes it again."""

    key: str
    caption: str
    heads: tuple[Head, ...]
    lines: tuple[ShownLine, ...]
    notes: tuple[str, ...]
    command: str

    @property
    def marks(self) -> tuple[str, ...]:
        """The notes that say what a mark in the table means; they are never folded away."""
        return tuple(note for note in self.notes if note[0] in _MARKS)


class Origins:
    """Rows by their names in tables, and what a tooltip says of where a number is from."""

    def __init__(self, rows: Sequence[RowResults]) -> None:
        self.first = rows[0]
        """Whose records counts of the data are read from."""
        self._by_title = {row.title: row for row in rows}
        self._by_name = {row.name: row for row in rows}
        self._by_key = {row.key: row for row in rows}

    def of_line(self, told: Mapping[str, Scalar]) -> RowResults | None:
        """The row that a line of a table is about."""
        key = (str(told.get("method")), str(told.get("row")))
        title = str(told.get("title", told.get("a")))
        return self._by_key.get(key) or self._by_title.get(title)

    def other(self, told: Mapping[str, Scalar]) -> RowResults | None:
        """The row that a line compares with."""
        return self._by_title.get(str(told.get("b")))

    def of_column(self, column: Column) -> RowResults | None:
        """The row that a column is about, as in the table of classes."""
        return self._by_name.get(column.key)

    def lines(self, row: RowResults, run: int | None = None, fold: int | None = None) -> list[str]:
        """Records and the command behind a number of a row, or of one of its trials."""
        spec = row.told["spec"]
        if run is not None and fold is not None:
            records = record_path(spec | {"run": run, "fold": fold})
        elif run is not None:
            records = record_path(spec | {"run": run, "fold": 0}).replace("fold-0", "fold-*")
        else:
            records = records_of(row)
        return [f"Records: {records}", f"Trials again: {run_command(spec, len(row.runs))}"]


def shown(table: Table, origins: Origins, command: str, key: str = "") -> Shown:
    """A table for the page: the texts are those that `bench table` prints."""
    visible = [(place, column) for place, column in enumerate(table.columns) if column.title]
    heads, lines = [], []
    for _, column in visible:
        row = origins.of_column(column)
        head = Head(column.title or "", slug(row) if row else "", column.left, _printed(column))
        heads.append(head)
    for cells, told in zip(table.rows, table.records(), strict=True):
        row = origins.of_line(told)
        run = told.get("run")
        numbers = []
        for place, column in visible:
            own = origins.of_column(column) or row or origins.first
            against = origins.other(told)
            fold = column.key.removeprefix("fold_") if column.key.startswith("fold_") else None
            where = (run if isinstance(run, int) else None, int(fold) if fold else None)
            about = f"{told.get('title') or told.get('class') or told.get('a')}, {column.title}"
            origin = [*origins.lines(own, *where), *(origins.lines(against) if against else ())]
            numbers.append(number(cells[place], column, about, own, origin))
        of_class = str(told["class"]) if "class" in told else ""
        lines.append(ShownLine(tuple(numbers), slug(row) if row else "", of_class))
    again = f"Table again: {command}"
    return Shown(
        key or table.stem,
        table.title,
        tuple(heads),
        tuple(_told(line, again) for line in lines),
        table.notes,
        command,
    )


def _printed(column: Column) -> bool:
    return column.key.startswith("paper_")


def _told(line: ShownLine, again: str) -> ShownLine:
    cells = tuple(
        Number(c.text, f"{c.about}\n{again}" if c.about else "", c.sort, c.row, c.heat)
        for c in line.cells
    )
    return ShownLine(cells, line.row, line.of_class)


def number(
    cell: Cell,
    column: Column,
    head: str,
    row: RowResults,
    origin: Sequence[str],
) -> Number:
    """One cell with its exact values and origin; plain words have neither."""
    values = {name: settled(value) for name, value in cell.values.items()}
    first = next(iter(values.values()), None)
    if column.left or not values:
        return Number(cell.text, sort=cell.text if column.left else "")
    sort = "" if not isinstance(first, int | float) else str(first)
    told = "; ".join(
        f"{name.replace('_', ' ')} {value}".strip()
        for name, value in values.items()
        if value is not None
    )
    if _printed(column):
        return Number(cell.text, f"{head}\nPrinted in the paper, not measured here\n{told}", sort)
    return Number(cell.text, "\n".join([head, told, *origin]), sort, slug(row))


def heatmap(classes: Table, origins: Origins, command: str) -> Shown:
    """The table of classes as a heatmap: a value a cell, coloured; undefined ones hatched."""
    full = shown(classes, origins, command, "heatmap")
    places = [place for place, head in enumerate(full.heads) if head.row]
    lines = []
    for line in full.lines:
        cells = list(line.cells)
        for place in places:
            cell = cells[place]
            value = float(cell.sort) if cell.sort else None
            text = "undefined" if value is None else f"{value:.2f}"
            about = cell.about or f"{cells[0].text}, {full.heads[place].title}\n{cell.text}"
            cells[place] = Number(text, about, cell.sort, full.heads[place].row, heat(value))
        lines.append(ShownLine(tuple(cells), line.row, line.of_class))
    caption = classes.title.replace("Classes", "Heatmap of classes", 1)
    return Shown("heatmap", caption, full.heads, tuple(lines), (), command)


def heat(value: float | None) -> str:
    """The colour of an AUC: two steps below chance, ten above.

    >>> heat(0.41), heat(0.5), heat(0.83), heat(1.0), heat(None)
    ('below2', 'h0', 'h6', 'h9', 'undefined')
    """
    if value is None:
        return "undefined"
    if value < 0.5:
        return "below1" if value >= 0.45 else "below2"
    return f"h{min(9, int((value - 0.5) * 20 + 1e-9))}"
