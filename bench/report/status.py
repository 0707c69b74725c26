"""What there is of a study: its trials as a matrix, failures with their last lines, and costs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.runs.progress import span
from bench.runs.record import read_record
from bench.runs.trial import trials_folder

MARKS = {"done": "#", "begun": "~", "failed": "x", "damaged": "!", "missing": "."}
_WIDE = 100
_LAST_LINES = 3
# Beside a trial's folder: the state of a training that was interrupted, or is under way.
_BEGUN = ".resume"

Place = tuple[int, int]
"""Run and fold."""
Records = Mapping[Place, dict[str, Any] | None]
"""None is a record that cannot be trusted."""


def status_lines(results: Path, study: str) -> Iterator[str]:
    """Lines for a person: each row with counts and its trials, every failure, and the costs."""
    rows = {
        path.name: (_records(path), _begun(path))
        for path in sorted(trials_folder(results, study).iterdir())
        if path.is_dir()
    }
    read = [records for records, _ in rows.values()]
    specs = [record["spec"] for records in read for record in records.values() if record]
    runs = 1 + max((spec["run"] for spec in specs), default=-1)
    folds = max((spec["folds"] for spec in specs), default=0)
    places = [(run, fold) for run in range(runs) for fold in range(folds)]
    done = sum(bool(r) and r["status"] == "done" for records in read for r in records.values() if r)
    yield f"{study}: {done} of {len(rows) * len(places)} trials done"
    seen = set()
    for name, (records, begun) in rows.items():
        states = {place: _state(records, begun, place) for place in (*places, *sorted(begun))}
        seen |= set(states.values())
        yield from _row_lines(name, states, records)
    legend = [f"{mark} {state}" for state, mark in MARKS.items() if state in seen]
    yield f"  {'   '.join(legend)} (a column a fold, a group a run)"
    yield from _failures(rows)
    yield from _costs([record for records in read for record in records.values() if record])


def _records(row: Path) -> Records:
    folders = (path for path in sorted(row.glob("run-*_fold-*")) if path.is_dir())
    return {
        _place(path.name): read_record(path) for path in folders if (path / "record.json").exists()
    }


def _begun(row: Path) -> set[Place]:
    return {_place(path.name.removesuffix(_BEGUN)) for path in row.glob(f"run-*_fold-*{_BEGUN}")}


def _place(name: str) -> Place:
    """
    >>> _place("run-03_fold-1")
    (3, 1)
    """
    run, fold = name.removeprefix("run-").split("_fold-")
    return int(run), int(fold)


def _state(records: Records, begun: set[Place], place: Place) -> str:
    if place not in records:
        return "begun" if place in begun else "missing"
    record = records[place]
    return "damaged" if record is None else str(record["status"])


def _row_lines(name: str, states: Mapping[Place, str], records: Records) -> Iterator[str]:
    counts = Counter(states.values())
    told = ", ".join(f"{counts[state]} {state}" for state in MARKS if counts[state])
    costs = [record["cost"] for record in records.values() if record and "cost" in record]
    seconds = sum(cost.get("seconds", 0.0) for cost in costs)
    memory = max((cost.get("peak_memory_mb", 0) for cost in costs), default=0)
    yield f"  {name}: {told or 'nothing yet'}; {span(seconds)}, at most {memory / 1024:.1f} GB"
    by_run: dict[int, str] = defaultdict(str)
    for (run, _), state in sorted(states.items()):
        by_run[run] += MARKS[state]
    line = "    " + " ".join(by_run.values())
    if len(line) <= _WIDE:
        yield line


def _failures(rows: Mapping[str, tuple[Records, set[Place]]]) -> Iterator[str]:
    """Each different failure of a row once, with the end of its traceback."""
    for name, (records, _) in rows.items():
        failed: dict[str, list[Place]] = defaultdict(list)
        last: dict[str, Sequence[str]] = {}
        for place, record in records.items():
            if record is not None and record["status"] == "failed":
                error = str(record.get("error", "no reason recorded"))
                failed[error].append(place)
                last[error] = str(record.get("traceback", "")).rstrip().splitlines()
        for error, places in failed.items():
            yield f"  failed: {name}, {_named(places)}: {error}"
            # The last line of a traceback is the error again.
            yield from (f"      {line}" for line in last[error][-1 - _LAST_LINES : -1])


def _named(places: Sequence[Place]) -> str:
    """
    >>> _named([(3, 1), (3, 2), (4, 0)])
    'run 3 fold 1 and 2 others'
    """
    (run, fold), *others = places
    more = f" and {len(others)} other{'s' * (len(others) > 1)}" if others else ""
    return f"run {run} fold {fold}{more}"


def _costs(records: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What all trials took together, failed ones included."""
    costs = [record["cost"] for record in records if "cost" in record]
    if not costs:
        return
    phases: Counter[str] = Counter()
    for cost in costs:
        phases.update(cost.get("phases", {}))
    seconds = sum(cost.get("seconds", 0.0) for cost in costs)
    told = ", ".join(f"{phase} {span(spent)}" for phase, spent in phases.most_common())
    yield f"  cost: {span(seconds)} of computing ({told})"
    memory = max(cost.get("peak_memory_mb", 0) for cost in costs) / 1024
    on_gpu = [c["peak_gpu_memory_mb"] for c in costs if c.get("peak_gpu_memory_mb") is not None]
    energy = [cost["energy_j"] for cost in costs if cost.get("energy_j") is not None]
    yield (
        f"  at most {memory:.1f} GB of memory a worker"
        + (f", {max(on_gpu) / 1024:.1f} GB of a GPU" if on_gpu else "")
        + (f"; {_energy(energy, len(costs))}" if energy else "; energy is not recorded here")
    )


def _energy(joules: Sequence[float], trials: int) -> str:
    of = "" if len(joules) == trials else f" in {len(joules)} of {trials} trials"
    return f"{sum(joules) / 3.6e6:.3g} kWh{of}"
