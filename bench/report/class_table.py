"""Every class on its own, the rarest first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.classes import COMMON, MEDIUM, RARE, TRAIN_COUNTS
from bench.report.compare import procedure_test
from bench.report.external import untested
from bench.report.main_table import mean_text
from bench.report.notes import data_notes, no_baseline
from bench.report.options import METRICS, Options
from bench.report.results import RowResults
from bench.report.seen import mark_of, seen_notes
from bench.report.table import Cell, Column, Table, count, p_text, words
from bench.stats.significance import benjamini_hochberg


def class_table(
    study: str, rows: Sequence[RowResults], baseline: RowResults | None, options: Options
) -> Table:
    """A line for each class: counts, each row's mean and sd over runs, p against the baseline."""
    metric = METRICS[options.metric]
    places = rarest_first(rows[0].classes)
    external = rows[0].external
    unseen = () if external is None else external["unseen"]
    counted = "Positive images are those of the test folds of one run, patients those of the whole "
    counted = f"{counted}data set." if external is None else "Positive images and patients: of all."
    p_values = {row.key: _p_values(row, baseline, places) for row in rows}
    columns = [
        Column("class", "Class", left=True),
        Column("group", "Group", left=True),
        Column("n_pos", "Positive images"),
        Column("patients", "Patients"),
        *(
            Column(row.name, row.title + mark_of(row), (metric.key, "sd", "p_adjusted"))
            for row in rows
        ),
    ]
    lines = []
    for place, c in enumerate(places):
        name = rows[0].classes[c]
        patients = rows[0].told["data"]["positive_patients"][name]
        group = "unseen" if name in unseen else group_of(name)
        line = [words(name), words(group), count(rows[0].positives[name]), count(patients)]
        line += [_cell(row, c, p_values[row.key][place], patients, options) for row in rows]
        lines.append(tuple(line))
    notes = [
        *data_notes(rows, options),
        *seen_notes(rows),
        f"{metric.title}: mean over folds, then mean ± sd over runs. Rarest first, by the training "
        f"counts of CXR-LT 2024; group rare, medium or common of the paper's Table 1. {counted}",
    ]
    if baseline is None:
        notes.append(no_baseline(rows))
    elif external is not None:
        notes.append(untested(baseline))
    elif metric.cross_fitted:
        notes.append(f"No test: {metric.title} has one value a run, not one for each fold.")
    else:
        notes.append(
            f"p: Nadeau-Bengio corrected resampled t-test against {baseline.title} over runs x "
            "folds where the class is defined, Benjamini-Hochberg-adjusted over the classes of a "
            f"row. Asterisk (*): adjusted p < {options.alpha:g}."
        )
    title = f"Classes: {study}"
    return Table(options.stem("classes"), title, tuple(columns), tuple(lines), tuple(notes))


def rarest_first(classes: Sequence[str]) -> list[int]:
    """Places of the classes by declared training count; a class without one comes last."""
    return sorted(
        range(len(classes)), key=lambda c: (TRAIN_COUNTS.get(classes[c], np.inf), classes[c])
    )


def group_of(name: str) -> str:
    """The group of a class in the paper's Table 1; `-` for a class that is in none."""
    named = {"rare": RARE, "medium": MEDIUM, "common": COMMON}
    return next((group for group, names in named.items() if name in names), "-")


def _p_values(
    row: RowResults, baseline: RowResults | None, places: Sequence[int]
) -> list[float | None]:
    """Adjusted p of each class, in the order of `places`."""
    if baseline is None or row is baseline or row.track != baseline.track:
        return [None] * len(places)
    each = np.eye(len(places), dtype=bool)
    return benjamini_hochberg([procedure_test(row, baseline, each[c]).p_value for c in places])


def _cell(
    row: RowResults, c: int, p_value: float | None, patients: int | None, options: Options
) -> Cell:
    by_run = row.by_class()[:, c]
    if np.isnan(by_run).any():
        positives = row.positives[row.classes[c]]
        if patients is None or positives is None:
            return Cell("undefined (withheld: few patients)")
        thin = patients < options.min_patients
        why = f"{patients} < {options.min_patients} patients" if thin else f"{positives} positive"
        return Cell(f"undefined ({why})")
    mean, sd = float(by_run.mean()), float(by_run.std(ddof=1)) if len(by_run) > 1 else None
    text = mean_text(mean, sd)
    if p_value is not None:
        star = "*" if p_value < options.alpha else ""
        text = f"{text}{star} (p {p_text(p_value)})"
    return Cell(text, {METRICS[options.metric].key: mean, "sd": sd, "p_adjusted": p_value})
