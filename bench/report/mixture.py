"""Panels on what the mixtures of a clustering method did, for the page and for print."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.classes import TRAIN_COUNTS
from bench.report.training import Fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Told = list[tuple[str, float]]
"""What was drawn in numbers, by name."""
Colours = tuple[str, str]

CAPTION = (
    "Of the training images. Occupancy: images of each component at the last fit, largest first; "
    "mean and range over trials. Churn: share of images whose component changed since the fit "
    "before. NMI: normalised mutual information of components and label sets. Purity: of the pairs "
    "that the images of a class make with others of their component, the share where the other has "
    "the class too; chance is about the prevalence."
)
_MEASURES = (("churn", "churn", 0, "-"), ("nmi", "NMI with the labels", 1, "--"))


def draw_mixture(
    panels: Sequence[Axes], found: Sequence[Sequence[Fit]], classes: Sequence[str], colours: Colours
) -> Told:
    """Occupancy, churn with NMI, and purity, as many of them as there are panels.

    Args:
        found: of each trial its fits, as `training.clusterings` gives them.
    """
    told = _occupancy(panels[0], found, colours)
    told += _measures(panels[1], found, colours)
    return told + (_purity(panels[2], found, classes, colours) if len(panels) > 2 else [])


def has_purity(found: Sequence[Sequence[Fit]]) -> bool:
    """Whether some trial tells of purity at its last fit."""
    return any(fits[-1].get("class_purity") for fits in found)


def by_epoch(found: Sequence[Sequence[Mapping[str, Any]]], key: str) -> np.ndarray:
    """(trials, epochs) of one number, NaN where a trial has none."""
    last = max(int(entry["epoch"]) for entries in found for entry in entries)
    values = np.full((len(found), last + 1), np.nan)
    for place, entries in enumerate(found):
        for entry in entries:
            value = entry.get(key)
            values[place, int(entry["epoch"])] = np.nan if value is None else value
    return values


def mean_of(values: np.ndarray) -> np.ndarray:
    """(epochs,) mean over the trials that have a number; NaN where none has."""
    return _over(values, np.mean)


def draw_band(axis: Axes, values: np.ndarray, colour: str, dash: str, label: str) -> None:
    """The mean over trials (trials, epochs) by epoch, on a band from the lowest to the highest."""
    mean = mean_of(values)
    epochs = np.flatnonzero(~np.isnan(mean))
    low, high = _over(values, np.min)[epochs], _over(values, np.max)[epochs]
    axis.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
    axis.plot(epochs, mean[epochs], color=colour, linestyle=dash, linewidth=1.6, label=label)


def _occupancy(axis: Axes, found: Sequence[Sequence[Fit]], colours: Colours) -> Told:
    axis.set_title("Occupancy")
    axis.set_xlabel("Component")
    axis.set_ylabel("Images")
    last = [sorted(fits[-1].get("occupancy", ()), reverse=True) for fits in found]
    last = [sizes for sizes in last if sizes]
    if not last:
        return _nothing(axis)
    width = max(map(len, last))
    values = np.array([sizes + [0] * (width - len(sizes)) for sizes in last], dtype=float)
    places = range(1, width + 1)
    axis.bar(places, values.mean(axis=0), color=colours[0], width=0.75)
    axis.vlines(places, values.min(axis=0), values.max(axis=0), color=colours[1], linewidth=1)
    empty = [sum(size == 0 for size in sizes) for sizes in last]
    return [
        ("components", float(width)),
        ("largest component, images", float(values[:, 0].mean())),
        ("smallest component, images", float(values[:, -1].mean())),
        ("empty components, mean over trials", float(np.mean(empty))),
    ]


def _measures(axis: Axes, found: Sequence[Sequence[Fit]], colours: Colours) -> Told:
    from matplotlib.ticker import MaxNLocator

    axis.set_title("Churn and NMI")
    axis.set_xlabel("Epoch")
    axis.set_ylim(0, 1)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    told = []
    for key, label, colour, dash in _MEASURES:
        values = by_epoch(found, key)
        if not np.isnan(values).all():
            draw_band(axis, values, colours[colour], dash, label)
            mean = mean_of(values)
            told.append((f"{label}, last fit", float(mean[~np.isnan(mean)][-1])))
    if not told:
        return _nothing(axis)
    axis.legend(loc="best")
    return told


def _purity(
    axis: Axes, found: Sequence[Sequence[Fit]], classes: Sequence[str], colours: Colours
) -> Told:
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axis.set_title("Purity by class")
    axis.set_xlabel("Training images in CXR-LT (log scale)")
    last = [fits[-1]["class_purity"] for fits in found if "class_purity" in fits[-1]]
    mean = mean_of(np.array(last, dtype=float)) if last else np.full(len(classes), np.nan)
    known = [c for c, name in enumerate(classes) if name in TRAIN_COUNTS and not np.isnan(mean[c])]
    if not known:
        return _nothing(axis)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(0, 1)
    counts = [TRAIN_COUNTS[classes[c]] for c in known]
    axis.plot(counts, mean[known], "o", color=colours[0], markersize=4)
    return [(f"purity, {classes[c]}", float(mean[c])) for c in known]


def _nothing(axis: Axes) -> Told:
    axis.text(0.5, 0.5, "not in these records", ha="center", transform=axis.transAxes)
    return []


def _over(values: np.ndarray, how: Callable[[np.ndarray], float]) -> np.ndarray:
    """(epochs,) of what there is of each; NaN where there is nothing."""
    columns = (column[~np.isnan(column)] for column in values.T)
    return np.array([how(column) if len(column) else np.nan for column in columns])
