"""The critical-difference diagram on an axis, for the page and for print (Demšar, JMLR 7, 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.report.ranks import Ranks
from bench.report.seen import mark_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_LEVEL, _BAR = 0.62, 0.45
"""Distances between two names and two bars; any unit will do, the axis has no numbers."""


def half(ranks: Ranks) -> int:
    """Names that stand below each other at the right."""
    return (len(ranks.rows) + 1) // 2


def draw_ranks(
    axis: Axes, ranks: Ranks, colours: Sequence[str], ink: str, width: float = 1.3
) -> list[tuple[Artist, Artist]]:
    """Draws the diagram and returns of each row its line and its name.

    Args:
        colours: of the rows, in the order of their ranks.
        ink: the colour of the bars over rows that cannot be told apart.
        width: of a row's line, in points.
    """
    _ruler(axis, len(ranks.rows))
    depth = 0.5 + _BAR * len(ranks.alike)
    drawn = [
        _name(axis, ranks, place, depth, colours[place], width) for place in range(len(colours))
    ]
    for step, (first, last) in enumerate(ranks.alike):
        ends = [ranks.mean[first] - 0.04, ranks.mean[last] + 0.04]
        axis.plot(ends, [-0.35 - _BAR * step] * 2, color=ink, linewidth=3 * width)
    axis.set_ylim(-depth - _LEVEL * half(ranks), 0)
    return drawn


def _ruler(axis: Axes, count: int) -> None:
    axis.set_xlim(count + 0.05, 0.95)
    axis.xaxis.tick_top()
    axis.xaxis.set_label_position("top")
    axis.set_xticks(range(1, count + 1))
    axis.set_xlabel("Mean rank over classes (1 is best, right)")
    axis.grid(False)
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.spines["top"].set_visible(True)
    axis.set_yticks([])


def _name(
    axis: Axes, ranks: Ranks, place: int, depth: float, colour: str, width: float
) -> tuple[Artist, Artist]:
    """A line from a row's mean rank to its name: the better half to the right."""
    mean, count = ranks.mean[place], len(ranks.rows)
    title = ranks.rows[place].title + mark_of(ranks.rows[place])
    left = place >= half(ranks)
    height = -depth - _LEVEL * (count - 1 - place if left else place)
    edge = count + 0.05 if left else 0.95
    (line,) = axis.plot([mean, mean, edge], [0, height, height], color=colour, lw=width)
    words = axis.annotate(
        f"{title}  {mean:.2f}" if left else f"{mean:.2f}  {title}",
        (edge, height),
        xytext=(-3 if left else 3, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        annotation_clip=False,
    )
    return line, words
