"""Every class on its own: a heatmap, the rarest first, and AUC against how frequent a class is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.report.class_table import class_table
from bench.report.figures.drawing import Drawing, Numbers, say_synthetic
from bench.report.figures.intervals import Intervals, interval_words
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


def tail_figure(
    study: str,
    rows: Sequence[RowResults],
    intervals: Sequence[Intervals | None],
    numbers: Numbers,
    options: Options,
) -> Drawing:
    """The long-tail curve: a panel a row, AUC of each class over its number of positive images."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    lines, columns = panels(len(rows), 3)
    figure = Figure(figsize=(TWO_COLUMNS, 0.6 + 1.7 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, row, interval in zip(axes, rows, intervals, strict=False):
        here = [n for n in numbers if n["row"] == row.name and n["auc"] is not None]
        _tail_panel(axis, here, with_patients=interval is not None)
        correlation = _rank_correlation(here)
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
            axis.set_xlabel("Positive images of the class")
            axis.tick_params(labelbottom=True)
        if place % columns == 0:
            axis.set_ylabel("AUC")
    figure.legend(handles=_group_keys(numbers), loc="outside upper right", ncols=4)
    say_synthetic(figure, rows[0])
    spread = "" if all(intervals) else " Lines of rows without scores per image: ± sd over runs."
    caption = (
        f"AUC of {study} against how frequent a class is; a mark a class, mean over runs.",
        f"{interval_words(rows, intervals)}{spread}",
        "Level lines: mean over the classes of a group. ρ: Spearman's rank correlation of AUC with "
        "the number of positive images. Dashed: chance.",
        *data_notes(rows, options),
        *seen_notes(rows),
    )
    return Drawing("long-tail", figure, caption, numbers)


def _tail_panel(axis: Axes, here: Numbers, *, with_patients: bool) -> None:
    by_group: dict[str, list[Mapping[str, Any]]] = {}
    for n in here:
        by_group.setdefault(str(n["group"]), []).append(n)
    for group, members in by_group.items():
        look = LOOKS[group]
        counts = np.array([n["positive_images"] for n in members])
        aucs = np.array([n["auc"] for n in members])
        for n in members:
            low, high = n["patients_low"], n["patients_high"]
            if not with_patients and n["sd"] is not None:
                low, high = n["auc"] - n["sd"], n["auc"] + n["sd"]
            if low is not None:
                line = [n["positive_images"]] * 2
                axis.plot(line, [low, high], color=look.colour, lw=0.5, alpha=0.6, zorder=1.2)
        ends = [counts.min(), counts.max()]
        axis.plot(ends, [aucs.mean()] * 2, color=look.colour, lw=1.6, alpha=0.45, zorder=1.5)
        axis.plot(counts, aucs, look.marker, color=look.colour, ms=look.size, mew=0)


def _rank_correlation(here: Numbers) -> float | None:
    """Spearman's, of AUC and positive images; None where either is the same for all classes."""
    from scipy.stats import spearmanr

    counts, aucs = ([n[key] for n in here] for key in ("positive_images", "auc"))
    if len(set(counts)) < 2 or len(set(aucs)) < 2:
        return None
    return float(spearmanr(counts, aucs).statistic)


def _group_keys(numbers: Numbers) -> list[Line2D]:
    from matplotlib.lines import Line2D

    shown = {str(n["group"]) for n in numbers}
    return [
        Line2D([], [], ls="", color=look.colour, marker=look.marker, ms=look.size, label=name)
        for name, look in LOOKS.items()
        if name in shown
    ]
