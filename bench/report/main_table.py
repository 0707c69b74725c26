"""Tables 2 and 3: a row for each method with settings, a column for each group of classes."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.compare import Comparison, compare
from bench.report.notes import (
    BELOW_CHANCE,
    below_chance,
    comparison_notes,
    data_notes,
    is_below_chance,
    is_marked,
    no_baseline,
)
from bench.report.options import METRICS, Group, Options
from bench.report.paper import paper_cell, paper_notes
from bench.report.results import RowResults
from bench.report.seen import mark_of, seen_notes
from bench.report.table import Cell, Column, Table, hidden
from bench.runs.study import Row

_TEST = ("difference", "p", "p_adjusted")
_PATIENTS = ("patients_difference", "patients_low", "patients_high", "patients_p_adjusted")


def main_table(
    study: str,
    which: str,
    rows: Sequence[RowResults],
    baseline: RowResults | None,
    declared: Sequence[Row],
    options: Options,
) -> Table:
    """Table 2 or 3 from its rows, each tested against the baseline."""
    found: dict[str, list[Comparison]] = {}
    if baseline is not None:
        others = [row for row in rows if row is not baseline and row.track == baseline.track]
        found = compare([(row, baseline) for row in others], options)
    by_place = {(c.row.key, key): c for key, tests in found.items() for c in tests}
    metric = METRICS[options.metric]
    columns = [
        Column("method", None),
        Column("row", None),
        Column("title", "Method", left=True),
        Column("runs", None),
        Column("trials", None),
        *(
            Column(
                group.key,
                f"{group.title} {metric.title}",
                (metric.key, "sd", "defined", "classes", *_TEST, *_PATIENTS),
            )
            for group in options.groups
        ),
    ]
    if options.paper:
        fields = ("auc", "verdict", "reason")
        columns += [
            Column(f"paper_{g.key}", f"Paper: {g.title.lower()}", fields) for g in options.groups
        ]
    printed = {row.key: row.paper or {} for row in declared}
    lines = []
    for row in rows:
        title = Cell(row.title + mark_of(row), {"": row.title})
        line = [hidden(row.method), hidden(row.label), title]
        line += [hidden(len(row.runs)), hidden(len(row.folders))]
        line += [
            _cell(row, group, by_place.get((row.key, group.key)), options)
            for group in options.groups
        ]
        if options.paper:
            paper = printed.get(row.declared, {})
            line += [paper_cell(row, g, paper.get(g.key), options) for g in options.groups]
        lines.append(tuple(line))
    notes = [
        *data_notes(rows, options),
        *seen_notes(rows),
        _spread_note(rows, metric.title),
        *below_chance(rows, options),
        *([no_baseline(rows)] if baseline is None else comparison_notes(found, baseline, options)),
        *(paper_notes(rows, options) if options.paper else []),
    ]
    return Table(
        options.stem(which), f"Table {which}: {study}", tuple(columns), tuple(lines), tuple(notes)
    )


def _spread_note(rows: Sequence[RowResults], title: str) -> str:
    brackets = "In brackets the classes that are defined in every run."
    if rows[0].external is not None:
        spread = "sd over runs" if max(len(row.runs) for row in rows) > 1 else "no sd of one run"
        return (
            f"Mean over classes; {spread}. All models score the same patients, so a spread over "
            f"runs is of partitions and training, not of {title} on other patients. {brackets}"
        )
    if max(len(row.runs) for row in rows) == 1:
        return f"Mean over classes; one run shows no spread. {brackets}"
    return (
        "Mean ± sd over runs of the mean over classes; sd is how much repeating the "
        f"cross-validation on the same patients moves {title}, not what new patients would do. "
        f"{brackets}"
    )


def mean_text(mean: float, sd: float | None) -> str:
    """A mean with its spread; alone where there is one run."""
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def _cell(row: RowResults, group: Group, comparison: Comparison | None, options: Options) -> Cell:
    values, defined, classes = row.by_run(group)
    counts = {"defined": defined, "classes": classes}
    if not len(values):
        return Cell(f"undefined (0/{classes})", counts)
    mean = float(values.mean())
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    told: dict[str, float | int | None] = {METRICS[options.metric].key: mean, "sd": sd, **counts}
    star = ""
    if comparison is not None:
        test, estimate = comparison.procedure, comparison.patients
        told |= dict(zip(_TEST, (test.mean, test.p_value, comparison.p_value), strict=True))
        if estimate is not None and estimate.percentile is not None:
            drawn = (estimate.value, *estimate.percentile, comparison.patients_p)
            told |= dict(zip(_PATIENTS, drawn, strict=True))
        star = "*" if is_marked(comparison, options) else ""
    flag = BELOW_CHANCE if is_below_chance(values, options) else ""
    return Cell(f"{mean_text(mean, sd)}{star} ({defined}/{classes}){flag}", told)
