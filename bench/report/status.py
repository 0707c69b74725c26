"""What there is of every study: trials finished and failed, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.report.results import studies
from bench.runs.record import read_record
from bench.runs.trial import trials_folder


def status_lines(results: Path) -> Iterator[str]:
    """Lines for a person: each study, its rows with counts, and every failure with its error."""
    names = studies(results)
    if not names:
        yield f"No study in {results}. Run: bench run --method cxrcml --folds 5"
    for study in names:
        yield f"{study}"
        for row in sorted(
            path for path in trials_folder(results, study).iterdir() if path.is_dir()
        ):
            counts: Counter[str] = Counter()
            seconds = 0.0
            failures = []
            for folder in sorted(row.glob("run-*_fold-*")):
                record = read_record(folder)
                state = record["status"] if record else "unfinished"
                counts[state] += 1
                if record is not None:
                    seconds += record["cost"]["seconds"]
                    if state == "failed":
                        failures.append(f"    {folder.name}: {record['error']}")
            states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
            yield f"  {row.name}: {states or 'nothing yet'}; {seconds / 60:.1f} min of computing"
            yield from failures
