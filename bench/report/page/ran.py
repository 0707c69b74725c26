"""What was run: of every row its settings, costs, machine and weights, and each of its trials."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.report.page.origin import record_path, row_slug, run_command
from bench.report.results import RowResults, exported_record
from bench.runs.asked import read_asked
from bench.runs.progress import span
from bench.runs.record import SCORES, read_record
from bench.runs.trial import place_of, trials_folder

STATES = ("done", "left out", "failed", "unreadable", "missing")
"""Of a trial. Left out of the tables is what other code or settings than the row's, or other data,
finished in the same folder."""


@dataclass(frozen=True)
class Trial:
    """One trial as its record tells it; without a record that can be trusted only its place."""

    run: int
    fold: int
    state: str
    """One of `STATES`."""
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
    """Of the trials that have one, those behind the numbers of the page before others."""

    @property
    def counts(self) -> dict[str, int]:
        """How many trials are in each state, in the order a person asks."""
        counted = {state: sum(t.state == state for t in self.trials) for state in STATES}
        return {state: count for state, count in counted.items() if count}

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
            ("Computing", f"{span(sum(each))}, {span(median(each))} a trial" if each else ""),
            ("Peak memory", f"{max(memory):,} MB" if memory else ""),
            ("Machine", _distinct(self.records, "device", "processor", "system")),
            ("Versions", _versions(self.records)),
            ("Code", _commits(self.records)),
            ("Finished", _dates(trial.finished for trial in self.trials)),
        ]
        return [(name, text) for name, text in facts if text]


def everything_ran(results: Path, study: str, shown: Sequence[RowResults]) -> list[Ran]:
    """Every row that has trials of its own, with all that were asked for of it, or else all of
    every run that any row has begun.

    Args:
        shown: the rows of the tables. What else is finished in their folders is left out there.
    """
    trials = trials_folder(results, study)
    asked = read_asked(results / study)
    kept = {folder for row in shown for folder in row.folders.values()}
    rows: dict[str, dict[Path, dict[str, Any] | None]] = {}
    for path in sorted(trials.iterdir()):
        files = sorted(path.glob("run-*_fold-*/record.json"))
        read = {file.parent: _record(file) for file in files}
        # A copy that somebody kept is no trial of the study.
        mine = {f: r for f, r in read.items() if r is None or f == trials / place_of(r["spec"])}
        if any(mine.values()):
            rows[path.name] = mine
    specs = [record["spec"] for found in rows.values() for record in found.values() if record]
    runs = {spec["run"] for spec in specs}
    return [
        _ran(found, kept, {run for run, _ in asked[name].places} if name in asked else runs)
        for name, found in rows.items()
    ]


def _record(file: Path) -> dict[str, Any] | None:
    if not (file.parent / SCORES).exists():
        given = exported_record(file)
        if given is not None:
            return given
    return read_record(file.parent)


def _ran(
    found: Mapping[Path, dict[str, Any] | None], kept: Collection[Path], runs: Collection[int]
) -> Ran:
    first = [record for folder, record in found.items() if record and folder in kept]
    others = [record for folder, record in found.items() if record and folder not in kept]
    records = [*first, *others]
    spec = records[0]["spec"]
    by_name = {folder.name: (folder in kept, record) for folder, record in found.items()}
    runs = sorted({*runs, *(record["spec"]["run"] for record in records)})
    trials = []
    for run in runs:
        for fold in range(spec["folds"]):
            here = spec | {"run": run, "fold": fold}
            name = place_of(here).name
            trials.append(_trial(here, *by_name[name]) if name in by_name else _missing(here))
    return Ran(
        slug=row_slug(spec["method"], spec["row"]),
        title=spec["title"],
        command=run_command(spec, len(runs)),
        trials=trials,
        records=records,
    )


def _missing(spec: Mapping[str, Any]) -> Trial:
    return Trial(spec["run"], spec["fold"], "missing", record_path(spec))


def _trial(spec: Mapping[str, Any], kept: bool, record: Mapping[str, Any] | None) -> Trial:
    if record is None:
        return Trial(spec["run"], spec["fold"], "unreadable", record_path(spec))
    return Trial(
        run=spec["run"],
        fold=spec["fold"],
        state="left out" if record["status"] == "done" and not kept else record["status"],
        path=record_path(spec),
        id=record["id"],
        seconds=record.get("cost", {}).get("seconds"),
        finished=record.get("provenance", {}).get("finished", ""),
        error=str(record.get("error", "")).partition(":")[0],
    )


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
