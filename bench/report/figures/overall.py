"""Table 2 as dots and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.report.figures.drawing import Drawing, Numbers, say_synthetic
from bench.report.figures.intervals import Intervals, interval_words
from bench.report.figures.style import CHANCE, FAINT, INK, TWO_COLUMNS
from bench.report.main_table import main_table
from bench.report.notes import data_notes
from bench.report.options import Options
from bench.report.results import RowResults
from bench.report.seen import mark_of, seen_notes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


def table_figure(
    study: str,
    rows: Sequence[RowResults],
    intervals: Sequence[Intervals | None],
    options: Options,
) -> Drawing:
    """A panel a group of classes, a line a row: mean and sd over runs as in Table 2, and how far
    other patients would move it."""
    from matplotlib.figure import Figure

    numbers = _numbers(study, rows, intervals, options)
    figure = Figure(figsize=(TWO_COLUMNS, 0.95 + 0.19 * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(options.groups), sharex=True, sharey=True, squeeze=False)[0]
    for axis, group in zip(axes, options.groups, strict=True):
        _panel(axis, [n for n in numbers if n["classes"] == group.key])
        axis.set_title(f"{group.title} ({int(rows[0].members(group).sum())} classes)")
    axes[0].set_yticks(range(len(rows)), [row.title + mark_of(row) for row in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    below = axes[0].get_xlim()[0] < 0.5
    for axis in axes if below else ():
        axis.axvline(0.5, **CHANCE)
    figure.legend(handles=_keys(), loc="outside upper right", ncols=3)
    say_synthetic(figure, rows[0])
    caption = (
        f"AUC of {study} by group of classes (Table 2).",
        "Dots: mean over runs of the mean over classes. Thick lines: ± sd over runs, where there "
        "are several; it says how much repeating the cross-validation on the same patients moves "
        "the mean, not what other patients would do.",
        interval_words(rows, intervals),
        *(["Dashed: chance."] if below else []),
        *data_notes(rows, options),
        *seen_notes(rows),
    )
    return Drawing("table2", figure, caption, numbers)


def _numbers(
    study: str,
    rows: Sequence[RowResults],
    intervals: Sequence[Intervals | None],
    options: Options,
) -> Numbers:
    records = main_table(study, "2", rows, None, (), options).records()
    numbers = []
    for row, found, record in zip(rows, intervals, records, strict=True):
        for group in options.groups:
            low, high = (found.groups if found else {}).get(group.key, (None, None))
            numbers.append(
                {
                    "row": row.name,
                    "title": row.title,
                    "classes": group.key,
                    "auc": record[f"{group.key}_auc"],
                    "sd": record[f"{group.key}_sd"],
                    "patients_low": low,
                    "patients_high": high,
                }
            )
    return numbers


def _panel(axis: Axes, numbers: Numbers) -> None:
    for y, n in enumerate(numbers):
        if n["auc"] is None:
            axis.text(0.02, y, "undefined", transform=axis.get_yaxis_transform(), va="center")
            continue
        if n["patients_low"] is not None:
            axis.plot([n["patients_low"], n["patients_high"]], [y, y], color=FAINT, lw=0.7)
        if n["sd"] is not None:
            ends = [n["auc"] - n["sd"], n["auc"] + n["sd"]]
            axis.plot(ends, [y, y], color=INK, lw=2.4, solid_capstyle="butt")
        axis.plot(n["auc"], y, "o", color=INK, mfc="white", ms=3.6, mew=0.9, zorder=3)
    axis.set_xlabel("AUC")
    axis.grid(axis="x")
    axis.tick_params(axis="y", length=0)


def _keys() -> list[Artist]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], ls="", marker="o", color=INK, mfc="white", ms=3.6, mew=0.9, label="mean"),
        Line2D([], [], color=INK, lw=2.4, solid_capstyle="butt", label="± sd over runs"),
        Line2D([], [], color=FAINT, lw=0.7, label="95 %, new patients"),
    ]
