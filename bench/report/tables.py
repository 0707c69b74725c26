"""Tables 2 and 3 of the paper from records: one object, written as markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import ResultsError
from bench.report.results import GROUPS, RowResults, load_results
from bench.runs.study import Row, load_study, rows_of_table
from bench.stats.significance import (
    TestResult,
    corrected_resampled_ttest,
    holm,
    required_effect,
)


@dataclass(frozen=True)
class Cell:
    """A group's AUC in one row."""

    mean: float | None
    sd: float | None
    """Standard deviation over runs; None with one run."""
    defined: int
    classes: int
    p_value: float | None = None
    """Corrected resampled t-test against the baseline, Holm-adjusted over the rows of the table."""
    marked: bool = False


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    title: str
    method: str
    label: str
    runs: int
    trials: int
    expected: int
    cells: dict[str, Cell]
    paper: dict[str, float] | None


@dataclass(frozen=True)
class Table:
    """What `bench table` shows, before it is markdown or CSV."""

    number: int
    study: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    with_paper: bool

    def markdown(self) -> str:
        """The table as GitHub markdown, its notes under it."""
        from tabulate import tabulate

        headers = ["Method", *(f"{group.capitalize()} AUC" for group in GROUPS)]
        if self.with_paper:
            headers += [f"Paper: {group}" for group in GROUPS]
        body = []
        for line in self.lines:
            row = [line.title, *(_cell_text(line.cells[group]) for group in GROUPS)]
            if self.with_paper:
                printed = line.paper or {}
                row += [f"{printed[g]:.3f}" if g in printed else "-" for g in GROUPS]
            body.append(row)
        table = tabulate(body, headers, tablefmt="github", disable_numparse=True)
        notes = "\n".join(f"- {note}" for note in self.notes)
        return f"### Table {self.number}: {self.study}\n\n{table}\n\n{notes}\n"

    def csv(self) -> str:
        """The table as CSV, one line a row, empty where undefined."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        header = ["method", "row", "title", "runs", "trials"]
        for group in GROUPS:
            header += [f"{group}_{column}" for column in ("auc", "sd", "defined", "classes", "p")]
        if self.with_paper:
            header += [f"paper_{group}_auc" for group in GROUPS]
        writer.writerow(header)
        for line in self.lines:
            row: list[object] = [line.method, line.label, line.title, line.runs, line.trials]
            for group in GROUPS:
                cell = line.cells[group]
                row += [_number(cell.mean), _number(cell.sd), cell.defined, cell.classes]
                row.append("" if cell.p_value is None else f"{cell.p_value:.3g}")
            if self.with_paper:
                row += [_number((line.paper or {}).get(group)) for group in GROUPS]
            writer.writerow(row)
        return out.getvalue()


def make_table(
    results: Path,
    study: str,
    number: int,
    *,
    alpha: float,
    policy: str,
    paper: bool,
    min_patients: int,
) -> Table:
    """Table 2 or 3 of a study from its records.

    Rows of the paper's table come first in its order; rows that a user added with settings of
    their own follow in Table 2.

    Raises:
        ResultsError: no finished trial, or none of the rows of this table.
        UsageError: no such table or prompt policy.
    """
    declared = rows_of_table(number, load_study())
    found = {row.key: row for row in load_results(results, study, policy, min_patients)}
    known = {row.key for row in load_study()}
    ordered = [found[row.key] for row in declared if row.key in found]
    if number == 2:
        ordered += [row for key, row in found.items() if key not in known]
    if not ordered:
        titles = ", ".join(sorted(row.title for row in found.values()))
        raise ResultsError(f"{study} has no row of Table {number}; it has {titles}.")
    by_key = {row.key: row for row in declared}
    baseline = next((row for row in ordered if _is_baseline(row, by_key)), None)
    tests = {group: _tests(ordered, baseline, group) for group in GROUPS}
    lines = tuple(
        Line(
            title=row.title,
            method=row.method,
            label=row.label,
            runs=len(row.runs),
            trials=row.finished,
            expected=row.auc.shape[0] * row.auc.shape[1],
            cells={
                group: _cell(row, group, tests[group].adjusted[index], alpha) for group in GROUPS
            },
            paper=dict(by_key[row.key].paper or {}) if row.key in by_key else None,
        )
        for index, row in enumerate(ordered)
    )
    notes = [
        *_data_notes(ordered, lines, policy=policy, min_patients=min_patients),
        *_test_notes(ordered, baseline, tests["total"], alpha=alpha),
    ]
    if paper:
        notes.append(
            "Columns 'Paper' are the numbers printed in the paper (MIMIC-CXR-JPG, ViT-B/32); they "
            "were not measured here and are not comparable with another data set."
        )
    return Table(number, study, lines, tuple(notes), paper)


def write_table(table: Table, folder: Path) -> list[Path]:
    """Writes `tableN.md` and `tableN.csv` into the study's folder and returns their paths."""
    written = []
    for suffix, text in (("md", table.markdown()), ("csv", table.csv())):
        path = folder / f"table{table.number}.{suffix}"
        try:
            path.write_text(text)
        except OSError as error:
            raise ResultsError(f"Cannot write {path}: {error.strerror}.") from error
        written.append(path)
    return written


@dataclass(frozen=True)
class _Tests:
    """One column's tests: the plain results and the Holm-adjusted p values, row by row."""

    plain: tuple[TestResult | None, ...]
    adjusted: tuple[float | None, ...]


def _tests(rows: Sequence[RowResults], baseline: RowResults | None, group: str) -> _Tests:
    plain = tuple(
        None if baseline is None or row is baseline else _against(row, baseline, group)
        for row in rows
    )
    adjusted = holm([None if test is None else test.p_value for test in plain])
    return _Tests(plain, tuple(adjusted))


def _against(row: RowResults, baseline: RowResults, group: str) -> TestResult:
    """Corrected resampled t-test over the runs and folds that both rows have."""
    shared = [run for run in row.runs if run in baseline.runs]
    ours = row.by_fold(group)[[row.runs.index(run) for run in shared]]
    theirs = baseline.by_fold(group)[[baseline.runs.index(run) for run in shared]]
    return corrected_resampled_ttest(
        ours - theirs, n_train=row.train_test[:, 0], n_test=row.train_test[:, 1]
    )


def _cell(row: RowResults, group: str, p_value: float | None, alpha: float) -> Cell:
    values, defined, classes = row.by_run(group)
    if not len(values):
        return Cell(None, None, defined, classes)
    return Cell(
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if len(values) > 1 else None,
        defined=defined,
        classes=classes,
        p_value=p_value,
        marked=p_value is not None and p_value < alpha,
    )


def _is_baseline(row: RowResults, declared: dict[tuple[str, str], Row]) -> bool:
    return row.key in declared and declared[row.key].baseline


def _cell_text(cell: Cell) -> str:
    if cell.mean is None:
        return f"undefined (0/{cell.classes})"
    spread = "" if cell.sd is None else f" ± {cell.sd:.3f}"
    star = "*" if cell.marked else ""
    return f"{cell.mean:.3f}{spread}{star} ({cell.defined}/{cell.classes})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _data_notes(
    rows: Sequence[RowResults], lines: Sequence[Line], *, policy: str, min_patients: int
) -> list[str]:
    """What the numbers are of: data, preset, runs and folds, classes, what is not finished."""
    told = rows[0].told
    data, spec = told["data"], told["spec"]
    runs = max(len(row.runs) for row in rows)
    kind = "synthetic data, not X-rays" if data["synthetic"] else "real images"
    notes = [
        f"Data: {data['name']} ({kind}), {data['images']} images of {data['patients']} patients. "
        f"Preset: {spec['config']['preset']}. Track: {spec['track']}. Seed: {spec['seed']}.",
        f"Mean ± sd over {runs} run{'s' if runs > 1 else ''}, each a {spec['folds']}-fold "
        "cross-validation by patient; in brackets the classes that are defined in every run. "
        f"Prompts: {policy}.",
    ]
    few = sum(count < min_patients for count in data["positive_patients"].values())
    if few:
        notes.append(
            f"{few} of {len(rows[0].classes)} classes have fewer than {min_patients} positive "
            "patients and are undefined (--min-patients)."
        )
    if len(data["sources"]) > 1:
        notes.append(
            f"AUC is taken within each source ({', '.join(data['sources'])}) and averaged by "
            "positives; pooled values are in the records."
        )
    return notes + [
        f"{line.title}: only {line.trials} of {line.expected} trials are finished."
        for line in lines
        if line.trials < line.expected
    ]


def _test_notes(
    rows: Sequence[RowResults],
    baseline: RowResults | None,
    tests: _Tests,
    *,
    alpha: float,
) -> list[str]:
    """The test, its exact p values, and what the design could reach."""
    if baseline is None:
        return ["No mark: there is no finished baseline row (bench run --method chexzero)."]
    notes = [
        f"* p < {alpha:g} against {baseline.title}: Nadeau-Bengio corrected resampled t-test over "
        f"runs x folds, Holm-adjusted over the rows."
    ]
    for row, test, adjusted in zip(rows, tests.plain, tests.adjusted, strict=True):
        if test is None:
            continue
        if test.p_value is None or adjusted is None:
            notes.append(f"{row.title}, total: no p value ({test.reason}).")
        else:
            notes.append(
                f"{row.title}, total: difference {test.mean:+.4f}, p = {test.p_value:.3g}, "
                f"adjusted {adjusted:.3g}."
            )
    runs, folds = baseline.auc.shape[:2]
    ratio = float(np.nanmean(baseline.train_test[:, 1] / baseline.train_test[:, 0]))
    needed = required_effect(alpha, runs=runs, folds=folds, ratio=ratio)
    if needed is not None:
        notes.append(
            f"With {runs} run{'s' if runs > 1 else ''} x {folds} folds a mark needs a mean "
            f"difference of {needed:.1f} standard deviations of the differences."
        )
    return notes
