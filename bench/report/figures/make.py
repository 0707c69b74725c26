"""From a study's records to its figures.

table2       Table 2 as dots and intervals
classes      heatmap of rows and classes, the rarest first
long-tail    AUC against how frequent a class is
pairs        paired differences
ranks        critical differences of mean ranks
learning     losses by epoch
mixture      what the mixtures of a clustering method did
embeddings   test images before and after training (the paper's Figure 2)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.errors import ResultsError
from bench.report.compare import find_baseline
from bench.report.figures.classes import class_numbers, heatmap_figure, tail_figure
from bench.report.figures.differences import pair_figure
from bench.report.figures.drawing import Drawing, write_drawing
from bench.report.figures.embeddings import embedding_figure
from bench.report.figures.intervals import patient_intervals
from bench.report.figures.learning import learning_figure
from bench.report.figures.mixture import mixture_figure
from bench.report.figures.overall import table_figure
from bench.report.figures.ranks import ranks_figure
from bench.report.figures.style import styled
from bench.report.options import Options
from bench.report.results import load_results
from bench.report.tables import ordered_rows
from bench.runs.study import declared_rows


def make_figures(
    results: Path, study: str, formats: Sequence[str], tell: Callable[[str], None]
) -> list[Path]:
    """Writes the figures of a study into its folder `figures` and returns the paths.

    Args:
        formats: some of `FORMATS`.
        tell: takes a line for each figure that the records are not enough for.

    Raises:
        ResultsError: no finished trial, or the folder cannot be written.
        UsageError: matplotlib is not installed.
    """
    written: list[Path] = []
    with styled():
        for make in _figures(results, study):
            try:
                drawing = make()
            except ResultsError as error:
                tell(f"{study}, a figure less: {error}")
                continue
            written += write_drawing(drawing, results / study / "figures", formats)
    return written


def _figures(results: Path, study: str) -> Iterator[Callable[[], Drawing]]:
    options = Options()
    declared = declared_rows(results, study)
    rows = ordered_rows(load_results(results, study, options), declared, study, "2")
    baseline = find_baseline(rows, declared, None)
    intervals = [patient_intervals(row, options) for row in rows]
    by_class = class_numbers(study, rows, intervals, options)
    yield lambda: table_figure(study, rows, intervals, options)
    yield lambda: heatmap_figure(study, rows, by_class, options)
    yield lambda: tail_figure(study, rows, options)
    yield lambda: pair_figure(study, rows, baseline, options)
    yield lambda: ranks_figure(study, rows, baseline, options)
    yield lambda: learning_figure(study, rows, options)
    yield lambda: mixture_figure(study, rows, options)
    yield lambda: embedding_figure(study, rows, options)
