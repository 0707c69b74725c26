"""Every class on its own: a heatmap, the rarest first, and AUC against how frequent a class is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import ResultsError
from bench.report.class_table import class_table
from bench.report.figures.drawing import Drawing, Numbers, say_synthetic
from bench.report.figures.intervals import Intervals
from bench.report.figures.style import (
    CHANCE,
    HATCH,
    HATCHED,
    INK,
    LOOKS,
    ONE_COLUMN,
    TWO_COLUMNS,
    panels,
    wrapped,
)
from bench.report.long_tail import INTERVAL_WORDS, TailPoint, rank_correlation, tail_points
from bench.report.notes import data_notes
from bench.report.options import Options
from bench.report.results import RowResults
from bench.report.seen import mark_of, seen_notes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


def class_numbers(
    study: str,
    rows: Sequence[RowResults],
    intervals: Sequence[Intervals | None],
    options: Options,
) -> Numbers:
    """What `bench table --table classes` says, one record a row and class, the rarest first."""
    found = []
    for line in class_table(study, rows, None, options).records():
        for row, interval in zip(rows, intervals, strict=True):
            low, high = (interval.classes if interval else {}).get(str(line["class"]), (None, None))
            found.append(
                {
                    "row": row.name,
                    "title": row.title,
                    "class": line["class"],
                    "group": line["group"],
                    "positive_images": line["n_pos"],
                    "auc": line[f"{row.name}_auc"],
                    "sd": line[f"{row.name}_sd"],
                    "patients_low": low,
                    "patients_high": high,
                }
            )
    return found


def heatmap_figure(
    study: str, rows: Sequence[RowResults], numbers: Numbers, options: Options
) -> Drawing:
    """A line a class, the rarest on top, a column a row; hatched where a class is undefined."""
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    classes = list(dict.fromkeys(str(n["class"]) for n in numbers))
    values = np.array([np.nan if n["auc"] is None else n["auc"] for n in numbers], dtype=float)
    values = values.reshape(len(classes), len(rows))
    wide = len(rows) > 6
    figure = Figure(
        figsize=(TWO_COLUMNS if wide else ONE_COLUMN, 1.5 + 0.148 * len(classes)),
        layout="constrained",
    )
    axis = figure.subplots()
    axis.patch.set(facecolor=HATCHED, hatch="//////", edgecolor=HATCH, linewidth=0)
    scale = Normalize(0.5, 1.0)
    image = axis.pcolormesh(
        np.ma.masked_invalid(values), cmap="cividis", norm=scale, edgecolors="white", linewidth=0.4
    )
    for (line, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            text = f"{value:.2f}".removeprefix("0")
            axis.text(
                column + 0.5,
                line + 0.53,
                f"{text}†" if value < 0.5 else text,
                ha="center",
                va="center",
                fontsize=5.5,
                color=INK if scale(value) > 0.5 else "white",
            )
    axis.set_xticks(np.arange(len(rows)) + 0.5, [row.title + mark_of(row) for row in rows])
    axis.xaxis.tick_top()
    axis.tick_params(axis="x", length=0)
    for label in axis.get_xticklabels():
        label.set(rotation=40, ha="left", rotation_mode="anchor")
    axis.set_yticks(np.arange(len(classes)) + 0.5, classes)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(classes), 0)
    axis.spines[:].set_visible(False)
    _name_groups(axis, numbers[:: len(rows)])
    below = bool((values < 0.5).any())
    figure.colorbar(
        image, ax=axis, location="bottom", shrink=0.7, aspect=30, pad=0.01, label="AUC"
    ).outline.set_visible(False)
    say_synthetic(figure, rows[0])
    caption = (
        f"AUC of {study} by class, the rarest first (training counts of CXR-LT 2024); mean over "
        "folds, then over runs. Hatched: undefined.",
        *(["† below chance (0.5), shown in the colour of 0.5."] if below else []),
        "Groups at the right are those of the paper's Table 1.",
        *data_notes(rows, options),
        *seen_notes(rows),
    )
    return Drawing("classes", figure, caption, numbers)


def _name_groups(axis: Axes, lines: Numbers) -> None:
    """Names the groups at the right edge and parts them by white lines."""
    groups = [str(n["group"]) for n in lines]
    start = 0
    for end in range(1, len(groups) + 1):
        if end == len(groups) or groups[end] != groups[start]:
            if start:
                axis.axhline(start, color="white", lw=2.2)
            axis.text(
                1.015,
                (start + end) / 2,
                groups[start],
                transform=axis.get_yaxis_transform(),
                rotation=270,
                va="center",
                color=LOOKS[groups[start]].colour,
                fontweight="bold",
            )
            start = end


def tail_figure(study: str, rows: Sequence[RowResults], options: Options) -> Drawing:
    """The long-tail curve: a panel a row, AUC of each class over its number of positive patients.

    Raises:
        ResultsError: no class has both.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    points = {row.key: tail_points(row) for row in rows}
    if not any(point.drawn for of_row in points.values() for point in of_row):
        raise ResultsError(f"no class of {study} has a count of patients and a defined AUC")
    lines, columns = panels(len(rows), 3)
    figure = Figure(figsize=(TWO_COLUMNS, 0.6 + 1.7 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, row in zip(axes, rows, strict=False):
        _tail_panel(axis, [point for point in points[row.key] if point.drawn])
        correlation = rank_correlation(points[row.key])
        if correlation is not None:
            told = f"ρ = {correlation:+.2f}".replace("-", "−")
            axis.text(0.98, 0.04, told, transform=axis.transAxes, ha="right")
        axis.set_title(wrapped(f"{row.title}{mark_of(row)}", columns))
    for axis in axes[len(rows) :]:
        axis.set_visible(False)
    for place, axis in enumerate(axes[: len(rows)]):
        axis.axhline(0.5, **CHANCE)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        if place + columns >= len(rows):
            axis.set_xlabel("Patients with the class")
            axis.tick_params(labelbottom=True)
        if place % columns == 0:
            axis.set_ylabel("AUC")
    numbers = [_tail_number(row, point) for row in rows for point in points[row.key]]
    figure.legend(handles=_group_keys(numbers), loc="outside upper right", ncols=4)
    say_synthetic(figure, rows[0])
    withheld = any(n["patients"] is None for n in numbers)
    caption = (
        f"AUC of {study} against how frequent a class is; a mark a class, mean over folds and "
        f"runs. Thin lines: {INTERVAL_WORDS}.",
        "Level lines: mean over the classes of a group. ρ: Spearman's rank correlation of AUC with "
        "the number of patients who have the class. Dashed: chance.",
        *(["Classes whose count of patients was withheld have no mark."] if withheld else []),
        *data_notes(rows, options),
        *seen_notes(rows),
    )
    return Drawing("long-tail", figure, caption, numbers)


def _tail_number(row: RowResults, point: TailPoint) -> dict[str, Any]:
    low, high = point.interval or (None, None)
    return {
        "row": row.name,
        "title": row.title,
        "class": point.name,
        "group": point.group,
        "patients": point.patients,
        "auc": point.mean,
        "low": low,
        "high": high,
    }


def _tail_panel(axis: Axes, here: Sequence[TailPoint]) -> None:
    by_group: dict[str, list[TailPoint]] = {}
    for point in here:
        by_group.setdefault(point.group, []).append(point)
    for group, members in by_group.items():
        look = LOOKS[group]
        counts = np.array([point.patients for point in members])
        aucs = np.array([point.mean for point in members])
        for point in members:
            if point.at is not None and point.interval is not None:
                axis.plot(
                    [point.at[0]] * 2,
                    point.interval,
                    color=look.colour,
                    lw=0.5,
                    alpha=0.6,
                    zorder=1.2,
                )
        ends = [counts.min(), counts.max()]
        axis.plot(ends, [aucs.mean()] * 2, color=look.colour, lw=1.6, alpha=0.45, zorder=1.5)
        axis.plot(counts, aucs, look.marker, color=look.colour, ms=look.size, mew=0)


def _group_keys(numbers: Numbers) -> list[Line2D]:
    from matplotlib.lines import Line2D

    shown = {str(n["group"]) for n in numbers}
    return [
        Line2D([], [], ls="", color=look.colour, marker=look.marker, ms=look.size, label=name)
        for name, look in LOOKS.items()
        if name in shown
    ]
