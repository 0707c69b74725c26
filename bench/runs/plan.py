"""What a study still has to do: its trials against the records that are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.runs.record import not_kept, read_record
from bench.runs.trial import State, TrialSpec, differences, identity_of


@dataclass(frozen=True)
class Planned:
    """A trial, how it stands, and why it has to be done again where it has."""

    spec: TrialSpec
    state: State
    why: str = ""
    before: Mapping[str, Any] | None = None
    """Identity of the finished trial that is there and stale."""


def plan(specs: Iterable[TrialSpec], results: Path, *, fresh: bool = False) -> list[Planned]:
    """Each trial with its state: done is skipped, everything else is run.

    Args:
        fresh: treat finished trials as stale.
    """
    return [_state(spec, results, fresh) for spec in specs]


def _state(spec: TrialSpec, results: Path, fresh: bool) -> Planned:
    folder = spec.folder(results)
    record = read_record(folder)
    if record is None:
        damaged = (folder / "record.json").exists()
        return (
            Planned(spec, "stale", "its record is damaged") if damaged else Planned(spec, "missing")
        )
    if record["status"] != "done":
        return Planned(spec, "failed", str(record.get("error", "")))
    if record["id"] != spec.id:
        before = identity_of(record["spec"])
        return Planned(spec, "stale", differences(before, spec.identity()), before)
    if fresh:
        return Planned(spec, "stale", "--fresh")
    if missing := not_kept(folder, record, spec.keep):
        verb = "were" if missing[-1] == "embeddings" else "was"
        return Planned(spec, "stale", f"its {' and '.join(missing)} {verb} not kept")
    return Planned(spec, "done")


def chosen(
    planned: Sequence[Planned], only: Sequence[State] = (), limit: int | None = None
) -> list[TrialSpec]:
    """The trials to run now.

    Args:
        only: those in these states; none is all that are not done.
        limit: so many at most.
    """
    wanted = only or ("missing", "stale", "failed")
    return [item.spec for item in planned if item.state in wanted][:limit]


def reasons(planned: Sequence[Planned]) -> dict[str, int]:
    """Why trials are redone, each reason with how many trials it concerns."""
    counted: dict[str, int] = {}
    for item in planned:
        if item.state in {"stale", "failed"}:
            reason = f"failed before ({item.why})" if item.state == "failed" else item.why
            counted[reason] = counted.get(reason, 0) + 1
    return counted
