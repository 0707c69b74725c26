"""A table before it is markdown, CSV, LaTeX or JSON: columns, cells that carry numbers, notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Scalar = str | int | float | None


@dataclass(frozen=True)
class Cell:
    """What a person reads, and the numbers behind it by field; None is undefined."""

    text: str
    values: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A column. With a title a person sees it; its fields are columns of the CSV and the JSON."""

    key: str
    title: str | None
    fields: tuple[str, ...] = ("",)
    left: bool = False
    """Set to the left, as words are; numbers are centred."""

    def names(self) -> list[str]:
        """The columns it has in files for machines."""
        return [f"{self.key}_{name}" if name else self.key for name in self.fields]


@dataclass(frozen=True)
class Table:
    """What `bench table` shows; every format is made from this and from nothing else."""

    stem: str
    """Name of its files without suffix."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]

    def names(self) -> list[str]:
        """The header of the CSV and the keys of the JSON."""
        return [name for column in self.columns for name in column.names()]

    def records(self) -> list[dict[str, Scalar]]:
        """A flat record for each row: the CSV's and the JSON's content."""
        return [
            {
                name: settled(cell.values.get(part))
                for column, cell in zip(self.columns, row, strict=True)
                for part, name in zip(column.fields, column.names(), strict=True)
            }
            for row in self.rows
        ]


def settled(value: Scalar) -> Scalar:
    """Six significant digits: what a table may say, and the same whatever the processor."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def words(text: str) -> Cell:
    """A cell that is the same for people and machines."""
    return Cell(text, {"": text})


def count(value: int | None) -> Cell:
    """A cell of one whole number, or of one that is withheld."""
    return Cell("withheld" if value is None else str(value), {"": value})


def hidden(value: Scalar) -> Cell:
    """A cell of a column without a title."""
    return Cell("", {"": value})


def p_text(value: float | None) -> str:
    """A p value in words.

    >>> p_text(0.0123456), p_text(None)
    ('0.0123', 'undefined')
    """
    return "undefined" if value is None else f"{value:.3g}"


def interval_text(interval: Sequence[float] | None) -> str:
    """An interval of differences in words."""
    return "undefined" if interval is None else f"[{interval[0]:+.4f}, {interval[1]:+.4f}]"
