"""ROC and precision-recall of each class, all rows in one drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.report.options import Options
from bench.report.page.curves import Curves, row_curves
from bench.report.page.figure import Figure, Line, number
from bench.report.page.origin import slug
from bench.report.page.svg import MUTED, Drawing, series, style
from bench.report.results import RowResults
from bench.report.scores import has_scores

_AT = (0.1, 0.2)
"""False positive rates whose sensitivity the table under the drawing tells."""
_CHANCE = {"color": MUTED, "linewidth": 0.8, "linestyle": (0, (4, 3))}


class _Row(NamedTuple):
    place: int
    """Among all rows of the page: it decides colour, dash and marker."""
    row: RowResults
    run: int
    curves: list[Curves | None]

    def of(self, name: str) -> Curves | None:
        return self.curves[self.row.classes.index(name)] if name in self.row.classes else None


def curve_figures(
    rows: Sequence[RowResults], order: Sequence[str], options: Options
) -> Iterator[Figure]:
    """A figure for each class in the given order that has a curve in some row with scores."""
    scored = [(place, row) for place, row in enumerate(rows) if row.complete and has_scores(row)]
    found = [_Row(place, row, *row_curves(row, options)) for place, row in scored]
    if not found:
        return
    with style():
        board = _Board(found)
        for place, name in enumerate(order):
            if any(one.of(name) for one in found):
                yield board.figure(f"curve{place}", name)


class _Board:
    """One drawing whose lines are moved from class to class: laying out forty would take longer
    than all the rest of the page."""

    def __init__(self, found: Sequence[_Row]) -> None:
        self._found = found
        self._drawing = Drawing("curve", 3.5, layout=None)
        self._drawing.figure.subplots_adjust(0.05, 0.14, 0.8, 0.92, wspace=0.18)
        self._roc, self._pr = self._drawing.figure.subplots(1, 2)
        _dressed(self._roc, "ROC", "False positive rate", "True positive rate")
        _dressed(self._pr, "Precision-recall", "Recall", "Precision")
        self._roc.plot([0, 1], [0, 1], **_CHANCE)
        self._prevalence = self._pr.axhline(0, **_CHANCE)
        self._lines = [(self._line(self._roc, one), self._line(self._pr, one)) for one in found]
        self._drawing.figure.legend(handles=[roc for roc, _ in self._lines], loc="center right")

    def _line(self, axis: Axes, one: _Row) -> Line2D:
        colour, dash, marker = series(one.place)
        (line,) = axis.plot([], [], dash, color=colour, marker=marker, label=one.row.title)
        line.set(linewidth=1.6, markersize=3.5)
        self._drawing.tag(line, row=slug(one.row), title=one.row.title)
        return line

    def figure(self, key: str, name: str) -> Figure:
        """The curves of one class."""
        shown = [(one, curves) for one in self._found if (curves := one.of(name)) is not None]
        for one, (roc, pr) in zip(self._found, self._lines, strict=True):
            curves = one.of(name)
            places = curves.places if curves else np.array([])
            roc.set_data(places, curves.sensitivity if curves else [])
            pr.set_data(places, curves.precision if curves else [])
            for line in (roc, pr):
                line.set_markevery((one.place % 4, max(1, len(places) // 6)))
        first = shown[0][1]
        self._prevalence.set_ydata([first.prevalence] * 2)
        top = max(float(np.nanmax(curves.precision)) for _, curves in shown)
        self._pr.set_ylim(0, min(1.02, max(0.1, 1.15 * top)))
        self._drawing.key = key
        told = "; ".join(
            f"{one.row.title} finds {_at(curves, 0.1):.0%} at 10% false positives"
            for one, curves in shown
        )
        runs = " and ".join(str(run) for run in sorted({one.run for one, _ in shown}))
        patients = shown[0][0].row.told["data"]["positive_patients"][name]
        return Figure(
            key,
            name,
            f"{patients} positive patients. Mean over the folds of run {runs} that have enough "
            f"patients with the finding and without it, at "
            f"{len(first.places)} places. Dashed: chance; for precision that is the prevalence, "
            f"{first.prevalence:.3f}.",
            self._drawing.svg(f"ROC and precision-recall of {name}", f"{told}."),
            (
                "Method",
                *(f"Sensitivity at {at:.0%} false positives" for at in _AT),
                "Precision at 50% recall",
            ),
            tuple(_told(one.row, curves) for one, curves in shown),
            of_class=name,
        )


def _told(row: RowResults, curves: Curves) -> Line:
    half = float(np.interp(0.5, curves.places, curves.precision))
    rates = (number(_at(curves, at), ".2f") for at in _AT)
    return Line((row.title, *rates, number(half, ".2f")), slug(row))


def _at(curves: Curves, rate: float) -> float:
    return float(np.interp(rate, curves.places, curves.sensitivity))


def _dressed(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set(title=title, xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.02))
