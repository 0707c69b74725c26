"""What a request comes to: its rows, the opened data, and every trial of the product."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.data.dataset import Dataset, prepare_dataset
from bench.errors import UsageError
from bench.protocol.prompts import prompts_digest
from bench.runs.executors.local import default_jobs
from bench.runs.external import name_of_set, open_external
from bench.runs.rows import DEFAULT_FOLDS, DEFAULT_SEED, Request, Resolved, resolve_rows
from bench.runs.trial import ExternalSet, TrialSpec


@dataclass(frozen=True)
class Layout:
    """A study as it is asked for, before anything is compared with what is there."""

    study: str
    specs: tuple[TrialSpec, ...]
    """All trials, whole runs first."""
    stores: tuple[Path, ...]
    """Folder of the prepared data, then of those that are scored besides."""
    images: int
    synthetic: bool
    device: str
    jobs: int


def lay_out(request: Request, say: Callable[[str], None]) -> Layout:
    """The trials of a request; data that are not prepared yet are prepared.

    Raises:
        UsageError: the request cannot be meant.
        MethodError: weights that cannot be read or are not the method's.
        DataError: the data cannot be used.
    """
    named = request.study if request.study_file is None else None
    _refuse_impossible(request, named)
    rows = resolve_rows(request, say)
    # On a cluster --jobs counts trials there; data are prepared on this machine.
    preparing = (request.executor == "local" and request.jobs) or default_jobs()
    data = request.data or ("phantom" if request.kind == "tiny" else "phantom:size=224")
    say(f"Opening {data} ...")
    size = max(row.config.image_size for row in rows)
    store, dataset = prepare_dataset(
        data, size, skip_unreadable=request.skip_unreadable, jobs=preparing, tell=say
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
        jobs=preparing,
    )
    device = _device(request.device, request.executor)
    sets = tuple(opened.spec for opened in external)
    study = named or study_name(request, dataset, data, sets)
    return Layout(
        study=study,
        specs=tuple(specs_of(request, rows, data, dataset, study, sets)),
        stores=(store, *(opened.store for opened in external)),
        images=len(dataset),
        synthetic=dataset.synthetic,
        device=device,
        jobs=request.jobs or default_jobs(device),
    )


def _refuse_impossible(request: Request, named: str | None) -> None:
    if request.folds < 2:
        raise UsageError(f"--folds {request.folds}: cross-validation needs at least 2 folds.")
    counts = (request.run_count, request.jobs, request.limit)
    if any(count is not None and count < 1 for count in counts):
        raise UsageError("--runs, --jobs and --limit are at least 1.")
    if request.executor != "local" and request.jobs is None:
        raise UsageError(
            f"--executor {request.executor} needs --jobs N: how many trials at a time on the "
            "whole cluster."
        )
    if request.executor != "local" and request.device == "auto":
        raise UsageError(
            f"--executor {request.executor} needs --device cpu or cuda: what its nodes have is not "
            "to be seen from here."
        )
    if request.seed < 0:
        raise UsageError(f"--seed {request.seed}: a seed is not negative.")
    if named is not None and Path(named).name != named:
        raise UsageError(f"--study {request.study}: a study's name is one folder, without '/'.")


def specs_of(
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
                    keep=request.keep,
                )


def study_name(
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


def _device(name: str, executor: str) -> str:
    """The device of the trials."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and executor == "local" and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: torch sees no GPU. Use --device cpu.")
    try:
        usable = torch.device(name).type in {"cpu", "cuda"}
    except RuntimeError:
        usable = False
    if not usable:
        raise UsageError(f"--device {name} is not a device; try auto, cpu or cuda.")
    return name
