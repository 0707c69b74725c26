"""Figures of training: the losses by epoch, and what the mixtures of a clustering method did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.classes import TRAIN_COUNTS
from bench.report.page.figure import Figure, Line, broken, number
from bench.report.page.ran import Ran
from bench.report.page.svg import SERIES, Drawing, style

_LOSSES = (("loss", "training", SERIES[0], "-"), ("validation", "validation", SERIES[1], "--"))
_MEASURES = (("churn", "churn", SERIES[0], "-"), ("nmi", "NMI with the labels", SERIES[1], "--"))


def learning_figure(ran: Sequence[Ran]) -> Figure | None:
    """Losses by epoch, a panel a row, mean and range over trials; None where none was trained."""
    trained = [(one, _histories(one)) for one in ran]
    trained = [(one, histories) for one, histories in trained if histories]
    if not trained:
        return None
    across = min(3, len(trained))
    down = -(-len(trained) // across)
    lines: list[Line] = []
    with style():
        drawing = Drawing("learning", 2.1 * down + 0.6)
        axes = drawing.figure.subplots(down, across, squeeze=False)
        for axis, (one, histories) in zip(axes.flat, trained, strict=False):
            drawing.tag(axis, row=one.slug)
            axis.set_title(broken(one.title, 26))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            for key, label, colour, dash in _LOSSES:
                values = _by_epoch(histories, key)
                _band(axis, values, colour, dash, label)
                lines += _loss_lines(one, label, values)
        for axis in axes.flat[len(trained) :]:
            axis.set_visible(False)
        for axis in axes[:, 0]:
            axis.set_ylabel("Loss")
        drawing.figure.supxlabel("Epoch", fontsize=9)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        drawing.figure.legend(handles, labels, loc="outside upper right", ncols=2)
        told = "; ".join(
            f"{one.title}: validation loss {number(_ends(histories)[0])} to "
            f"{number(_ends(histories)[1])}"
            for one, histories in trained
        )
        svg = drawing.svg("Learning curves", f"One panel a method. {told}.")
    return Figure(
        "learning",
        "Learning curves",
        "Mean over trials; the band is from the lowest to the highest trial. Losses of different "
        "methods are different sums: compare shapes, not heights.",
        svg,
        ("Method", "Loss", "First epoch", "Lowest", "Last epoch", "Trials"),
        tuple(lines),
    )


def mixture_figure(ran: Sequence[Ran]) -> Figure | None:
    """Occupancy, churn and agreement with the labels, purity; a line of panels a row. None where
    no record tells of a clustering."""
    clustered = [(one, _clusterings(one)) for one in ran]
    clustered = [(one, found) for one, found in clustered if found]
    if not clustered:
        return None
    lines: list[Line] = []
    with style():
        drawing = Drawing("mixture", 2.4 * len(clustered) + 0.2)
        pure = any(fits[-1].get("class_purity") for _, found in clustered for fits in found)
        axes = drawing.figure.subplots(len(clustered), 2 + pure, squeeze=False)
        for panels, (one, found) in zip(axes, clustered, strict=True):
            for axis, draw in zip(panels, (_occupancy, _measures, _purity), strict=False):
                drawing.tag(axis, row=one.slug)
                lines += [Line((one.title, *cells), one.slug) for cells in draw(axis, one, found)]
            panels[0].set_title(f"{one.title}: occupancy")
        told = "; ".join(" ".join(line.cells) for line in lines)
        svg = drawing.svg("Mixture diagnostics", f"{told}.")
    return Figure(
        "mixture",
        "Mixture diagnostics",
        "Of the training images. Occupancy: images of each component at the last fit, largest "
        "first; mean and range over trials. Churn: share of images whose component changed since "
        "the fit before. NMI: normalised mutual information of components and label sets. Purity: "
        "of the pairs that the images of a class make with others of their component, the share "
        "where the other has the class too; chance is about the prevalence.",
        svg,
        ("Method", "What", "Value"),
        tuple(lines),
    )


def _occupancy(
    axis: Axes, one: Ran, found: Sequence[Sequence[Mapping[str, Any]]]
) -> list[tuple[str, str]]:
    last = [sorted(fits[-1].get("occupancy", []), reverse=True) for fits in found]
    width = max(map(len, last), default=0)
    values = np.array([sizes + [0] * (width - len(sizes)) for sizes in last], dtype=float)
    axis.set_xlabel("Component")
    axis.set_ylabel("Images")
    if not width:
        return _nothing(axis)
    axis.bar(range(1, width + 1), values.mean(axis=0), color=SERIES[0], width=0.75)
    axis.vlines(
        range(1, width + 1), values.min(axis=0), values.max(axis=0), color=SERIES[1], linewidth=1
    )
    empty = [sum(size == 0 for size in sizes) for sizes in last]
    return [
        ("components", str(width)),
        ("largest", number(float(values[:, 0].mean()), ".0f")),
        ("smallest", number(float(values[:, -1].mean()), ".0f")),
        ("empty, mean over trials", number(float(np.mean(empty)), ".2f")),
    ]


def _measures(
    axis: Axes, one: Ran, found: Sequence[Sequence[Mapping[str, Any]]]
) -> list[tuple[str, str]]:
    axis.set_title("Churn and NMI")
    axis.set_xlabel("Epoch")
    axis.set_ylim(0, 1)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    told = []
    for key, label, colour, dash in _MEASURES:
        values = _by_epoch(found, key)
        if not np.isnan(values).all():
            _band(axis, values, colour, dash, label)
            told.append((f"{label}, last fit", number(_mean(values)[-1])))
    if not told:
        return _nothing(axis)
    axis.legend(loc="best")
    return told


def _purity(
    axis: Axes, one: Ran, found: Sequence[Sequence[Mapping[str, Any]]]
) -> list[tuple[str, str]]:
    axis.set_title("Purity by class")
    axis.set_xlabel("Training images in CXR-LT (log scale)")
    classes = one.done[0]["spec"]["classes"]
    last = [fits[-1].get("class_purity") for fits in found]
    values = np.array([purity for purity in last if purity], dtype=float)
    if not values.size:
        return _nothing(axis)
    mean = _mean(values)
    known = [c for c, name in enumerate(classes) if name in TRAIN_COUNTS]
    axis.set_xscale("log")
    axis.set_ylim(0, 1)
    counts = [TRAIN_COUNTS[classes[c]] for c in known]
    axis.plot(counts, mean[known], "o", color=SERIES[0], markersize=4)
    return [(f"purity, {classes[c]}", number(float(mean[c]))) for c in known]


def _nothing(axis: Axes) -> list[tuple[str, str]]:
    axis.text(0.5, 0.5, "not in these records", ha="center", transform=axis.transAxes)
    return []


def _histories(one: Ran) -> list[Sequence[Mapping[str, Any]]]:
    told = [record.get("training", {}).get("history") for record in one.done]
    return [history for history in told if history]


def _clusterings(one: Ran) -> list[Sequence[Mapping[str, Any]]]:
    told = [record.get("diagnostics", {}).get("clusterings") for record in one.done]
    return [fits for fits in told if fits]


def _by_epoch(found: Sequence[Sequence[Mapping[str, Any]]], key: str) -> np.ndarray:
    """(trials, epochs) of one number, NaN where a trial has none."""
    last = max(int(entry["epoch"]) for entries in found for entry in entries)
    values = np.full((len(found), last + 1), np.nan)
    for place, entries in enumerate(found):
        for entry in entries:
            value = entry.get(key)
            values[place, int(entry["epoch"])] = np.nan if value is None else value
    return values


def _over(values: np.ndarray, how: Callable[[np.ndarray], float]) -> np.ndarray:
    """(epochs,) of what there is of each; NaN where there is nothing."""
    columns = (column[~np.isnan(column)] for column in values.T)
    return np.array([how(column) if len(column) else np.nan for column in columns])


def _mean(values: np.ndarray) -> np.ndarray:
    return _over(values, np.mean)


def _band(axis: Axes, values: np.ndarray, colour: str, dash: str, label: str) -> None:
    mean = _mean(values)
    epochs = np.flatnonzero(~np.isnan(mean))
    low, high = _over(values, np.min)[epochs], _over(values, np.max)[epochs]
    axis.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
    axis.plot(epochs, mean[epochs], color=colour, linestyle=dash, linewidth=1.6, label=label)


def _ends(histories: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[float, float]:
    mean = _mean(_by_epoch(histories, "validation"))
    return float(mean[0]), float(mean[-1])


def _loss_lines(one: Ran, label: str, values: np.ndarray) -> list[Line]:
    mean = _mean(values)
    known = mean[~np.isnan(mean)]
    if not len(known):
        return []
    told = (number(float(known[0])), number(float(known.min())), number(float(known[-1])))
    return [Line((one.title, label, *told, str(len(values))), one.slug)]
