"""Every pair of rows: the difference, both tests, and the chance that it is worth anything."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import ResultsError, UsageError
from bench.report.compare import ROPE, Comparison, compare, no_bootstrap
from bench.report.external import untested
from bench.report.notes import (
    data_notes,
    is_marked,
    patient_words,
    procedure_words,
    refused,
    thinned_draws,
)
from bench.report.options import METRICS, Options
from bench.report.results import RowResults
from bench.report.seen import seen_notes
from bench.report.table import Cell, Column, Table, interval_text, p_text, words

_COLUMNS = (
    Column("a", "A", left=True),
    Column("b", "B", left=True),
    Column("group", "Classes", left=True),
    Column("difference", "A - B"),
    Column("procedure", "p, new training sets", ("p", "p_adjusted", "low", "high")),
    Column("patients", "New patients", ("difference", "low", "high", "p_adjusted")),
    Column("worse", "P(A worse)"),
    Column("equal", "P(equal)"),
    Column("better", "P(A better)"),
)


def pair_table(
    study: str, rows: Sequence[RowResults], baseline: RowResults | None, options: Options
) -> Table:
    """A line for each pair of rows in each group of classes; the baseline is B where it can be.

    Raises:
        UsageError: a metric without a value for each fold.
        ResultsError: fewer than two rows.
    """
    metric = METRICS[options.metric]
    if metric.cross_fitted:
        raise UsageError(
            f"{metric.title} has one value a run, so pairs cannot be tested on it. "
            "Use --metric auroc, ap or ap-ratio."
        )
    if len(rows) < 2:
        raise ResultsError(f"{study} has one row; a pair takes two.")
    ordered = sorted(rows, key=lambda row: row is not baseline)
    pairs = [(a, b) for j, a in enumerate(ordered) for b in ordered[:j] if a.track == b.track]
    if not pairs:
        raise ResultsError(f"{study} has one row of each track; a pair is of one track.")
    found = compare(pairs, options)
    every = [c for comparisons in found.values() for c in comparisons]
    reason = no_bootstrap(rows, options)
    notes = [
        *data_notes(rows, options),
        *seen_notes(rows),
        *_procedure_notes(rows[0], options),
        f"New patients: not tested, {reason}."
        if reason
        else f"New patients: {patient_words(every[0])}",
        *thinned_draws(every),
        *_posterior_notes(rows[0], every, options),
    ]
    return Table(
        options.stem("pairs"),
        f"Pairs: {study}",
        _COLUMNS,
        tuple(_line(c, options) for c in every),
        tuple(notes),
    )


def _procedure_notes(row: RowResults, options: Options) -> list[str]:
    difference = (
        f"A - B is the mean difference of {METRICS[options.metric].title} over runs x folds."
    )
    if row.external is not None:
        return [difference, untested(row)]
    return [
        f"{difference} New training sets: {procedure_words('pairs')} Asterisk (*): adjusted p < "
        f"{options.alpha:g}."
    ]


def _posterior_notes(row: RowResults, every: Sequence[Comparison], options: Options) -> list[str]:
    if row.external is not None:
        return ["P: undefined, since it takes the corrected t-test."]
    refusal = refused(every, options)
    return [
        f"P: Bayesian correlated t-test (Corani & Benavoli 2015); equal is a difference within "
        f"{ROPE:g} {METRICS[options.metric].title} either way.",
        *([refusal] if refusal else []),
    ]


def _line(comparison: Comparison, options: Options) -> tuple[Cell, ...]:
    test, estimate, posterior = comparison.procedure, comparison.patients, comparison.posterior
    star = "*" if is_marked(comparison, options) else ""
    low, high = test.ci or (None, None)
    procedure = Cell(
        f"{p_text(comparison.p_value)}{star}",
        {"p": test.p_value, "p_adjusted": comparison.p_value, "low": low, "high": high},
    )
    patients = Cell("not tested" if estimate is None else "undefined")
    if estimate is not None and estimate.value is not None and estimate.percentile is not None:
        low, high = estimate.percentile
        patients = Cell(
            f"{estimate.value:+.4f} {interval_text(estimate.percentile)}",
            {
                "difference": estimate.value,
                "low": low,
                "high": high,
                "p_adjusted": comparison.patients_p,
            },
        )
    return (
        words(comparison.row.title),
        words(comparison.other.title),
        words(comparison.group.title),
        _number(test.mean, "+.4f"),
        procedure,
        patients,
        *(_number(chance, ".3f") for chance in (posterior or (None, None, None))),
    )


def _number(value: float | None, form: str) -> Cell:
    return Cell("undefined" if value is None else format(value, form), {"": value})
