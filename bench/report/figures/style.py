"""How figures look: column widths, type, and colours that part in grey and for the colour-blind."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from bench.errors import UsageError

ONE_COLUMN, TWO_COLUMNS = 3.35, 6.9
"""Inches, as two-column journals have them."""

INK, FAINT, GRID = "#1a1a1a", "#6b6b6b", "#dcdcdc"
CHANCE: Mapping[str, Any] = {"color": INK, "linewidth": 0.6, "linestyle": (0, (3, 2)), "zorder": 1}
"""The line at an AUC of 0.5."""
HATCHED, HATCH = "#f4f4f4", "#9a9a9a"
"""Ground and strokes of what is undefined."""

_SETTINGS: dict[str, Any] = {
    # The font that comes with matplotlib, so that a figure is the same on every machine.
    "font.family": "DejaVu Sans",
    "font.size": 6.5,
    # A $ in the title of a row is a $.
    "text.parse_math": False,
    "axes.titlesize": 7,
    "axes.labelsize": 6.5,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.minor.width": 0.3,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "xtick.minor.size": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.4,
    "legend.frameon": False,
    "hatch.linewidth": 0.35,
    "savefig.dpi": 300,
    # Type 42 embeds TrueType; SVG letters are outlines, so that no reader needs the font.
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "cxr-bench",
}


class Look(NamedTuple):
    """How a group of classes is drawn: the marker parts groups where colours do not."""

    colour: str
    marker: str
    size: float
    """Of the marker, in points."""


LOOKS: Mapping[str, Look] = {
    "rare": Look("#b8332a", "^", 3.4),
    "medium": Look("#7a6fb0", "s", 2.6),
    "common": Look("#1f78a4", "o", 2.9),
    # A class that is in none of the paper's groups.
    "-": Look(FAINT, "D", 2.6),
}


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib's settings inside the block: these and its defaults, whatever the user's file.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib import style
    except ImportError as error:
        raise UsageError(
            "Figures are drawn by matplotlib: pip install 'cxr-bench[figures]'"
        ) from error
    with style.context(["default", _SETTINGS]):
        yield


def wrapped(title: str, columns: int) -> str:
    """A panel's title in lines that fit where so many panels share the width of a page."""
    return textwrap.fill(title, {1: 100, 2: 58, 3: 36}.get(columns, 26))


def panels(count: int, most: int) -> tuple[int, int]:
    """Lines and columns of panels, at most so many beside each other.

    >>> panels(2, 3), panels(6, 3)
    ((1, 2), (2, 3))
    """
    columns = min(count, most)
    return -(-count // columns), columns
