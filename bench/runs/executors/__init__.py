"""Ways to run the trials of a plan: here what they share, one module each for the engines.

An engine is a module of this folder with a function `execute(specs, work, ended)`. It runs every
trial with `do_trial` in processes of its own, wherever these are, and calls `ended` in the
launching process as each ends; an exception of `ended` has to stop it. All that is known of a study
is in its records, so any engine can take over what another has begun.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError, unknown
from bench.runs.record import read_record, write_record
from bench.runs.trial import TrialSpec

if TYPE_CHECKING:
    from bench.data import Dataset
    from bench.runs.perform import Outcome

NAMES = ("local", "ray", "slurm")
_NEEDED = {"ray": "ray", "slurm": "submitit"}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Work:
    """What every worker needs besides the trial."""

    stores: tuple[Path, ...]
    """Folder of the prepared data set, then of those that are scored besides."""
    device: str
    """`cpu`, `cuda` (whichever GPU the worker sees first) or one GPU by number."""
    results: Path
    """Absolute."""
    jobs: int
    """Trials at a time."""
    log: tuple[str, ...] = ()
    """Loggers of `bench.runs.loggers`."""


Ended = Callable[[TrialSpec, "Outcome"], None]
"""Called in the launching process as each trial ends."""
Executor = Callable[[Sequence[TrialSpec], Work, Ended], None]


def find_executor(name: str) -> Executor:
    """The `execute` of an engine.

    Raises:
        UsageError: there is no such engine, or its extra is not installed.
    """
    if name not in NAMES:
        raise UsageError(unknown("executor", name, NAMES))
    needed = _NEEDED.get(name)
    try:
        if needed is not None:
            importlib.import_module(needed)
    except ImportError as error:
        raise UsageError(
            f"--executor {name} needs {needed}: pip install 'cxr-bench[{name}]'."
        ) from error
    module = importlib.import_module(f"bench.runs.executors.{name}")
    executor: Executor = module.execute
    return executor


def do_trial(spec: TrialSpec, work: Work) -> Outcome:
    """One trial in this process, on one thread; its data sets are opened once a process.

    For worker processes: it changes torch's number of threads. The environment should hold
    `one_thread()` when the process starts.

    Raises:
        DataError: a store cannot be read here.
        ResultsError: the record cannot be written here.
    """
    import torch

    from bench.runs.perform import perform

    torch.set_num_threads(1)
    dataset, *external = _opened(work.stores)
    return perform(spec, dataset, work.device, work.results, external, work.log)


@lru_cache(maxsize=1)
def _opened(stores: tuple[Path, ...]) -> list[Dataset]:
    from bench.data.store import open_store

    return [open_store(store) for store in stores]


def recorded(spec: TrialSpec, results: Path) -> Outcome | None:
    """What a trial came to by its record; None where there is no record of exactly this trial."""
    from bench.protocol.prompts import HEADLINE
    from bench.runs.perform import Outcome

    record = read_record(spec.folder(results))
    if record is None or record["id"] != spec.id:
        return None
    summary = record.get("metrics", {}).get(HEADLINE, {})
    return Outcome(
        status=record["status"],
        seconds=float(record.get("cost", {}).get("seconds", 0.0)),
        total=summary.get("total", {}).get("auroc"),
        rare=summary.get("rare", {}).get("auroc"),
        error=record.get("error"),
    )


def lost(spec: TrialSpec, work: Work, why: str) -> Outcome:
    """Records a trial as failed whose process is gone, and tells the outcome.

    A process may die after its record was written; what is finished stays finished.

    Raises:
        ResultsError: the record cannot be written.
    """
    from bench.runs.perform import Outcome

    before = recorded(spec, work.results)
    if before is not None and before.status == "done":
        return before
    record = {"status": "failed", "id": spec.id, "spec": spec.as_dict(), "error": why}
    write_record(spec.folder(work.results), record, scores=None, log=[])
    return Outcome(status="failed", seconds=0.0, total=None, rare=None, error=why)


def one_thread() -> dict[str, str]:
    """Environment of a worker: libraries read their number of threads when they are loaded."""
    return dict.fromkeys(_THREADS, "1")


@contextmanager
def single_threaded() -> Iterator[None]:
    """`one_thread()` in the environment that processes started inside inherit."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(one_thread())
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
