"""From what the user asked for to finished records: rows, trials, the lock, the executor."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.dataset import Dataset, prepare_dataset
from bench.errors import ResultsError, UsageError
from bench.protocol.prompts import prompts_digest
from bench.runs.executors.local import run_local
from bench.runs.external import name_of_set, open_external
from bench.runs.plan import Planned, plan, reasons
from bench.runs.progress import Progress
from bench.runs.rows import DEFAULT_FOLDS, DEFAULT_SEED, Request, Resolved, resolve_rows
from bench.runs.study import COPY
from bench.runs.trial import ExternalSet, TrialSpec

if TYPE_CHECKING:
    from bench.runs.perform import Outcome


@dataclass(frozen=True)
class Summary:
    """How many trials were skipped as done, finished now, and failed; and where they are."""

    study: str
    folder: Path
    skipped: int
    finished: int
    failed: int


def launch(request: Request, say: Callable[[str], None]) -> Summary:
    """Runs what is not done yet of a request and says what it does.

    Raises:
        UsageError: the request cannot be meant.
        MethodError: weights that cannot be read or are not the method's.
        DataError: the data cannot be used.
        ResultsError: the results folder cannot be written or is held by another run.
    """
    named = request.study if request.study_file is None else None
    _refuse_impossible(request, named)
    rows = resolve_rows(request, say)
    data = request.data or ("phantom" if request.kind == "tiny" else "phantom:size=224")
    say(f"Opening {data} ...")
    size = max(row.config.image_size for row in rows)
    store, dataset = prepare_dataset(
        data, size, skip_unreadable=request.skip_unreadable, jobs=request.jobs, tell=say
    )
    patients = len(set(dataset.patients.tolist()))
    if request.folds > patients:
        raise UsageError(f"--folds {request.folds}: there are only {patients} patients.")
    say(
        f"{dataset.name}: {len(dataset)} images of {patients} patients, {len(dataset.classes)} "
        f"classes{', synthetic' if dataset.synthetic else ''}"
        + (f"; {len(dataset.left_out)} images left out" if dataset.left_out else "")
    )
    external = open_external(
        request.test_data,
        request.classes,
        dataset,
        size,
        say,
        skip_unreadable=request.skip_unreadable,
        jobs=request.jobs,
    )
    sets = tuple(opened.spec for opened in external)
    study = named or _study_name(request, dataset, data, sets)
    specs = list(_specs(request, rows, data, dataset, study, sets))
    device = _device(request.device)
    with _held(request.results / study):
        if request.study_file is not None:
            (request.results / study / COPY).write_bytes(request.study_file.read_bytes())
        planned = plan(specs, request.results, fresh=request.fresh)
        if not (dataset.synthetic or request.fresh):
            _refuse_other_data(planned, request.results / study)
        todo = [item.spec for item in planned if item.state != "done"]
        _announce(planned, say)
        failed = 0

        with Progress(len(todo), request.jobs) as progress:

            def ended(spec: TrialSpec, outcome: Outcome) -> None:
                nonlocal failed
                failed += outcome.status != "done"
                progress.ended(spec, outcome)

            if todo:
                run_local(
                    todo,
                    store,
                    jobs=request.jobs,
                    device=device,
                    results=request.results.resolve(),
                    ended=ended,
                    external=[opened.store for opened in external],
                )
    return Summary(
        study=study,
        folder=request.results / study,
        skipped=len(specs) - len(todo),
        finished=len(todo) - failed,
        failed=failed,
    )


def _refuse_impossible(request: Request, named: str | None) -> None:
    if request.folds < 2:
        raise UsageError(f"--folds {request.folds}: cross-validation needs at least 2 folds.")
    if request.run_count < 1 or request.jobs < 1:
        raise UsageError("--runs and --jobs are at least 1.")
    if request.seed < 0:
        raise UsageError(f"--seed {request.seed}: a seed is not negative.")
    if named is not None and Path(named).name != named:
        raise UsageError(f"--study {request.study}: a study's name is one folder, without '/'.")


def _specs(
    request: Request,
    rows: list[Resolved],
    data: str,
    dataset: Dataset,
    study: str,
    external: tuple[ExternalSet, ...] = (),
) -> Iterator[TrialSpec]:
    """All trials, whole runs first: an interrupted study has complete runs of every row."""
    for run in range(request.run_count):
        for row in rows:
            for fold in range(request.folds):
                yield TrialSpec(
                    study=study,
                    row=row.label,
                    title=row.title,
                    method=row.name,
                    method_reference=str(Path(row.reference).resolve())
                    if row.reference.endswith(".py")
                    else row.reference,
                    method_code=row.code,
                    track=request.track,
                    data=data,
                    fingerprint=dataset.fingerprint,
                    config=row.config.as_dict(),
                    classes=dataset.classes,
                    prompts=prompts_digest(dataset.classes),
                    seed=request.seed,
                    folds=request.folds,
                    run=run,
                    fold=fold,
                    weights=row.weights,
                    weights_references=request.weights,
                    external=external,
                )


def _study_name(
    request: Request, dataset: Dataset, data: str, external: tuple[ExternalSet, ...] = ()
) -> str:
    """Data set, preset or `released`, what of the partition is not the default, external data."""
    file = request.study_file
    parts = [*([] if file is None else [file.stem]), name_of_set(dataset, data)]
    parts.append(request.kind)
    if request.folds != DEFAULT_FOLDS:
        parts.append(f"folds{request.folds}")
    if request.seed != DEFAULT_SEED:
        parts.append(f"seed{request.seed}")
    parts += [f"on-{one.name}" for one in external]
    return re.sub(r"[^A-Za-z0-9._-]", "_", "-".join(parts))


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


def _announce(planned: list[Planned], say: Callable[[str], None]) -> None:
    done = sum(item.state == "done" for item in planned)
    todo = len(planned) - done
    say(f"{len(planned)} trials: {done} done, {todo} to run.")
    for reason, count in reasons(planned).items():
        say(f"  {count} redone: {reason}")


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: torch sees no GPU. Use --device cpu.")
    try:
        usable = torch.device(name).type in {"cpu", "cuda"}
    except RuntimeError:
        usable = False
    if not usable:
        raise UsageError(f"--device {name} is not a device; try auto, cpu or cuda.")
    return name


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The study's folder held by this process; the system lets go when the process ends.

    Raises:
        ResultsError: it cannot be written, or another run holds it (the message says which).
    """
    from filelock import FileLock, Timeout

    holder = folder / ".holder.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise ResultsError(
            f"{folder} is held by another bench run ({_holder(holder)}). Wait for it, or give "
            "--results another folder. Trials it finishes are skipped when you run again."
        ) from None
    except OSError as error:
        raise ResultsError(
            f"Cannot write results to {folder}: {error.strerror or error}. "
            "Give a folder that can be written with --results DIR."
        ) from error
    try:
        holder.write_text(
            json.dumps(
                {
                    "process": os.getpid(),
                    "host": platform.node(),
                    "since": time.strftime("%Y-%m-%d %H:%M:%S"),
                }
            )
        )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_text())
        return f"process {who['process']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError):
        return "which has not said who it is yet"
