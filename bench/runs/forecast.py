"""What a plan would take, from what the trials that are already recorded took.

A trial's seconds grow with its images and epochs, so those of the nearest recorded row are scaled
by both. Where nothing comparable is recorded, nothing is expected.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.runs.executors.local import default_jobs
from bench.runs.layout import Layout, lay_out
from bench.runs.plan import Planned, chosen, plan, reasons
from bench.runs.progress import span
from bench.runs.rows import Request
from bench.runs.trial import State, TrialSpec

STATES: tuple[State, ...] = ("done", "missing", "stale", "failed")


@dataclass(frozen=True)
class Past:
    """A finished trial, as far as its cost can tell of others."""

    spec: Mapping[str, Any]
    images: int
    device: str
    seconds: float
    memory_mb: float
    """Largest resident memory of its process."""
    gpu_memory_mb: float | None

    @property
    def load(self) -> float:
        """What its seconds are proportional to."""
        return _load(self.spec, self.images)


@dataclass(frozen=True)
class Expected:
    """What one trial of a row takes."""

    seconds: float
    memory_mb: float
    gpu_memory_mb: float | None
    source: str
    """From what this was derived."""


def past_trials(results: Path) -> list[Past]:
    """What the finished trials of all studies below a results folder cost.

    Records are read without their arrays: a number that is only an expectation needs no checksum.
    """
    found = []
    for path in sorted(results.glob("*/trials/*/run-*_fold-*/record.json")):
        try:
            record = json.loads(path.read_text())
            cost = record["cost"]
            past = Past(
                spec=record["spec"],
                images=int(record["data"]["images"]),
                device=str(record["provenance"]["device"]),
                seconds=float(cost["seconds"]),
                memory_mb=float(cost["peak_memory_mb"]),
                gpu_memory_mb=cost.get("peak_gpu_memory_mb"),
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue  # failed, or nothing that can be learnt from
        found.append(past)
    return found


def expected(spec: TrialSpec, images: int, device: str, past: Sequence[Past]) -> Expected | None:
    """What a trial will take; None where no comparable trial is recorded.

    Args:
        images: of the whole data set.
        device: `cpu` or the GPU's name.
    """
    mine = spec.as_dict()
    comparable = [
        one
        for one in past
        if one.device == device
        and _of(one.spec, "track", "preset", "image_size")
        == _of(mine, "track", "preset", "image_size")
    ]
    here = "fingerprint"
    for keys, source in (
        (("method", "row", here), "trials of this row"),
        (("method", here), "other rows of this method"),
        (("method",), "this method on other data"),
        ((here,), "other methods"),
        ((), "other methods on other data"),
    ):
        nearest = [one for one in comparable if _of(one.spec, *keys) == _of(mine, *keys)]
        if nearest:
            load = _load(mine, images)
            on_gpu = [one.gpu_memory_mb for one in nearest if one.gpu_memory_mb is not None]
            return Expected(
                seconds=median(one.seconds * load / one.load for one in nearest),
                memory_mb=max(one.memory_mb for one in nearest),
                gpu_memory_mb=max(on_gpu, default=None),
                source=f"{len(nearest)} {source}",
            )
    return None


def plan_lines(request: Request, say: Callable[[str], None]) -> Iterator[str]:
    """The plan of a request for a person: the product, what is done, and what the rest takes.

    Raises:
        UsageError, MethodError, DataError: as `bench.runs.layout.lay_out`.
    """
    layout, planned, todo, by_row = _planned(request, say)
    rows = len(by_row)
    yield (
        f"{request.results / layout.study}: {len(planned)} trials (rows x runs x folds: "
        f"{rows} x {request.run_count} x {request.folds})"
    )
    yield ""
    yield from _table(planned, todo, by_row)
    yield ""
    for reason, count in reasons(planned).items():
        yield f"{count} to redo: {reason}"
    yield from _total(todo, by_row, layout)


def plan_of(request: Request, say: Callable[[str], None]) -> dict[str, Any]:
    """The same as plain values; what is not known of a row's cost is None.

    Raises:
        UsageError, MethodError, DataError: as `bench.runs.layout.lay_out`.
    """
    layout, planned, todo, by_row = _planned(request, say)
    states = Counter((item.spec.row_folder, item.state) for item in planned)
    to_run = Counter(spec.row_folder for spec in todo)
    costs = ("seconds", "memory_mb", "gpu_memory_mb", "source")
    return {
        "study": layout.study,
        "trials": len(planned),
        "to_run": len(todo),
        "at_once": min(layout.jobs, len(todo)),
        "redone_for": reasons(planned),
        "rows": [
            {
                "row": row,
                **{state: states[row, state] for state in STATES},
                "to_run": to_run[row],
                "each": None if one is None else {name: getattr(one, name) for name in costs},
            }
            for row, one in by_row.items()
        ],
    }


def _planned(
    request: Request, say: Callable[[str], None]
) -> tuple[Layout, list[Planned], list[TrialSpec], dict[str, Expected | None]]:
    """The trials, how they stand, those to run, and what one of each row takes."""
    layout = lay_out(request, say)
    planned = plan(layout.specs, request.results, fresh=request.fresh)
    todo = chosen(planned, request.only, request.limit)
    past = past_trials(request.results)
    device = _device_name(layout.device)
    by_row = {spec.row_folder: expected(spec, layout.images, device, past) for spec in layout.specs}
    return layout, planned, todo, by_row


def _table(
    planned: Sequence[Planned], todo: Sequence[TrialSpec], by_row: Mapping[str, Expected | None]
) -> Iterator[str]:
    from tabulate import tabulate

    states = Counter((item.spec.row_folder, item.state) for item in planned)
    to_run = Counter(spec.row_folder for spec in todo)
    lines = []
    for row, one in by_row.items():
        counts = [states[row, state] or "-" for state in STATES]
        cost: tuple[str, ...] = ("unknown", "unknown", "no record like it")
        if one is not None:
            cost = (span(one.seconds), f"{one.memory_mb / 1024:.1f}", one.source)
        lines.append((row, *counts, to_run[row] or "-", *cost))
    headers = ("row", *STATES, "to run", "time each", "GB each", "from")
    alignment = ("left", *("right",) * 7, "left")
    yield tabulate(lines, headers, tablefmt="github", disable_numparse=True, colalign=alignment)


def _total(
    todo: Sequence[TrialSpec], by_row: Mapping[str, Expected | None], layout: Layout
) -> Iterator[str]:
    """Minutes, memory and device-hours of the trials to run."""
    if not todo:
        yield "Nothing to run."
        return
    costs = [by_row[spec.row_folder] for spec in todo]
    known = [cost for cost in costs if cost is not None]
    if not known:
        yield f"{len(todo)} trials to run; nothing comparable is recorded, so how long is unknown."
        return
    at_once = min(layout.jobs, len(todo))
    seconds = sum(cost.seconds for cost in known)
    wall = max(seconds / at_once, max(cost.seconds for cost in known))
    memory = [f"{at_once * max(cost.memory_mb for cost in known) / 1024:.1f} GB of memory"]
    if layout.device == "cpu":
        hours = f"{seconds / 3600:.2g} core-hours"
    else:
        gpus = min(at_once, default_jobs(layout.device))
        hours = f"{wall * gpus / 3600:.2g} GPU-hours"
        on_gpu = [cost.gpu_memory_mb for cost in known if cost.gpu_memory_mb is not None]
        if on_gpu:
            on_one = -(-at_once // gpus)
            memory.append(f"{on_one * max(on_gpu) / 1024:.1f} GB on a GPU")
    without = len(costs) - len(known)
    yield (
        f"{len(todo)} trial{'s' * (len(todo) > 1)} to run, {at_once} at a time: "
        f"about {span(wall)}, {hours}, {', '.join(memory)}"
        + (f"; without {without} trials of which nothing is known." if without else ".")
    )


def _device_name(device: str) -> str:
    if device == "cpu":
        return device
    import torch

    return torch.cuda.get_device_name(device) if torch.cuda.is_available() else "a GPU elsewhere"


def _of(spec: Mapping[str, Any], *keys: str) -> list[Any]:
    return [spec.get(key, spec["config"].get(key)) for key in keys]


def _load(spec: Mapping[str, Any], images: int) -> float:
    """Images that pass through a model: all of them once, and in training once an epoch more."""
    epochs = spec["config"].get("epochs", 1) if spec["track"] == "trained" else 0
    return float(images * (1 + epochs))
