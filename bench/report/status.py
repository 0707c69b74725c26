"""What there is of a study: its trials as a matrix, failures with their last lines, and costs."""

from __future__ import annotations

import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.runs.asked import read_asked
from bench.runs.progress import span
from bench.runs.record import read_record
from bench.runs.trial import place_of, trials_folder

MARKS = {"done": "#", "begun": "~", "failed": "x", "damaged": "!", "missing": "."}
_WIDE = 100
_LAST_LINES = 3
# Beside a trial's folder: the state of a training that was interrupted, or is under way.
_BEGUN = ".resume"

Place = tuple[int, int]
"""Run and fold."""
Records = Mapping[Place, dict[str, Any] | None]
"""None is a record that cannot be trusted."""


class _Row(NamedTuple):
    name: str
    records: Records
    states: Mapping[Place, str]
    """Of every trial that was asked for, is there or is begun."""


def status_lines(results: Path, study: str) -> Iterator[str]:
    """Lines for a person: each row with counts and its trials, every failure, and the costs."""
    rows = _rows(results, study)
    yield f"{study}: {_done(rows)} of {_trials(rows)} trials done"
    for row in rows:
        yield from _row_lines(row)
    seen = {state for row in rows for state in row.states.values()}
    legend = [f"{mark} {state}" for state, mark in MARKS.items() if state in seen]
    yield f"  {'   '.join(legend)} (a column a fold, a group a run)"
    yield from _failures(rows)
    yield from _costs([record for row in rows for record in row.records.values() if record])


def status_of(results: Path, study: str) -> dict[str, Any]:
    """The same as plain values: each trial of each row with its state, what it cost and its error.

    `trials` is how many the rows have together; a cost that is not recorded is None.
    """
    rows = _rows(results, study)
    return {
        "study": study,
        "trials": _trials(rows),
        "done": _done(rows),
        "rows": [
            {
                "row": row.name,
                "trials": [
                    _trial(place, state, row.records.get(place))
                    for place, state in sorted(row.states.items())
                ],
            }
            for row in rows
        ],
    }


def _trial(place: Place, state: str, record: Mapping[str, Any] | None) -> dict[str, Any]:
    cost = record.get("cost", {}) if record else {}
    told = ("seconds", "phases", "peak_memory_mb", "peak_gpu_memory_mb", "energy_j")
    return {
        "run": place[0],
        "fold": place[1],
        "state": state,
        "error": record.get("error") if record else None,
        **{name: cost.get(name) for name in told},
    }


def _rows(results: Path, study: str) -> list[_Row]:
    """Every row that was asked for or has a folder of its own, by name."""
    trials = trials_folder(results, study)
    asked = read_asked(results / study)
    found = {path.name: _records(path) for path in sorted(trials.iterdir()) if path.is_dir()}
    read = {name: records for name, records in found.items() if records is not None}
    inferred = _places(list(read.values()))
    rows = []
    for name in sorted({*read, *asked} - {name for name in found if name not in read}):
        records, begun = read.get(name, {}), _begun(trials / name)
        places = {*(asked[name].places if name in asked else inferred), *records, *begun}
        states = {place: _state(records, begun, place) for place in sorted(places)}
        rows.append(_Row(name, records, states))
    return rows


def _places(read: Sequence[Records]) -> list[Place]:
    """All runs and folds that any row has, for rows of which nobody knows what was asked for."""
    specs = [record["spec"] for records in read for record in records.values() if record]
    runs = 1 + max((spec["run"] for spec in specs), default=-1)
    folds = max((spec["folds"] for spec in specs), default=0)
    return [(run, fold) for run in range(runs) for fold in range(folds)]


def _done(rows: Sequence[_Row]) -> int:
    return sum(state == "done" for row in rows for state in row.states.values())


def _trials(rows: Sequence[_Row]) -> int:
    return sum(len(row.states) for row in rows)


def _records(row: Path) -> Records | None:
    """The records in a row's folder by place; None where the folder is a copy of another row's."""
    found: dict[Place, dict[str, Any] | None] = {}
    for path in sorted(row.glob("run-*_fold-*/record.json")):
        place = _place(path.parent.name)
        if place is not None:
            record = read_record(path.parent)
            if record is not None and place_of(record["spec"]).parts[0] != row.name:
                return None
            found[place] = record
    return found


def _begun(row: Path) -> set[Place]:
    names = (path.name.removesuffix(_BEGUN) for path in row.glob(f"run-*_fold-*{_BEGUN}"))
    return {place for name in names if (place := _place(name)) is not None}


def _place(name: str) -> Place | None:
    """
    >>> _place("run-03_fold-1"), _place("run-03_fold-1.old")
    ((3, 1), None)
    """
    matched = re.fullmatch(r"run-(\d{2,})_fold-(\d+)", name)
    return None if matched is None else (int(matched[1]), int(matched[2]))


def _state(records: Records, begun: set[Place], place: Place) -> str:
    if place not in records:
        return "begun" if place in begun else "missing"
    record = records[place]
    return "damaged" if record is None else str(record["status"])


def _row_lines(row: _Row) -> Iterator[str]:
    counts = Counter(row.states.values())
    told = ", ".join(f"{counts[state]} {state}" for state in MARKS if counts[state])
    costs = [record["cost"] for record in row.records.values() if record and "cost" in record]
    seconds = sum(cost.get("seconds", 0.0) for cost in costs)
    memory = max((cost.get("peak_memory_mb", 0) for cost in costs), default=0)
    yield f"  {row.name}: {told or 'nothing yet'}; {span(seconds)}, at most {memory / 1024:.1f} GB"
    by_run: dict[int, str] = defaultdict(str)
    for (run, _), state in sorted(row.states.items()):
        by_run[run] += MARKS[state]
    matrix = " ".join(by_run.values())
    yield from textwrap.wrap(matrix, _WIDE, initial_indent="    ", subsequent_indent="    ")


def _failures(rows: Sequence[_Row]) -> Iterator[str]:
    """Each different failure of a row once, with the end of its traceback."""
    for name, records, _ in rows:
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
