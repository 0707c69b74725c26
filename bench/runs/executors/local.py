"""Trials on this machine: spawned, reused worker processes of one thread each.

On CPU one single-threaded process a core is faster than one process with many threads, and it makes
the numbers independent of how many cores there are.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import ResultsError
from bench.runs.trial import TrialSpec

if TYPE_CHECKING:
    from bench.data import Dataset
    from bench.runs.perform import Outcome

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
# A worker killed by the system (out of memory, say) takes the pool with it; start again this often.
_RESTARTS = 2


def default_jobs() -> int:
    """One process for each core this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_local(
    specs: Sequence[TrialSpec],
    store: Path,
    *,
    jobs: int,
    device: str,
    results: Path,
    ended: Callable[[TrialSpec, Outcome], None],
    external: Sequence[Path] = (),
) -> None:
    """Runs the trials in `jobs` processes; `ended` is called in this one as each trial ends.

    Args:
        store: folder of the prepared data set, opened once in each worker.
        external: those of the data sets that are scored besides.

    Raises:
        ResultsError: workers died repeatedly, or a record could not be written.
    """
    waiting = list(specs)
    for attempt in range(_RESTARTS + 1):
        try:
            _run_pool(waiting, (store, *external), jobs, device, results, ended)
            return
        except BrokenProcessPool:
            if attempt == _RESTARTS:
                raise ResultsError(
                    f"Worker processes died {_RESTARTS + 1} times with {len(waiting)} trials left; "
                    "the system may be out of memory. Try --jobs 1. Finished trials are kept."
                ) from None


def _run_pool(
    waiting: list[TrialSpec],
    stores: Sequence[Path],
    jobs: int,
    device: str,
    results: Path,
    ended: Callable[[TrialSpec, Outcome], None],
) -> None:
    """One pool until all is done; ended trials leave `waiting`, so a new pool can go on."""
    with _single_threaded():
        pool = ProcessPoolExecutor(
            max_workers=min(jobs, max(1, len(waiting))),
            mp_context=get_context("spawn"),
            initializer=_start,
            initargs=(os.getpid(), stores, device, results),
        )
        running: dict[Future[Outcome], TrialSpec] = {
            pool.submit(_work, spec): spec for spec in waiting
        }
        try:
            while running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    spec = running.pop(future)
                    outcome = future.result()
                    waiting.remove(spec)
                    ended(spec, outcome)
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_dataset: Dataset
_external: list[Dataset]
_device: str
_results: Path


def _start(parent: int, stores: Sequence[Path], device: str, results: Path) -> None:
    """Once in each worker: one thread, the data sets opened, an eye on the parent."""
    # A worker serves one study; the pool has no other place to keep what it opened.
    global _dataset, _external, _device, _results
    import signal

    # Ctrl-C reaches the whole group; the parent decides and stops us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    import torch

    from bench.data.store import open_store

    torch.set_num_threads(1)
    _dataset, *_external = (open_store(store) for store in stores)
    _device, _results = device, results


def _work(spec: TrialSpec) -> Outcome:
    from bench.runs.perform import perform

    return perform(spec, _dataset, _device, _results, _external)


def _leave_with(parent: int) -> None:
    """Ends the worker when its parent is gone: a killed `bench run` must leave nobody writing."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Thread counts of one in the environment that spawned workers inherit."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
