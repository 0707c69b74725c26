"""Learning curves: the loss of the training images and of the inner validation patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import ResultsError
from bench.report.figures.drawing import Drawing, Numbers, say_synthetic
from bench.report.figures.style import FAINT, LOOKS, TWO_COLUMNS, panels, wrapped
from bench.report.notes import data_notes
from bench.report.options import Options
from bench.report.results import RowResults
from bench.report.training import histories

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOSSES = {
    "loss": ("training", LOOKS["common"].colour, "-"),
    "validation": ("validation", LOOKS["rare"].colour, (0, (4, 1.2))),
}


def learning_figure(study: str, rows: Sequence[RowResults], options: Options) -> Drawing:
    """A panel a row: each trial as a thin line, their mean as a thick one.

    Raises:
        ResultsError: no row was trained.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    told = {row.key: _numbers(row) for row in rows}
    trained = [row for row in rows if told[row.key]]
    if not trained:
        raise ResultsError(f"no row of {study} has a training history in its records")
    lines, columns = panels(len(trained), 3)
    figure = Figure(figsize=(TWO_COLUMNS, 0.6 + 1.55 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for place, (axis, row) in enumerate(zip(axes, trained, strict=False)):
        _panel(axis, told[row.key])
        axis.set_title(wrapped(row.title, columns))
        axis.set_xlabel("Epoch")
        if place % columns == 0:
            axis.set_ylabel("Loss")
    for axis in axes[len(trained) :]:
        axis.set_visible(False)
    keys = [
        Line2D([], [], color=colour, ls=style, lw=1.4, label=name)
        for name, colour, style in _LOSSES.values()
    ]
    kept = Line2D([], [], color=FAINT, marker="|", ls="", ms=5, label="epoch kept")
    figure.legend(handles=[*keys, kept], loc="outside upper right", ncols=3)
    say_synthetic(figure, rows[0])
    caption = (
        f"Learning curves of {study}; thin lines are trials (run and fold), thick ones their mean "
        "over the trials that still train in that epoch.",
        "Each row has a loss of its own: heights are not compared between panels. Validation is on "
        "patients of the training part, never of the test fold. Ticks at the bottom: the epochs "
        "whose weights were kept.",
        *data_notes(rows, options),
    )
    return Drawing("learning", figure, caption, [n for row in trained for n in told[row.key]])


def _panel(axis: Axes, numbers: Numbers) -> None:
    from matplotlib.ticker import MaxNLocator

    trials = sorted({(n["run"], n["fold"]) for n in numbers})
    for key, (_, colour, style) in _LOSSES.items():
        by_epoch: dict[int, list[float]] = {}
        for trial in trials:
            known = [n for n in numbers if (n["run"], n["fold"]) == trial and n[key] is not None]
            for n in known:
                by_epoch.setdefault(n["epoch"], []).append(n[key])
            axis.plot(
                [n["epoch"] for n in known],
                [n[key] for n in known],
                color=colour,
                lw=0.4,
                alpha=min(0.5, 4 / len(trials)),
            )
        epochs = sorted(by_epoch)
        means = [float(np.mean(by_epoch[epoch])) for epoch in epochs]
        axis.plot(epochs, means, color=colour, lw=1.4, ls=style)
    kept = [n["epoch"] for n in numbers if n["kept"]]
    axis.plot(
        kept, [0.03] * len(kept), "|", color=FAINT, ms=5, transform=axis.get_xaxis_transform()
    )
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _numbers(row: RowResults) -> list[dict[str, Any]]:
    """A record an epoch of each trial of a row; empty where nothing was trained."""
    return [
        {
            "row": row.name,
            "title": row.title,
            "run": history.run,
            "fold": history.fold,
            "epoch": epoch["epoch"],
            "loss": epoch.get("loss"),
            "validation": epoch.get("validation"),
            "kept": epoch["epoch"] == history.kept,
        }
        for history in histories(row)
        for epoch in history.epochs
    ]
