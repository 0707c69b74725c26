"""From what the user asked for to finished records: the plan, the hold, the executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import ResultsError
from bench.runs.asked import write_asked
from bench.runs.executors import Executor, Work, find_executor
from bench.runs.hold import held
from bench.runs.layout import Layout, lay_out
from bench.runs.loggers import require
from bench.runs.plan import Planned, chosen, plan, reasons
from bench.runs.progress import Progress
from bench.runs.record import cannot_write, replacing
from bench.runs.resume import forget
from bench.runs.rows import Request
from bench.runs.study import COPY
from bench.runs.trial import TrialSpec

if TYPE_CHECKING:
    from bench.runs.perform import Outcome

# A wrong file of weights or a slip in an adapter fails every trial of its row in the same way.
_SAME_FAILURES = 3


@dataclass(frozen=True)
class Summary:
    """How many trials were skipped as done, finished now, failed, and left; where they are."""

    study: str
    folder: Path
    skipped: int
    finished: int
    failed: int
    left: int = 0
    """Not done and not tried: beyond --limit, not asked for by --only, or of a row given up."""


def launch(request: Request, say: Callable[[str], None]) -> Summary:
    """Runs what is not done yet of a request and says what it does.

    A row whose first three trials all failed with one and the same error is given up, unless the
    request says to keep going.

    Raises:
        UsageError: the request cannot be meant, or its executor or a logger is not installed.
        MethodError: weights that cannot be read or are not the method's.
        DataError: the data cannot be used.
        ResultsError: the results folder cannot be written or is held by another run.
    """
    execute = find_executor(request.executor)
    require(request.log)
    layout = lay_out(request, say)
    folder = request.results / layout.study
    with held(folder, say):
        planned = plan(layout.specs, request.results, fresh=request.fresh)
        if not (layout.synthetic or request.fresh):
            _refuse_other_data(planned, folder)
        _copy_study_file(request.study_file, folder)
        write_asked(layout.specs, folder)
        todo = chosen(planned, request.only, request.limit)
        for item in planned:
            # A process that died between its record and its end leaves a state nobody goes on with.
            if item.state == "done" or request.fresh:
                forget(item.spec.folder(request.results))
        _announce(planned, len(todo), say)
        counts = _run(todo, execute, _work(layout, request), request.keep_going, say)
    done = sum(item.state == "done" for item in planned)
    return Summary(
        study=layout.study,
        folder=folder,
        skipped=done,
        finished=counts.finished,
        failed=counts.failed,
        left=len(planned) - done - counts.finished - counts.failed,
    )


@dataclass
class _Counts:
    finished: int = 0
    failed: int = 0


class _RowGivenUp(Exception):
    """Raised through an executor to stop it, so that it can go on without the row."""


def _run(
    todo: Sequence[TrialSpec],
    execute: Executor,
    work: Work,
    keep_going: bool,
    say: Callable[[str], None],
) -> _Counts:
    """Has the trials executed; after a row is given up, those of the others."""
    counts = _Counts()
    waiting = {spec.id: spec for spec in todo}
    errors: dict[str, list[str | None]] = {}
    unlogged: set[str] = set()

    with Progress(len(todo), work.jobs) as progress:

        def ended(spec: TrialSpec, outcome: Outcome) -> None:
            del waiting[spec.id]
            counts.finished += outcome.status == "done"
            counts.failed += outcome.status != "done"
            progress.ended(spec, outcome)
            if outcome.unlogged is not None and outcome.unlogged not in unlogged:
                unlogged.add(outcome.unlogged)
                progress.told(f"{outcome.unlogged} (said once; the trials go on)")
            of_row = errors.setdefault(spec.row_folder, [])
            of_row.append(outcome.error)
            hopeless = len(of_row) == _SAME_FAILURES and len({*of_row}) == 1 and of_row[0]
            if hopeless and not keep_going and _of_row(waiting, spec.row_folder):
                raise _RowGivenUp(spec.row_folder)

        while waiting:
            try:
                execute(list(waiting.values()), work, ended)
                break
            except _RowGivenUp as given_up:
                row = str(given_up)
                left = _of_row(waiting, row)
                for spec in left:
                    del waiting[spec.id]
                progress.told(
                    f"{row}: its first {_SAME_FAILURES} trials failed in the same way; "
                    f"{len(left)} are not tried. To try all: --keep-going."
                )
    return counts


def _of_row(waiting: Mapping[str, TrialSpec], row: str) -> list[TrialSpec]:
    return [spec for spec in waiting.values() if spec.row_folder == row]


def _work(layout: Layout, request: Request) -> Work:
    return Work(
        stores=tuple(store.resolve() for store in layout.stores),
        device=layout.device,
        results=request.results.resolve(),
        jobs=layout.jobs,
        log=request.log,
    )


def _copy_study_file(file: Path | None, folder: Path) -> None:
    """Keeps the study file beside the trials, for `bench table` to know their rows by."""
    if file is None:
        return
    content = file.read_bytes()
    try:
        with replacing(folder / COPY) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _refuse_other_data(planned: list[Planned], folder: Path) -> None:
    """Two data folders of one name are no reason to lose what was finished on the first.

    Nor is external data that was forgotten, or named later.

    Raises:
        ResultsError: the study holds finished trials of other data.
    """
    others = sum(
        item.before is not None and _other_data(item.before, item.spec) for item in planned
    )
    if others:
        raise ResultsError(
            f"{folder} holds {others} finished trials of other data (or of other options of it, "
            "other --test-data or --classes). Name another study with --study NAME, or redo them "
            "with --fresh."
        )


def _other_data(before: Mapping[str, Any], spec: TrialSpec) -> bool:
    now = spec.identity()
    return any(before.get(key) != now.get(key) for key in ("fingerprint", "external"))


def _announce(planned: list[Planned], now: int, say: Callable[[str], None]) -> None:
    done = sum(item.state == "done" for item in planned)
    todo = len(planned) - done
    say(
        f"{len(planned)} trials: {done} done, {todo} to run"
        + (f", {now} of them now." if now < todo else ".")
    )
    for reason, count in reasons(planned).items():
        say(f"  {count} redone: {reason}")
