"""Mixture diagnostics of clustering methods for print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.errors import ResultsError
from bench.report.figures.drawing import Drawing, say_synthetic
from bench.report.figures.style import LOOKS, TWO_COLUMNS, wrapped
from bench.report.mixture import CAPTION, draw_mixture, has_purity
from bench.report.notes import data_notes
from bench.report.options import Options
from bench.report.results import RowResults
from bench.report.training import clusterings


def mixture_figure(study: str, rows: Sequence[RowResults], options: Options) -> Drawing:
    """A line of panels for each row whose records tell of a clustering.

    Raises:
        ResultsError: none does.
    """
    from matplotlib.figure import Figure

    told_of = [(row, clusterings(row)) for row in rows]
    clustered = [(row, found) for row, found in told_of if found]
    pure = any(has_purity(found) for _, found in clustered)
    figure = Figure(figsize=(TWO_COLUMNS, 0.2 + 1.7 * len(clustered)), layout="constrained")
    numbers: list[dict[str, Any]] = []
    colours = (LOOKS["common"].colour, LOOKS["rare"].colour)
    for place, (row, found) in enumerate(clustered):
        first = 1 + place * (2 + pure)
        axes = [
            figure.add_subplot(len(clustered), 2 + pure, first + panel) for panel in range(2 + pure)
        ]
        told = draw_mixture(axes, found, row.classes, colours)
        axes[0].set_title(wrapped(f"{row.title}: occupancy", 2 + pure))
        numbers += [
            {"row": row.name, "title": row.title, "what": what, "value": value}
            for what, value in told
        ]
    if not numbers:
        raise ResultsError(f"no record of {study} tells of a clustering")
    say_synthetic(figure, rows[0])
    with_any = [row for row, _ in clustered]
    caption = (
        f"Mixture diagnostics of {study}, mean over trials; bands and bars from the lowest to the "
        "highest trial.",
        CAPTION,
        *data_notes(with_any, options),
    )
    return Drawing("mixture", figure, caption, numbers)
