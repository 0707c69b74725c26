"""What was run: of every row its settings, costs, machine and weights, and each of its trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.report.page.origin import record_path, row_slug, run_command
from bench.report.results import exported_record
from bench.runs.record import SCORES, read_record
from bench.runs.trial import trials_folder


@dataclass(frozen=True)
class Trial:
    """One trial as its record tells it; without a record that can be trusted only its place."""

    run: int
    fold: int
    state: str
    """done, failed, unreadable or missing."""
    path: str
    """Of the record, seen from the page."""
    id: str = ""
    seconds: float | None = None
    finished: str = ""
    error: str = ""
    """The kind of the error alone: what it says may name a file, and so a patient."""


@dataclass
class Ran:
    """All that was tried of one row, finished or not."""

    slug: str
    title: str
    command: str
    trials: list[Trial]
    records: list[dict[str, Any]] = field(repr=False)
    """Of the trials that have one."""

    @property
    def counts(self) -> dict[str, int]:
        """How many trials are in each state, in the order a person asks."""
        states = ("done", "failed", "unreadable", "missing")
        counted = {state: sum(t.state == state for t in self.trials) for state in states}
        return {state: count for state, count in counted.items() if count}

    @property
    def done(self) -> list[dict[str, Any]]:
        """The records of finished trials."""
        return [record for record in self.records if record["status"] == "done"]

    @property
    def seconds(self) -> float | None:
        """Computing time of all trials, failed ones included; None where no record tells it."""
        told = [trial.seconds for trial in self.trials if trial.seconds is not None]
        return sum(told) if told else None

    def facts(self) -> list[tuple[str, str]]:
        """What the records say about the row, name by name; what they do not say is left out."""
        spec = self.records[0]["spec"]
        costs = [record.get("cost", {}) for record in self.records]
        each = [cost["seconds"] for cost in costs if "seconds" in cost]
        memory = [cost["peak_memory_mb"] for cost in costs if cost.get("peak_memory_mb")]
        config = ", ".join(f"{key}={value}" for key, value in sorted(spec["config"].items()))
        facts = [
            ("Method", f"{spec['method']}, code {spec['method_code']}, track {spec['track']}"),
            ("Settings", config),
            ("Weights", _weights(self.records)),
            ("Imported", _bundles(self.records)),
            ("Trials", ", ".join(f"{count} {state}" for state, count in self.counts.items())),
            ("Computing", f"{_span(sum(each))}, {_span(median(each))} a trial" if each else ""),
            ("Peak memory", f"{max(memory):,} MB" if memory else ""),
            ("Machine", _distinct(self.records, "device", "processor", "system")),
            ("Versions", _versions(self.records)),
            ("Code", _commits(self.records)),
            ("Finished", _dates(trial.finished for trial in self.trials)),
        ]
        return [(name, text) for name, text in facts if text]


def everything_ran(results: Path, study: str) -> list[Ran]:
    """Every row that has a folder, with all trials of every run that any row has begun."""
    rows: dict[str, dict[str, dict[str, Any] | None]] = {}
    for path in sorted(trials_folder(results, study).iterdir()):
        files = sorted(path.glob("run-*_fold-*/record.json"))
        found = {file.parent.name: _record(file) for file in files}
        if any(found.values()):
            rows[path.name] = found
    specs = [record["spec"] for found in rows.values() for record in found.values() if record]
    runs = sorted({spec["run"] for spec in specs})
    return [_ran(found, runs) for found in rows.values()]


def _record(file: Path) -> dict[str, Any] | None:
    if not (file.parent / SCORES).exists():
        given = exported_record(file)
        if given is not None:
            return given
    return read_record(file.parent)


def _ran(found: Mapping[str, dict[str, Any] | None], runs: list[int]) -> Ran:
    records = [record for record in found.values() if record]
    spec = records[0]["spec"]
    trials = []
    for run in runs:
        for fold in range(spec["folds"]):
            here = spec | {"run": run, "fold": fold}
            name = f"run-{run:02d}_fold-{fold}"
            trials.append(_trial(here, found[name]) if name in found else _missing(here))
    return Ran(
        slug=row_slug(spec["method"], spec["row"]),
        title=spec["title"],
        command=run_command(spec, len(runs)),
        trials=trials,
        records=records,
    )


def _missing(spec: Mapping[str, Any]) -> Trial:
    return Trial(spec["run"], spec["fold"], "missing", record_path(spec))


def _trial(spec: Mapping[str, Any], record: Mapping[str, Any] | None) -> Trial:
    if record is None:
        return Trial(spec["run"], spec["fold"], "unreadable", record_path(spec))
    return Trial(
        run=spec["run"],
        fold=spec["fold"],
        state=record["status"],
        path=record_path(spec),
        id=record["id"],
        seconds=record.get("cost", {}).get("seconds"),
        finished=record.get("provenance", {}).get("finished", ""),
        error=str(record.get("error", "")).partition(":")[0],
    )


def _span(seconds: float) -> str:
    """Seconds in words.

    >>> _span(18.2), _span(900), _span(9000)
    ('18 s', '15 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _distinct(records: Iterable[Mapping[str, Any]], *names: str) -> str:
    told = [record.get("provenance", {}) for record in records]
    lines = [", ".join(str(one[name]) for name in names if one.get(name)) for one in told]
    return "; ".join(dict.fromkeys(line for line in lines if line))


def _versions(records: Iterable[Mapping[str, Any]]) -> str:
    told = [record.get("provenance", {}) for record in records]
    lines = [
        ", ".join(
            [f"Python {one.get('python')}", *(f"{k} {v}" for k, v in one["packages"].items() if v)]
        )
        for one in told
        if one.get("packages")
    ]
    return "; ".join(dict.fromkeys(lines))


def _commits(records: Iterable[Mapping[str, Any]]) -> str:
    told = [record.get("provenance", {}).get("git") or {} for record in records]
    lines = [
        f"commit {one['commit'][:12]}{' with uncommitted changes' if one.get('dirty') else ''}"
        for one in told
        if one.get("commit")
    ]
    return "; ".join(dict.fromkeys(lines))


def _dates(finished: Iterable[str]) -> str:
    days = sorted(moment[:10] for moment in finished if moment)
    return "" if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def _bundles(records: Iterable[Mapping[str, Any]]) -> str:
    told = [record["origin"] for record in records if record.get("origin")]
    lines = [f"from a bundle of study {one['study']}, SHA-256 {one['bundle'][:12]}" for one in told]
    return "; ".join(dict.fromkeys(lines))


def _weights(records: list[dict[str, Any]]) -> str:
    files = (records[0].get("checkpoints") or {}).get("files", [])
    named = ", ".join(f"{file['name']} (SHA-256 {file['sha256'][:12]})" for file in files)
    weights = records[0].get("weights")
    return named or (f"{weights} start" if isinstance(weights, str) else "")
