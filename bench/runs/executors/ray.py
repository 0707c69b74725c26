"""Trials on a Ray cluster (extra `ray`): the one that RAY_ADDRESS names, else one on this machine.

A trial is a task of one core and, on `cuda`, of a share of a GPU. Ray places it, and places it
again when its worker or its whole node dies. The data stores, the results and a method's own file
are read and written by the nodes themselves, so all nodes must see them under the same paths; they
are asked before the first trial.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, ResultsError, UsageError
from bench.runs.executors import Ended, Work, do_trial, lost, one_thread
from bench.runs.record import sha256_of
from bench.runs.trial import TrialSpec

if TYPE_CHECKING:
    from bench.runs.perform import Outcome

# Nothing but a specification and an outcome goes through Ray's object store; 75 MB is its least.
_OBJECTS = 80 * 2**20
_RETRIES = 3
# Seconds a node has to start a worker and look at the files, on a file system that may be slow.
_LOOK = 180.0


def execute(specs: Sequence[TrialSpec], work: Work, ended: Ended) -> None:
    """Runs the trials as tasks of a Ray cluster, `work.jobs` at a time.

    A trial whose worker or node dies is tried again elsewhere, three times; then it is recorded as
    failed. Ctrl-C cancels what runs.

    Raises:
        UsageError: the cluster cannot be reached, or has no GPU for `cuda`.
        ResultsError: a node does not see a file or folder that it needs, or a record cannot be
            written.
        DataError: a node cannot read the data.
    """
    work = replace(work, stores=tuple(store.absolute() for store in work.stores))
    with _cluster(work.jobs):
        if work.device.startswith("cuda"):
            # Ray shows every task its own GPU, as the only one.
            work = replace(work, device="cuda")
        share = _share_of_gpu(work)
        _refuse_blind_nodes(specs, work, share)
        _run(specs, work, share, ended)


def _run(specs: Sequence[TrialSpec], work: Work, share: float, ended: Ended) -> None:
    """Keeps `work.jobs` tasks under way until all trials have ended."""
    import ray

    # SPREAD, since trials beside each other share a node's memory bandwidth.
    task = ray.remote(
        num_cpus=1, num_gpus=share, max_retries=_RETRIES, scheduling_strategy="SPREAD"
    )(_do_from)
    waiting = deque(specs)
    # Futures are waited for in Python: inside ray.wait a signal's own exception would be lost.
    running: dict[Future[Outcome], tuple[Any, TrialSpec]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < work.jobs:
                spec = waiting.popleft()
                name = f"{spec.row_folder} run {spec.run} fold {spec.fold}"
                reference = task.options(name=name).remote(spec, work, Path.cwd())
                running[reference.future()] = (reference, spec)
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                _, spec = running.pop(future)
                ended(spec, _outcome(future, spec, work))
    except BaseException:
        for reference, _ in running.values():
            ray.cancel(reference, force=True)
        raise


def _do_from(spec: TrialSpec, work: Work, folder: Path) -> Outcome:
    """A trial in a worker; relative paths (of weights) are those of the launching process."""
    with suppress(OSError):
        os.chdir(folder)
    return do_trial(spec, work)


def _outcome(future: Future[Outcome], spec: TrialSpec, work: Work) -> Outcome:
    """What a task came to; a trial that Ray gave up becomes a failed one."""
    import ray

    try:
        return future.result()
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, BenchError):
            raise cause from None
        raise ResultsError(
            f"A worker of Ray could not run {spec.row_folder}: {_short(error)}"
        ) from error
    except ray.exceptions.RayError as error:
        why = f"{type(error).__name__}: its worker died {_RETRIES + 1} times; {_short(error)}"
        return lost(spec, work, why)


def _short(error: Exception) -> str:
    """What it was, out of what Ray tells: last in a trace from a worker, first in its own words."""
    import ray

    lines = str(error).strip().splitlines() or [""]
    return lines[-1] if isinstance(error, ray.exceptions.RayTaskError) else lines[0]


@contextmanager
def _cluster(jobs: int) -> Iterator[None]:
    """Connected to the cluster of RAY_ADDRESS, or to a small one that ends with the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray counts what it ends for want of memory apart, and tries that again without end.
    os.environ.setdefault("RAY_task_oom_retries", str(_RETRIES))
    # What Ray announces to do in future; said here, it does not warn of it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        address = "local"
        options |= {
            "num_cpus": jobs,
            "include_dashboard": False,
            "object_store_memory": _OBJECTS,
        }
    # Ray puts a handler of its own there, which would end `bench run` without its leave.
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, runtime_env={"env_vars": one_thread()}, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"Cannot join the Ray cluster at {address}: {error}. RAY_ADDRESS names it (host:6379, "
            "or auto on one of its nodes); without RAY_ADDRESS one is started here."
        ) from error
    finally:
        _restore(terminated)
    try:
        yield
    finally:
        ray.shutdown()
        _restore(terminated)


def _restore(handler: Any) -> None:
    with suppress(ValueError):  # not in the main thread, where Ray sets none either
        signal.signal(signal.SIGTERM, handler)


def _share_of_gpu(work: Work) -> float:
    """The share of a GPU that a trial asks for: `work.jobs` trials fit on all GPUs together.

    Raises:
        UsageError: there is no GPU.
    """
    import ray

    if work.device != "cuda":
        return 0.0
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if not gpus:
        raise UsageError("--device cuda: the Ray cluster has no GPU. Use --device cpu.")
    return 1 / math.ceil(max(work.jobs, gpus) / gpus)


def _refuse_blind_nodes(specs: Sequence[TrialSpec], work: Work, share: float) -> None:
    """Asks every node that could get a trial whether it sees what a trial needs.

    Raises:
        UsageError: there is no such node.
        ResultsError: one does not see it, or cannot be asked.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    resource = "GPU" if share else "CPU"
    nodes = [
        node for node in ray.nodes() if node["Alive"] and node["Resources"].get(resource, 0) > 0
    ]
    if not nodes:
        raise UsageError(f"The Ray cluster has no node with a {resource}.")
    look = ray.remote(num_cpus=0, max_retries=0)(unseen)
    with _needed(specs, work) as needed:
        # By its id: several nodes may call themselves by one name.
        asked = {
            node["NodeID"]: look.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(needed, work.results / specs[0].study)
            for node in nodes
        }
        for node in nodes:
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            try:
                problems = ray.get(asked[node["NodeID"]], timeout=_LOOK)
            except ray.exceptions.RayError as error:
                raise ResultsError(
                    f"The Ray node {name} cannot run the harness: {_short(error)}. Every node "
                    "needs the same Python environment with cxr-bench in it."
                ) from error
            if problems:
                raise ResultsError(
                    f"The Ray node {name} {'; '.join(problems)}. The prepared data, the results "
                    "and a method's own file must lie on storage that all nodes see under the "
                    "same path: CXR_BENCH_CACHE and --results choose where."
                )


def unseen(needed: Mapping[str, str], folder: Path) -> list[str]:
    """What this machine does not see as the launching one does: a clause for each.

    Args:
        needed: SHA-256 of files by their path.
        folder: must be writable.
    """
    problems = []
    for name, expected in needed.items():
        try:
            found = sha256_of(Path(name))
        except OSError as error:
            problems.append(f"cannot read {name} ({error.strerror or error})")
        else:
            if found != expected:
                problems.append(f"has another {name}")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        problems.append(f"cannot write to {folder} ({error.strerror or error})")
    return problems


@contextmanager
def _needed(specs: Sequence[TrialSpec], work: Work) -> Iterator[dict[str, str]]:
    """Checksums of small files that all nodes must see; one of them is new in the results.

    A folder of the same name on a node's own disk would pass for the shared one; this file is not
    in it.
    """
    files = [store / "manifest.json" for store in work.stores]
    files += [
        Path(reference)
        for reference in sorted({spec.method_reference for spec in specs})
        if reference.endswith(".py")
    ]
    folder = work.results / specs[0].study
    with tempfile.NamedTemporaryFile(prefix=".seen-by-", dir=folder) as probe:
        probe.write(f"{socket.gethostname()} {os.getpid()}".encode())
        probe.flush()
        yield {str(path): sha256_of(path) for path in (*files, Path(probe.name))}
