"""Trials as a Slurm job array (extra `slurm`, through submitit).

Partition, time limit, account, memory and GPUs are said as Slurm itself reads them, in the
environment: SBATCH_PARTITION, SBATCH_TIMELIMIT, SBATCH_GRES and so on. A job that comes near its
time limit, or is preempted, goes back to the queue and its trial continues from its last epoch.

The study's results must lie on storage that the nodes see under the same path. While there are
jobs, its folder `.slurm` holds what submitit needs to start them, and their logs. Whether a trial
has ended is read from its record and never from the results that submitit pickles.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, DataError, ResultsError, UsageError
from bench.runs.executors import Ended, Work, do_trial, lost, one_thread, recorded
from bench.runs.executors.submission import refuse_others, uninterrupted
from bench.runs.record import replacing
from bench.runs.trial import TrialSpec

if TYPE_CHECKING:
    from bench.runs.perform import Outcome

FOLDER = ".slurm"
_ARRAYS, _SAID = "array-*.json", "said.json"
# Slurm's own default is 1,001 tasks an array.
_ARRAY = 1000
# Minutes, where SBATCH_TIMELIMIT does not say otherwise: what starts soon in most queues.
_LIMIT = 60
# How often a trial may come to its time limit before it is given up.
_CONTINUED = 50
# Seconds between two looks at the records, and at the queue, whose controller serves many.
_LOOK, _ASK = 2.0, 30.0
# A record may be seen this many seconds after its job has gone: NFS remembers what was not there.
_GRACE = 60.0
_GPUS = ("SBATCH_GRES", "SBATCH_GPUS", "SBATCH_GPUS_PER_NODE", "SBATCH_GPUS_PER_TASK")


def execute(specs: Sequence[TrialSpec], work: Work, ended: Ended) -> None:
    """Runs the trials as one job array, `work.jobs` at a time, and waits for their records.

    Jobs that an earlier `bench run` has left in the queue are waited for, not submitted again. A
    job that ends without a record leaves a failed trial that names the job's log. Ctrl-C cancels
    all jobs.

    Raises:
        UsageError: this is no Slurm cluster, or it refuses the jobs.
        ResultsError: a job cannot write its record, or `.slurm` cannot be written.
        DataError: a job cannot read the data.
    """
    if not all(map(shutil.which, ("sbatch", "srun", "squeue", "scancel"))):
        raise UsageError(
            "--executor slurm: there is no sbatch, srun, squeue or scancel here. Run on a login "
            "node of the cluster."
        )
    if work.device.startswith("cuda"):
        # Slurm shows every job its own GPU, as the only one.
        work = replace(work, device="cuda")
    array = _Array(work, work.results / specs[0].study / FOLDER, specs)
    try:
        array.adopt()
        there = {spec.id for spec in array.jobs.values()}
        left = [spec for spec in specs if spec.id not in there]
        for start in range(0, max(1, len(left)), _ARRAY):
            array.submit(left[start : start + _ARRAY])
            array.follow(ended)
    except BaseException:
        array.cancel()
        raise
    array.clear()


@dataclass(frozen=True)
class _Job:
    """What a job runs: picklable, and as it is once more after a time limit or preemption."""

    spec: TrialSpec
    work: Work
    folder: Path

    def __call__(self) -> None:
        try:
            do_trial(self.spec, self.work)
        except BenchError as error:
            told = {"kind": type(error).__name__, "said": f"On {platform.node()}: {error}"}
            _write(self.folder / _SAID, told)
            raise

    def checkpoint(self) -> Any:
        """Called by submitit before the job goes back to the queue."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _Array:
    """The jobs of a study: which there are, which trial each runs, and how they end."""

    def __init__(self, work: Work, folder: Path, specs: Sequence[TrialSpec]) -> None:
        self.jobs: dict[str, TrialSpec] = {}
        """By the number of the job, those whose trial has not ended."""
        self._work, self._folder = work, folder
        self._specs = {spec.id: spec for spec in specs}
        # A trial that is redone has a record; it ends with another one.
        self._before = {spec.id: _stamp(spec, work.results) for spec in specs}
        self._keep_logs = False

    def adopt(self) -> None:
        """Takes over the jobs that a `bench run` has left which was killed or lost its terminal."""
        refuse_others(self._folder)
        queue = _queue()
        if queue is None:
            raise UsageError("--executor slurm: squeue does not answer; is the controller up?")
        for path in self._folder.glob(_ARRAYS):
            told: Mapping[str, str] = json.loads(path.read_text())
            for job, trial in told.items():
                if job in queue and trial in self._specs:
                    self.jobs[job] = self._specs[trial]
            if queue.isdisjoint(told):
                path.unlink()

    def submit(self, specs: Sequence[TrialSpec]) -> None:
        """Puts an array of trials into the queue.

        Raises:
            UsageError: Slurm refuses it.
            ResultsError: the folder cannot be written.
        """
        if not specs:
            return
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError

        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            refuse_others(self._folder)
            (self._folder / _SAID).unlink(missing_ok=True)
            executor = SlurmExecutor(folder=self._folder, max_num_timeout=_CONTINUED)
            executor.update_parameters(**_parameters(specs[0].study, self._work))
            # Between sbatch's answer and these lines nobody knows of the jobs.
            with uninterrupted():
                with executor.batch():
                    jobs = [executor.submit(_Job(spec, self._work, self._folder)) for spec in specs]
                numbers = [job.job_id for job in jobs]
                self.jobs |= dict(zip(numbers, specs, strict=True))
                told = {number: spec.id for number, spec in zip(numbers, specs, strict=True)}
                _write(self._folder / _ARRAYS.replace("*", numbers[0]), told)
        except FailedJobError as error:
            raise UsageError(
                f"sbatch refused the trials: {str(error).strip()}. What a job asks for is read "
                "from SBATCH_PARTITION, SBATCH_TIMELIMIT, SBATCH_ACCOUNT, SBATCH_GRES, ..."
            ) from error
        except OSError as error:
            raise ResultsError(
                f"Cannot write {self._folder}: {error.strerror or error}. Give another folder "
                "with --results DIR, on storage that the nodes see."
            ) from error

    def follow(self, ended: Ended) -> None:
        """Waits until all trials have ended.

        Raises:
            ResultsError, DataError: what a job said that could do no trial at all.
        """
        asked = time.monotonic()
        gone: dict[str, float] = {}
        while self.jobs:
            self._raise_what_was_said()
            for job, spec in list(self.jobs.items()):
                outcome = self._recorded(spec)
                if outcome is None and time.monotonic() - gone.get(job, math.inf) > _GRACE:
                    outcome = self._lost(job, spec)
                if outcome is not None:
                    del self.jobs[job]
                    ended(spec, outcome)
            if time.monotonic() - asked > _ASK:
                asked = time.monotonic()
                queue = _queue()
                if queue is not None:
                    gone = {job: gone.get(job, asked) for job in self.jobs if job not in queue}
            time.sleep(_LOOK)

    def _recorded(self, spec: TrialSpec) -> Outcome | None:
        if _stamp(spec, self._work.results) == self._before[spec.id]:
            return None
        return recorded(spec, self._work.results)

    def _lost(self, job: str, spec: TrialSpec) -> Outcome:
        """A trial whose job is gone and has left no record."""
        self._keep_logs = True
        log = self._folder / f"{job}_0_log.out"
        try:
            last = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
        except OSError:
            last = "there is none, so its node may not see this folder"
        return lost(spec, self._work, f"JobLost: job {job} left no record. Its log {log}: {last}")

    def _raise_what_was_said(self) -> None:
        with suppress(FileNotFoundError):
            told = json.loads((self._folder / _SAID).read_text())
            raise (DataError if told["kind"] == DataError.__name__ else ResultsError)(told["said"])

    def cancel(self) -> None:
        """Cancels the jobs of all trials that have not ended; nobody shall adopt them."""
        if not self.jobs:
            return
        # Its own session, so that a second Ctrl-C does not reach it.
        subprocess.run(["scancel", *self.jobs], check=False, start_new_session=True)
        for path in self._folder.glob(_ARRAYS):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes the folder once its jobs are gone, unless a log in it was named."""
        if self._keep_logs:
            return
        jobs = {job for path in self._folder.glob(_ARRAYS) for job in json.loads(path.read_text())}
        until = time.monotonic() + _GRACE
        while time.monotonic() < until:
            queue = _queue()
            if queue is not None and queue.isdisjoint(jobs):
                shutil.rmtree(self._folder, ignore_errors=True)
                return
            time.sleep(_LOOK)


def _parameters(study: str, work: Work) -> dict[str, Any]:
    """What submitit writes into the job's script; SBATCH_* in the environment stands above it."""
    told: dict[str, Any] = {
        "job_name": f"bench-{study}",
        "time": _LIMIT,
        "cpus_per_task": 1,
        "array_parallelism": work.jobs,
        "stderr_to_stdout": True,
        "setup": [f"export {name}={value}" for name, value in one_thread().items()],
        "additional_parameters": {"requeue": True},
    }
    if work.device == "cuda" and not any(name in os.environ for name in _GPUS):
        told["gpus_per_node"] = 1
    return told


def _queue() -> set[str] | None:
    """Numbers of this user's jobs that wait or run; None when the controller does not answer."""
    asked = subprocess.run(
        ["squeue", "--me", "--noheader", "--array", "--format=%i"],
        check=False,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    return set(asked.stdout.split()) if asked.returncode == 0 else None


def _write(path: Path, told: Mapping[str, str]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(told))


def _stamp(spec: TrialSpec, results: Path) -> tuple[int, int] | None:
    """Changes when the record of a trial is written; no clock is compared with another."""
    try:
        found = (spec.folder(results) / "record.json").stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns)
