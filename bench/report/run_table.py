"""The values behind the means: runs by folds, for each row and group of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.report.notes import data_notes
from bench.report.options import METRICS, Options
from bench.report.results import RowResults
from bench.report.table import Cell, Column, Table, count, words


def run_table(study: str, rows: Sequence[RowResults], options: Options) -> Table:
    """A line for each run of each row and group: its folds, and the run as the tables use it."""
    metric = METRICS[options.metric]
    folds = max(row.values.shape[1] for row in rows)
    names = ["all folds"] if metric.cross_fitted else [f"Fold {fold}" for fold in range(folds)]
    columns = (
        Column("title", "Method", left=True),
        Column("group", "Classes", left=True),
        Column("run", "Run"),
        *(Column(name.lower().replace(" ", "_"), name) for name in names),
        Column("of_run", f"{metric.title} of the run"),
    )
    lines = []
    for row in rows:
        for group in options.groups:
            by_fold, (by_run, _, _) = row.by_fold(group), row.by_run(group)
            of_run = dict(zip(row.complete or row.runs, by_run, strict=False))
            for place, run in enumerate(row.runs):
                line = [words(row.title), words(group.title), count(run)]
                line += [_value(value) for value in by_fold[place]]
                lines.append((*line, _value(of_run.get(run, np.nan))))
    notes = [
        *data_notes(rows, options),
        f"A fold's value is the mean {metric.title} over the classes defined in that fold. A run's "
        "is, for each class defined in every run, the mean over the folds where it is defined, "
        "then the mean over classes; so it need not be the mean of its folds.",
    ]
    return Table(options.stem("runs"), f"Runs: {study}", columns, tuple(lines), tuple(notes))


def _value(value: float) -> Cell:
    return Cell("undefined") if np.isnan(value) else Cell(f"{value:.3f}", {"": float(value)})
