"""A figure of the page: a drawing, what it shows in words, and its numbers as a table."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Line:
    """A line of the table under a figure; what the page's filter hides goes by these names."""

    cells: tuple[str, ...]
    row: str = ""
    of_class: str = ""


@dataclass(frozen=True)
class Figure:
    """What the template shows; nobody has to see the drawing to have its numbers."""

    key: str
    title: str
    caption: str
    svg: Markup
    header: tuple[str, ...]
    lines: tuple[Line, ...]
    of_class: str = ""
    """Where the whole figure is of one class."""

    @property
    def words(self) -> tuple[bool, ...]:
        """Which columns hold words, which stand to the left, not numbers or intervals."""
        return tuple(
            all(line.cells[place][:1].isalpha() for line in self.lines)
            for place in range(len(self.header))
        )


def broken(title: str, width: int = 18) -> str:
    """A title in two lines where it is longer than a width in letters.

    >>> broken("CheXzero + meta labels"), broken("SLIP")
    ('CheXzero +\\nmeta labels', 'SLIP')
    """
    words = title.split(" ")
    if len(title) <= width or len(words) < 2:
        return title
    cuts = range(1, len(words))
    cut = min(cuts, key=lambda c: abs(len(" ".join(words[:c])) - len(" ".join(words[c:]))))
    return " ".join(words[:cut]) + "\n" + " ".join(words[cut:])


def number(value: float | None, form: str = ".3f") -> str:
    """A number for a table under a figure."""
    return "undefined" if value is None or value != value else format(value, form)
