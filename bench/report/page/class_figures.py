"""Figures over classes: AUC against frequency, mean ranks, ROC and precision-recall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from bench.classes import COMMON as COMMON_CLASSES
from bench.classes import RARE as RARE_CLASSES
from bench.classes import TRAIN_COUNTS
from bench.report.options import METRICS, Group, Options
from bench.report.page.figure import Figure, Line, broken, number
from bench.report.page.origin import slug
from bench.report.page.svg import COMMON, INK, MEDIUM, MUTED, RARE, Drawing, style
from bench.report.paper import procedure_interval
from bench.report.results import RowResults

_KINDS = (("rare", RARE, "o"), ("medium", MEDIUM, "s"), ("common", COMMON, "^"))


def group_of(name: str) -> str:
    """The paper's group of a class, or `other`."""
    if name in RARE_CLASSES:
        return "rare"
    if name in COMMON_CLASSES:
        return "common"
    return "medium" if name in TRAIN_COUNTS else "other"


def frequency_figure(rows: Sequence[RowResults], options: Options) -> Figure:
    """The long-tail curve: each class's AUC with its interval against its positive patients."""
    across = min(3, len(rows))
    down = -(-len(rows) // across)
    patients = {n: count or 0 for n, count in rows[0].told["data"]["positive_patients"].items()}
    lines: list[Line] = []
    with style():
        drawing = Drawing("frequency", 2.5 * down + 0.6)
        axes = drawing.figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axis, row in zip(axes.flat, rows, strict=False):
            drawing.tag(axis, row=slug(row))
            axis.set_title(broken(row.title, 26))
            axis.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
            lines += _class_points(drawing, axis, row)
            _group_means(drawing, axis, row)
        for place in range(len(rows), axes.size):
            axes.flat[place].set_visible(False)
            axes.flat[place - across].tick_params(labelbottom=True)
        for axis in axes[:, 0]:
            axis.set_ylabel(METRICS[options.metric].title)
        shown = [count for count in patients.values() if count >= options.min_patients]
        axes[0, 0].set_xscale("log")
        axes[0, 0].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes[0, 0].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes[0, 0].xaxis.set_minor_formatter(NullFormatter())
        if shown:
            axes[0, 0].set_xlim(0.8 * min(shown), 1.25 * max(shown))
            low = np.nanmin([np.nanmin(row.by_class()) for row in rows])
            axes[0, 0].set_ylim(max(0.0, min(0.4, low - 0.05)), 1.02)
        drawing.figure.supxlabel("Positive patients in the data (log scale)", fontsize=9)
        handles = [
            Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=5, label=kind)
            for kind, colour, marker in _KINDS
        ]
        drawing.figure.legend(handles=handles, loc="outside upper right", ncols=3)
        title = "AUC against class frequency"
        svg = drawing.svg(title, _frequency_words(rows))
    return Figure(
        "frequency",
        title,
        "A point is a class: mean AUC over runs and folds, with its 95 % interval over new "
        "training sets (Nadeau-Bengio). Dashed: chance. Colour and shape are the paper's groups; a "
        "bar is the mean of a group.",
        svg,
        ("Method", "Class", "Group", "Patients", "AUC", "95 % interval"),
        tuple(lines),
    )


def _group_means(drawing: Drawing, axis: Axes, row: RowResults) -> None:
    """A bar over the classes of each group at the mean of their values."""
    means = row.by_class().mean(axis=0)
    known = row.told["data"]["positive_patients"]
    for kind, colour, _ in _KINDS:
        inside = [
            (known[name], mean)
            for name, mean in zip(row.classes, means, strict=True)
            if group_of(name) == kind and not np.isnan(mean)
        ]
        if inside:
            counts, values = zip(*inside, strict=True)
            (bar,) = axis.plot(
                [0.93 * min(counts), 1.07 * max(counts)],
                [np.mean(values)] * 2,
                color=colour,
                linewidth=6,
                alpha=0.3,
                solid_capstyle="butt",
            )
            drawing.tag(bar, title=f"{row.title}, mean of {kind} classes: {np.mean(values):.3f}")


def _class_points(drawing: Drawing, axis: Axes, row: RowResults) -> list[Line]:
    lines = []
    known = row.told["data"]["positive_patients"]
    looks = {kind: (colour, marker) for kind, colour, marker in _KINDS}
    means = row.by_class().mean(axis=0)
    for c in np.argsort([known[name] or 0 for name in row.classes], kind="stable"):
        name, mean, patients = row.classes[c], float(means[c]), known[row.classes[c]]
        kind = group_of(name)
        interval = None
        if not np.isnan(mean):
            interval = procedure_interval(row, Group(name, name, frozenset({name})))
            colour, marker = looks.get(kind, (INK, "D"))
            told = f"{row.title}, {name}: {number(mean)} {_interval(interval)}, {patients} patients"
            if interval is not None:
                (bar,) = axis.plot([patients] * 2, interval, color=colour, linewidth=1, alpha=0.55)
                drawing.tag(bar, of_class=name)
            (point,) = axis.plot([patients], [mean], marker, color=colour, markersize=4)
            drawing.tag(point, of_class=name, title=told)
        counted = "withheld" if patients is None else str(patients)
        cells = (row.title, name, kind, counted, number(mean), _interval(interval))
        lines.append(Line(cells, slug(row), name))
    return lines


def _interval(interval: tuple[float, float] | None) -> str:
    return "no interval" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _frequency_words(rows: Sequence[RowResults]) -> str:
    told = []
    for row in rows:
        means = row.by_class().mean(axis=0)
        groups = np.array([group_of(name) for name in row.classes])
        parts = [
            f"{kind} {np.nanmean(means[groups == kind]):.3f}"
            for kind in ("rare", "medium", "common")
            if not np.isnan(means[groups == kind]).all()
        ]
        told.append(f"{row.title}: mean AUC {', '.join(parts)}")
    return "One panel a method, a point a class. " + "; ".join(told) + "."
