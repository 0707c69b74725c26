"""From a study's records to the table that was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.errors import ResultsError, UsageError, unknown
from bench.report.class_table import class_table
from bench.report.compare import find_baseline
from bench.report.main_table import main_table
from bench.report.options import TABLES, Options
from bench.report.pair_table import pair_table
from bench.report.results import RowResults, load_results
from bench.report.run_table import run_table
from bench.report.table import Table
from bench.runs.study import Row, declared_rows, rows_of_table


def make_table(results: Path, study: str, which: str, options: Options) -> Table:
    """One of `TABLES` from the records of a study.

    Rows of the study file (the paper's, or the user's own) come first in its order; other rows,
    which a user added with settings, follow, except in Table 3.

    Raises:
        ResultsError: no finished trial, or none of the rows of this table.
        UsageError: no such table, prompt policy or baseline.
    """
    if which not in TABLES:
        raise UsageError(unknown("table", which, TABLES))
    declared = declared_rows(results, study)
    rows = ordered_rows(load_results(results, study, options), declared, study, which)
    if options.on is not None:
        study = f"{study} on {options.on}"
        external = rows[0].external
        options = replace(options, unseen=bool(external and external["unseen"]))
    baseline = find_baseline(rows, declared, options.baseline)
    if which == "classes":
        return class_table(study, rows, baseline, options)
    if which == "pairs":
        return pair_table(study, rows, baseline, options)
    if which == "runs":
        return run_table(study, rows, options)
    return main_table(study, which, rows, baseline, declared, options)


def ordered_rows(
    found: list[RowResults], known: tuple[Row, ...], study: str, which: str
) -> list[RowResults]:
    """The rows that a table shows, the declared ones first.

    Raises:
        ResultsError: none of them has a finished trial.
    """
    declared = rows_of_table(int(which), known) if which.isdigit() else known
    ordered = [row for asked in declared for row in found if row.declared == asked.key]
    if which != "3":
        keys = {row.key for row in known}
        ordered += [row for row in found if row.declared not in keys]
        ordered.sort(key=lambda row: row.track == "released")
    if not ordered:
        titles = ", ".join(sorted(row.title for row in found))
        raise ResultsError(f"{study} has no row of Table {which}; it has {titles}.")
    return ordered
