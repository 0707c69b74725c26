"""From what the user asked for to finished records: rows, trials, the lock, the executor."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.dataset import Dataset, prepare_dataset
from bench.errors import ResultsError, UsageError
from bench.protocol.config import Config
from bench.protocol.method import find_method, method_names
from bench.protocol.prompts import prompts_digest
from bench.runs.executors.local import run_local
from bench.runs.plan import Planned, plan, reasons
from bench.runs.progress import Progress
from bench.runs.study import Row, load_study, rows_of_table
from bench.runs.trial import TrialSpec, row_label

if TYPE_CHECKING:
    from bench.runs.perform import Outcome

DEFAULT_FOLDS, DEFAULT_SEED = 5, 0


@dataclass(frozen=True)
class Request:
    """What `bench run` was asked for; the command line fills it and adds nothing."""

    methods: tuple[str, ...] = ()
    table: int | None = None
    data: str | None = None
    preset: str = "tiny"
    folds: int = DEFAULT_FOLDS
    runs: int = 10
    seed: int = DEFAULT_SEED
    settings: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 1
    device: str = "auto"
    results: Path = Path("results")
    study: str | None = None
    fresh: bool = False
    skip_unreadable: bool = False


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
        DataError: the data cannot be used.
        ResultsError: the results folder cannot be written or is held by another run.
    """
    if request.folds < 2:
        raise UsageError(f"--folds {request.folds}: cross-validation needs at least 2 folds.")
    if request.runs < 1 or request.jobs < 1:
        raise UsageError("--runs and --jobs are at least 1.")
    if request.seed < 0:
        raise UsageError(f"--seed {request.seed}: a seed is not negative.")
    if request.study is not None and Path(request.study).name != request.study:
        raise UsageError(f"--study {request.study}: a study's name is one folder, without '/'.")
    rows = _rows(request, say)
    data = request.data or ("phantom" if request.preset == "tiny" else "phantom:size=224")
    say(f"Opening {data} ...")
    size = max(row.config.image_size for row in rows)
    store, dataset = prepare_dataset(data, size, skip_unreadable=request.skip_unreadable)
    patients = len(set(dataset.patients.tolist()))
    if request.folds > patients:
        raise UsageError(f"--folds {request.folds}: there are only {patients} patients.")
    say(
        f"{dataset.name}: {len(dataset)} images of {patients} patients, {len(dataset.classes)} "
        f"classes{', synthetic' if dataset.synthetic else ''}"
        + (f"; {len(dataset.left_out)} images left out" if dataset.left_out else "")
    )
    study = request.study or _study_name(request, dataset, data)
    specs = list(_specs(request, rows, data, dataset, study))
    device = _device(request.device)
    with _held(request.results / study):
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
                )
    return Summary(
        study=study,
        folder=request.results / study,
        skipped=len(specs) - len(todo),
        finished=len(todo) - failed,
        failed=failed,
    )


@dataclass(frozen=True)
class _Resolved:
    """A row with its method found and its configuration made."""

    reference: str
    name: str
    code: str
    title: str
    label: str
    config: Config


def _rows(request: Request, say: Callable[[str], None]) -> list[_Resolved]:
    """The rows of a request: named methods with the settings, or the rows of a table."""
    study = load_study()
    if request.table is not None:
        if request.methods:
            raise UsageError("Give --table or --method, not both.")
        wanted = rows_of_table(request.table, study)
        known = method_names()
        rows = [row for row in wanted if row.method in known]
        absent = [row.title for row in wanted if row.method not in known]
        if absent:
            say(f"Left out, for want of a method of that name: {', '.join(absent)}.")
    else:
        rows = [Row(method, "", dict(request.settings)) for method in request.methods]
    if not rows:
        raise UsageError("Nothing to run: give --method NAME or --table 2. See: bench methods.")
    titles = {row.key: row.title for row in study}
    resolved: list[_Resolved] = []
    for row in rows:
        found = find_method(row.method)
        preset = found.cls.Config.of_preset(request.preset)
        settings = {**row.settings, **request.settings}
        config = preset.with_settings(settings)
        label = row_label(asdict(config), asdict(preset))
        title = titles.get((found.name, label)) or found.cls.card.title + (
            "" if label == "default" else f" ({label})"
        )
        if any((found.name, label) == (other.name, other.label) for other in resolved):
            raise UsageError(f"'{title}' is asked for twice; every row runs once.")
        resolved.append(_Resolved(row.method, found.name, found.code, title, label, config))
    return resolved


def _specs(
    request: Request, rows: list[_Resolved], data: str, dataset: Dataset, study: str
) -> Iterator[TrialSpec]:
    """All trials, whole runs first: an interrupted study has complete runs of every row."""
    for run in range(request.runs):
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
                    track="trained",
                    data=data,
                    fingerprint=dataset.fingerprint,
                    config=row.config.as_dict(),
                    classes=dataset.classes,
                    prompts=prompts_digest(dataset.classes),
                    seed=request.seed,
                    folds=request.folds,
                    run=run,
                    fold=fold,
                )


def _study_name(request: Request, dataset: Dataset, data: str) -> str:
    """Data set, preset, and what of the partition is not the default: `openreal-tiny`."""
    parts = [dataset.name]
    if data.startswith("phantom:"):
        parts += data.removeprefix("phantom:").replace("=", "").split(",")
    parts.append(request.preset)
    if request.folds != DEFAULT_FOLDS:
        parts.append(f"folds{request.folds}")
    if request.seed != DEFAULT_SEED:
        parts.append(f"seed{request.seed}")
    return re.sub(r"[^A-Za-z0-9._-]", "_", "-".join(parts))


def _refuse_other_data(planned: list[Planned], folder: Path) -> None:
    """Two data folders of one name are no reason to lose what was finished on the first.

    Raises:
        ResultsError: the study holds finished trials of other data.
    """
    others = sum(
        item.before is not None and item.before["fingerprint"] != item.spec.fingerprint
        for item in planned
    )
    if others:
        raise ResultsError(
            f"{folder} holds {others} finished trials of other data (or of other options of it). "
            "Name another study with --study NAME, or redo them with --fresh."
        )


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
