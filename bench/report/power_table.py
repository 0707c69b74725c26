"""What a user's own study could see, from the spread of the differences in its records."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.errors import ResultsError
from bench.report.compare import Comparison, compare, find_baseline
from bench.report.notes import data_notes, plural
from bench.report.options import Options
from bench.report.results import load_results
from bench.report.table import Cell, Column, Table, words
from bench.report.tables import ordered_rows
from bench.runs.study import declared_rows
from bench.stats.power import patients_needed, power, runs_needed

RUNS = 10
WANTED = 0.8
MOST_RUNS = 1000
_USUAL_ALPHA = 0.05

_COLUMNS = (
    Column("title", "Method", left=True),
    Column("group", "Classes", left=True),
    Column("sd", "sd of differences"),
    Column("n", None),
    Column("alpha", "alpha"),
    Column("power", f"Power, {RUNS} runs"),
    Column("runs", "Runs needed"),
    Column("patients", "Patients needed"),
)


def power_table(results: Path, study: str, difference: float, options: Options) -> Table:
    """Of each row against the baseline: power at 10 runs, runs and patients for a power of 0.8.

    Raises:
        ResultsError: no baseline, no row beside it, or no spread to plan with.
    """
    declared = declared_rows(results, study)
    rows = ordered_rows(load_results(results, study, options), declared, study, "runs")
    baseline = find_baseline(rows, declared, options.baseline)
    others = [
        row for row in rows if baseline and row is not baseline and row.track == baseline.track
    ]
    if baseline is None or not others:
        raise ResultsError(
            f"Power takes two rows of {study}, one of them the baseline; there are "
            f"{', '.join(row.name for row in rows)}. Name one with --baseline, or run another."
        )
    found = compare([(row, baseline) for row in others], options, draw=False)
    every = [c for comparisons in found.values() for c in comparisons]
    usable = [c for c in every if c.procedure.sd and c.procedure.p_value is not None]
    if not usable:
        raise ResultsError(f"No spread to plan with in {study}: {every[0].procedure.reason}.")
    levels = (_USUAL_ALPHA, options.alpha)
    lines = [_line(c, difference, alpha) for c in every for alpha in levels]
    fewest = min(c.procedure.n for c in usable)
    notes = [
        *data_notes(rows, options),
        f"For a true difference of {difference:g} AUC from {baseline.title}. Power: the chance of "
        f"p < alpha with {RUNS} runs of as many folds, by the corrected t-test without adjustment "
        "for several rows.",
        f"Runs needed: for a power of {WANTED:g}. Repeating the cross-validation does not remove "
        f"the variance that the shared patients leave; where {MOST_RUNS} runs are not enough, no "
        "number of runs may be, and more patients are what helps.",
        f"Patients needed: for a power of {WANTED:g} with {RUNS} runs, if the spread falls with "
        "the root of the number of patients and the findings stay as frequent.",
        f"The sd comes from {plural(fewest, 'difference')} or more over runs x folds of this "
        "study; from few it is a guess, and a plan is no proof.",
    ]
    return Table("power", f"Power: {study}", _COLUMNS, tuple(lines), tuple(notes))


def _line(comparison: Comparison, difference: float, alpha: float) -> tuple[Cell, ...]:
    test = comparison.procedure
    start = (words(comparison.row.title), words(comparison.group.title))
    level = Cell(f"{alpha:g}", {"": alpha})
    if not test.sd or test.p_value is None:
        undefined = Cell("undefined")
        return (*start, undefined, Cell("", {"": test.n}), level, *[undefined] * 3)
    sizes = comparison.row.train_test
    folds, ratio = sizes.shape[1], float(np.nanmean(sizes[..., 1] / sizes[..., 0]))
    sd, patients = test.sd, int(comparison.row.told["data"]["patients"])
    chance = power(difference, sd, runs=RUNS, folds=folds, ratio=ratio, alpha=alpha)
    runs = runs_needed(
        difference,
        sd,
        folds=folds,
        ratio=ratio,
        alpha=alpha,
        wanted=WANTED,
        at_most=MOST_RUNS,
    )
    error = sd * float(np.sqrt(1 / (RUNS * folds) + ratio))
    needed = patients_needed(difference, error, patients, alpha=alpha, wanted=WANTED)
    return (
        *start,
        Cell(f"{sd:.4f}", {"": sd}),
        Cell("", {"": test.n}),
        level,
        Cell("undefined" if chance is None else f"{chance:.2f}", {"": chance}),
        Cell(f"over {MOST_RUNS}" if runs is None else str(runs), {"": runs}),
        Cell("undefined" if needed is None else f"{needed:,}", {"": needed}),
    )
