"""The critical-difference diagram: rows on an axis of mean ranks, a bar over those alike."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from bench.report.options import METRICS, Options
from bench.report.page.figure import Figure, Line, number
from bench.report.page.origin import slug
from bench.report.page.ranks import ALPHA, Ranks
from bench.report.page.svg import INK, Drawing, series, style
from bench.report.results import RowResults

_LEVEL, _BAR = 0.62, 0.45
"""Distances between two names and two bars; any unit will do, the axis has no numbers."""


def ranks_figure(ranks: Ranks, rows: Sequence[RowResults], options: Options) -> Figure:
    """The diagram; a row has the colour of its place among all rows of the page."""
    half = (len(ranks.rows) + 1) // 2
    with style():
        drawing = Drawing("ranks", 0.9 + 0.17 * len(ranks.alike) + 0.24 * half)
        axis = drawing.figure.subplots()
        _ruler(axis, len(ranks.rows))
        depth = 0.5 + _BAR * len(ranks.alike)
        for place in range(len(ranks.rows)):
            _name(drawing, axis, ranks, rows, place, depth)
        for step, (first, last) in enumerate(ranks.alike):
            ends = [ranks.mean[first] - 0.04, ranks.mean[last] + 0.04]
            axis.plot(ends, [-0.35 - _BAR * step] * 2, color=INK, linewidth=4)
        axis.set_ylim(-depth - _LEVEL * half, 0)
        told = ", ".join(f"{r.title} {m:.2f}" for r, m in zip(ranks.rows, ranks.mean, strict=True))
        svg = drawing.svg("Critical differences", f"Mean ranks from best to worst: {told}.")
    friedman = f" Friedman p = {ranks.friedman:.2g}." if ranks.friedman is not None else ""
    return Figure(
        "ranks",
        "Critical differences",
        f"Mean rank of {METRICS[options.metric].title} over {ranks.classes} classes. Rows under "
        "one bar cannot be told apart: no pair of them differs by the Wilcoxon signed-rank test "
        f"over classes (Holm-adjusted p < {ALPHA:g}).{friedman} Classes of the same patients are "
        "not independent: read it as a description, and the tests under the tables as the tests.",
        svg,
        ("A", "B", "Mean rank A", "Mean rank B", "Adjusted p"),
        tuple(
            Line(
                (
                    ranks.rows[a].title,
                    ranks.rows[b].title,
                    number(ranks.mean[a], ".2f"),
                    number(ranks.mean[b], ".2f"),
                    number(p, ".3g"),
                ),
                slug(ranks.rows[a]),
            )
            for (a, b), p in ranks.adjusted.items()
        ),
    )


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
    drawing: Drawing,
    axis: Axes,
    ranks: Ranks,
    rows: Sequence[RowResults],
    place: int,
    depth: float,
) -> None:
    """A line from a row's mean rank to its name: the better half to the right."""
    row, mean, count = ranks.rows[place], ranks.mean[place], len(ranks.rows)
    left = place >= (count + 1) // 2
    height = -depth - _LEVEL * (count - 1 - place if left else place)
    edge = count + 0.05 if left else 0.95
    colour = series([one.key for one in rows].index(row.key))[0]
    (line,) = axis.plot([mean, mean, edge], [0, height, height], color=colour, lw=1.3)
    words = axis.annotate(
        f"{row.title}  {mean:.2f}" if left else f"{mean:.2f}  {row.title}",
        (edge, height),
        xytext=(-3 if left else 3, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        annotation_clip=False,
    )
    for artist in (line, words):
        drawing.tag(artist, row=slug(row), title=f"{row.title}: mean rank {mean:.2f}")
