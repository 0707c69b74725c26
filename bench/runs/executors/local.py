"""Trials on this machine: spawned worker processes of one thread each, which are reused.

On CPU one single-threaded process a core is faster than one process with many threads, and it makes
the numbers independent of how many cores there are. A worker of a GPU study sees one GPU; workers
take turns over those that are visible, so `jobs` above their number puts several trials on each.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import cycle, islice
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from typing import Any

from bench.data.workers import leave_with_parent, uninterrupted
from bench.errors import BenchError
from bench.runs.executors import Ended, Work, do_trial, lost, single_threaded
from bench.runs.trial import TrialSpec

_GPUS = "CUDA_VISIBLE_DEVICES"
# A worker that is asked to end and still there after this many seconds is killed.
_PATIENCE = 5.0


def default_jobs(device: str = "cpu") -> int:
    """One process for each core this process may use; on `cuda` one for each visible GPU."""
    if device.startswith("cuda"):
        import torch

        return max(1, torch.cuda.device_count()) if device == "cuda" else 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def execute(specs: Sequence[TrialSpec], work: Work, ended: Ended) -> None:
    """Runs the trials in `work.jobs` processes.

    A trial whose worker dies (a system short of memory kills the largest process) is tried once
    more, with no other beside it, before any further one begins; then it is recorded as failed.

    Raises:
        ResultsError: a record cannot be written.
        DataError: a worker cannot read the data.
    """
    waiting = deque(specs)
    while waiting:
        for spec, first in _run(waiting, work, work.jobs, ended):
            for _, second in _run(deque([spec]), work, 1, ended):
                why = f"its worker process {first}, and {second} when it was tried again alone"
                if "SIGKILL" in second:
                    why += "; the system may be out of memory"
                ended(spec, lost(spec, work, f"WorkerLost: {why}."))


def _run(
    waiting: deque[TrialSpec], work: Work, jobs: int, ended: Ended
) -> list[tuple[TrialSpec, str]]:
    """Takes trials and runs them until there are none, or a worker dies; then the running ones end.

    Returns:
        The trials whose worker died, and how it did.
    """
    died: list[tuple[TrialSpec, str]] = []
    workers: list[_Worker] = []
    try:
        for gpu in islice(_gpus(work.device), min(jobs, len(waiting))):
            workers.append(_Worker(work, gpu))
            workers[-1].begin(waiting.popleft())
        busy = {worker.pipe: worker for worker in workers}
        while busy:
            for pipe in connection.wait(list(busy)):
                worker = busy.pop(pipe)  # type: ignore[call-overload]
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):
                    died.append((worker.trial, worker.ending()))
                else:
                    if isinstance(answer, BaseException):
                        raise answer
                    ended(worker.trial, answer)
                if waiting and not died:
                    worker.begin(waiting.popleft())
                    busy[worker.pipe] = worker
    finally:
        with uninterrupted():
            _stop(workers)
    return died


class _Worker:
    """A process that does one trial after the other."""

    trial: TrialSpec
    """What it does, or did last."""

    def __init__(self, work: Work, gpu: str | None) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work, gpu))
        with single_threaded(), uninterrupted():
            self.process.start()
        theirs.close()

    def begin(self, trial: TrialSpec) -> None:
        """Gives the worker a trial; its outcome, or the error that ends the study, comes back."""
        self.trial = trial
        with suppress(OSError):  # it has died since; whoever reads the pipe finds out
            self.pipe.send(trial)

    def ending(self) -> str:
        """How the process died, in words."""
        self.process.join(_PATIENCE)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            return "closed its pipe"
        if code >= 0:
            return f"ended with code {code}"
        return f"was ended by {signal.Signals(-code).name}"


def _serve(pipe: Connection, work: Work, gpu: str | None) -> None:
    """A worker's life: trials in, outcomes out, until the pipe is closed or the parent gone."""
    # Ctrl-C reaches the whole group; the parent decides and stops us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_with_parent()
    if gpu is not None:
        os.environ[_GPUS] = gpu
    while True:
        try:
            trial = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: Any = do_trial(trial, work)
        except BenchError as error:
            answer = error
        except Exception:  # of whatever class, it has to reach the parent
            answer = RuntimeError(f"A worker failed at {trial.id}:\n{traceback.format_exc()}")
        try:
            pipe.send(answer)
        except OSError:  # the parent was killed meanwhile; the record is written
            return


def _stop(workers: Sequence[_Worker]) -> None:
    """Ends the processes, within a bounded time."""
    for worker in workers:
        worker.process.terminate()
    limit = time.monotonic() + _PATIENCE
    for worker in workers:
        worker.process.join(max(0.0, limit - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


def _gpus(device: str) -> Iterator[str | None]:
    """Which GPU each next worker is to see; None leaves it as it is."""
    if device != "cuda":
        return cycle([None])
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get(_GPUS)
    names = visible.split(",")[:count] if visible else [str(index) for index in range(count)]
    return cycle(names or [None])
