"""What there is of every study: trials finished, failed and missing, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.report.results import studies
from bench.runs.record import read_record
from bench.runs.trial import trials_folder


def status_lines(results: Path) -> Iterator[str]:
    """Lines for a person: each study, its rows with counts, and every failure with its error."""
    names = studies(results)
    if not names:
        yield f"No study in {results}. Run: bench run --method cxrcml --folds 5"
    for study in names:
        yield study
        rows = {
            path.name: {folder.name: read_record(folder) for folder in path.glob("run-*_fold-*")}
            for path in sorted(trials_folder(results, study).iterdir())
            if path.is_dir()
        }
        expected = _expected(rows)
        for name, records in rows.items():
            yield from _row_lines(name, records, expected)


def _expected(rows: dict[str, dict[str, dict[str, Any] | None]]) -> set[str]:
    """Names of the trials of every run that any row of the study has begun."""
    specs = [record["spec"] for records in rows.values() for record in records.values() if record]
    return {
        f"run-{run:02d}_fold-{fold}"
        for run in {spec["run"] for spec in specs}
        for fold in range(max(spec["folds"] for spec in specs))
    }


def _row_lines(
    name: str, records: dict[str, dict[str, Any] | None], expected: set[str]
) -> Iterator[str]:
    counts = Counter(record["status"] if record else "unreadable" for record in records.values())
    counts["missing"] = len(expected - set(records))
    order = [state for state in ("done", "failed", "unreadable", "missing") if counts[state]]
    states = ", ".join(f"{counts[state]} {state}" for state in order) or "nothing yet"
    costs = [record.get("cost", {}) for record in records.values() if record]
    minutes = sum(cost.get("seconds", 0.0) for cost in costs) / 60
    yield f"  {name}: {states}; {minutes:.1f} min of computing"
    for trial, record in sorted(records.items()):
        if record and record["status"] == "failed":
            yield f"    {trial}: {record.get('error', 'no reason recorded')}"
