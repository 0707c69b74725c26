"""Figures of training: the losses by epoch, and what the mixtures of a clustering method did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from bench.report.mixture import CAPTION, by_epoch, draw_band, draw_mixture, has_purity, mean_of
from bench.report.page.figure import Figure, Line, broken, number
from bench.report.page.origin import slug
from bench.report.page.svg import SERIES, Drawing, style
from bench.report.results import RowResults
from bench.report.training import History, clusterings, histories

_LOSSES = (("loss", "training", SERIES[0], "-"), ("validation", "validation", SERIES[1], "--"))


def learning_figure(rows: Sequence[RowResults]) -> Figure | None:
    """Losses by epoch, a panel a row, mean and range over trials; None where none was trained."""
    told_of = [(row, histories(row)) for row in rows]
    trained = [(row, found) for row, found in told_of if found]
    if not trained:
        return None
    across = min(3, len(trained))
    down = -(-len(trained) // across)
    lines: list[Line] = []
    with style():
        drawing = Drawing("learning", 2.1 * down + 0.6)
        axes = drawing.figure.subplots(down, across, squeeze=False)
        for axis, (row, found) in zip(axes.flat, trained, strict=False):
            drawing.tag(axis, row=slug(row))
            axis.set_title(broken(row.title, 26))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            for key, label, colour, dash in _LOSSES:
                values = _losses(found, key)
                draw_band(axis, values, colour, dash, label)
                lines += _loss_lines(row, label, values)
        for axis in axes.flat[len(trained) :]:
            axis.set_visible(False)
        for axis in axes[:, 0]:
            axis.set_ylabel("Loss")
        drawing.figure.supxlabel("Epoch", fontsize=9)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        drawing.figure.legend(handles, labels, loc="outside upper right", ncols=2)
        told = "; ".join(
            f"{row.title}: validation loss {number(_ends(found)[0])} to {number(_ends(found)[1])}"
            for row, found in trained
        )
        svg = drawing.svg("Learning curves", f"One panel a method. {told}.")
    if not lines:
        return None
    return Figure(
        "learning",
        "Learning curves",
        "Mean over trials; the band is from the lowest to the highest trial. Losses of different "
        "methods are different sums: compare shapes, not heights.",
        svg,
        ("Method", "Loss", "First epoch", "Lowest", "Last epoch", "Trials"),
        tuple(lines),
    )


def mixture_figure(rows: Sequence[RowResults]) -> Figure | None:
    """Occupancy, churn and agreement with the labels, purity; a line of panels a row. None where
    no record tells of a clustering."""
    told_of = [(row, clusterings(row)) for row in rows]
    clustered = [(row, found) for row, found in told_of if found]
    if not clustered:
        return None
    lines: list[Line] = []
    with style():
        drawing = Drawing("mixture", 2.4 * len(clustered) + 0.2)
        pure = any(has_purity(found) for _, found in clustered)
        axes = drawing.figure.subplots(len(clustered), 2 + pure, squeeze=False)
        for panels, (row, found) in zip(axes, clustered, strict=True):
            for axis in panels:
                drawing.tag(axis, row=slug(row))
            told = draw_mixture(panels, found, row.classes, (SERIES[0], SERIES[1]))
            lines += [Line((row.title, what, number(value)), slug(row)) for what, value in told]
            panels[0].set_title(f"{row.title}: occupancy")
        words = "; ".join(" ".join(line.cells) for line in lines)
        svg = drawing.svg("Mixture diagnostics", f"{words}.")
    if not lines:
        return None
    return Figure(
        "mixture",
        "Mixture diagnostics",
        CAPTION,
        svg,
        ("Method", "What", "Value"),
        tuple(lines),
    )


def _losses(found: Sequence[History], key: str) -> np.ndarray:
    """(trials, epochs) of one loss."""
    return by_epoch([history.epochs for history in found], key)


def _ends(found: Sequence[History]) -> tuple[float, float]:
    mean = mean_of(_losses(found, "validation"))
    return float(mean[0]), float(mean[-1])


def _loss_lines(row: RowResults, label: str, values: np.ndarray) -> list[Line]:
    mean = mean_of(values)
    known = mean[~np.isnan(mean)]
    if not len(known):
        return []
    told = (number(float(known[0])), number(float(known.min())), number(float(known[-1])))
    return [Line((row.title, label, *told, str(len(values))), slug(row))]
