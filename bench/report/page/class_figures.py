"""AUC against class frequency, a point a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from bench.report.class_table import group_of
from bench.report.long_tail import INTERVAL_WORDS, TailPoint, rank_correlation, tail_points
from bench.report.options import METRICS, Options
from bench.report.page.figure import Figure, Line, broken, number
from bench.report.page.origin import slug
from bench.report.page.svg import COMMON, INK, MEDIUM, MUTED, RARE, Drawing, style
from bench.report.results import RowResults
from bench.report.seen import mark_of

_KINDS = (("rare", RARE, "o"), ("medium", MEDIUM, "s"), ("common", COMMON, "^"))


def frequency_figure(rows: Sequence[RowResults], options: Options) -> Figure:
    """The long-tail curve: each class's AUC with its interval against its positive patients."""
    across = min(3, len(rows))
    down = -(-len(rows) // across)
    points = {row.key: tail_points(row) for row in rows}
    lines: list[Line] = []
    with style():
        drawing = Drawing("frequency", 2.5 * down + 0.6)
        axes = drawing.figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axis, row in zip(axes.flat, rows, strict=False):
            drawing.tag(axis, row=slug(row))
            axis.set_title(broken(row.title + mark_of(row), 26))
            axis.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
            lines += _class_points(drawing, axis, row, points[row.key])
            _group_means(drawing, axis, row, points[row.key])
        for place in range(len(rows), axes.size):
            axes.flat[place].set_visible(False)
            axes.flat[place - across].tick_params(labelbottom=True)
        for axis in axes[:, 0]:
            axis.set_ylabel(METRICS[options.metric].title)
        shown = [p.patients or 0 for of_row in points.values() for p in of_row if p.drawn]
        axes[0, 0].set_xscale("log")
        axes[0, 0].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes[0, 0].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes[0, 0].xaxis.set_minor_formatter(NullFormatter())
        if shown:
            axes[0, 0].set_xlim(0.8 * min(shown), 1.25 * max(shown))
            low = min(p.mean or 0.0 for of_row in points.values() for p in of_row if p.drawn)
            axes[0, 0].set_ylim(max(0.0, min(0.4, low - 0.05)), 1.02)
        drawing.figure.supxlabel("Positive patients in the data (log scale)", fontsize=9)
        handles = [
            Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=5, label=kind)
            for kind, colour, marker in _KINDS
        ]
        drawing.figure.legend(handles=handles, loc="outside upper right", ncols=3)
        title = "AUC against class frequency"
        svg = drawing.svg(title, _frequency_words(rows, points))
    return Figure(
        "frequency",
        title,
        f"A point is a class: mean AUC over runs and folds, with its {INTERVAL_WORDS}. Dashed: "
        "chance. Colour and shape are the paper's groups; a bar is the mean of a group. A class "
        "whose count of patients was withheld has no point.",
        svg,
        ("Method", "Class", "Group", "Patients", "AUC", "95 % interval"),
        tuple(lines),
    )


def _group_means(
    drawing: Drawing, axis: Axes, row: RowResults, points: Sequence[TailPoint]
) -> None:
    """A bar over the classes of each group at the mean of their values."""
    for kind, colour, _ in _KINDS:
        inside = [point for point in points if point.group == kind and point.drawn]
        if inside:
            counts, values = [p.patients or 0 for p in inside], [p.mean or 0.0 for p in inside]
            mean = float(np.mean(values))
            (bar,) = axis.plot(
                [0.93 * min(counts), 1.07 * max(counts)],
                [mean] * 2,
                color=colour,
                linewidth=6,
                alpha=0.3,
                solid_capstyle="butt",
            )
            drawing.tag(bar, title=f"{row.title}, mean of {kind} classes: {mean:.3f}")


def _class_points(
    drawing: Drawing, axis: Axes, row: RowResults, points: Sequence[TailPoint]
) -> list[Line]:
    lines = []
    looks = {kind: (colour, marker) for kind, colour, marker in _KINDS}
    for one in points:
        said = _interval(one.interval)
        if one.at is not None:
            count, mean = one.at
            colour, marker = looks.get(one.group, (INK, "D"))
            told = f"{row.title}, {one.name}: {number(one.mean)} {said}, {one.patients} patients"
            if one.interval is not None:
                (bar,) = axis.plot([count] * 2, one.interval, color=colour, linewidth=1, alpha=0.55)
                drawing.tag(bar, of_class=one.name)
            (point,) = axis.plot([count], [mean], marker, color=colour, markersize=4)
            drawing.tag(point, of_class=one.name, title=told)
        counted = "withheld" if one.patients is None else str(one.patients)
        cells = (row.title, one.name, one.group, counted, number(one.mean), said)
        lines.append(Line(cells, slug(row), one.name))
    return lines


def _interval(interval: tuple[float, float] | None) -> str:
    return "no interval" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _frequency_words(
    rows: Sequence[RowResults], points: Mapping[tuple[str, str], Sequence[TailPoint]]
) -> str:
    told = []
    for row in rows:
        means = row.by_class().mean(axis=0)
        groups = np.array([group_of(name) for name in row.classes])
        parts = [
            f"{kind} {np.nanmean(means[groups == kind]):.3f}"
            for kind in ("rare", "medium", "common")
            if not np.isnan(means[groups == kind]).all()
        ]
        ranked = rank_correlation(points[row.key])
        parts += [] if ranked is None else [f"rank correlation with patients {ranked:+.2f}"]
        told.append(f"{row.title}: mean AUC {', '.join(parts)}")
    return "One panel a method, a point a class. " + "; ".join(told) + "."
