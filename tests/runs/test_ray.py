"""Trials on Ray: on a real cluster of several nodes, one of which dies, or does not see the files.

The cluster tests are slow: `pytest -m slow tests/runs/test_ray.py`, with the extra `ray`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bench.runs.executors.ray import unseen
from bench.runs.record import sha256_of
from tests.runs.engines import TRIALS, Study, finished, wait_for

with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="the extra `ray` is not installed")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores and two nodes of one core, as RAY_ADDRESS says."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    made.nodes = [made.add_node(num_cpus=1, **small) for _ in range(2)]
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study as this machine does it alone."""
    study = Study(tmp_path_factory.mktemp("alone"))
    finished(study.run("local"))
    return study


@with_ray
@pytest.mark.slow
def test_a_trial_whose_node_dies_is_done_elsewhere_and_nothing_differs(
    cluster: Any, alone: Study, tmp_path: Path
) -> None:
    study = Study(tmp_path)
    finished(study.run("local", "--limit", "1"))
    study.hold.touch()
    taking_over = study.run("ray")
    wait_for(lambda: len(study.held_at()) == 2)
    victim = next(node for node in cluster.nodes if node.node_id in study.held_at())
    cluster.remove_node(victim, allow_graceful=False)
    study.release()
    said = finished(taking_over)
    assert "3 trials finished, 1 done before, 0 failed" in said
    assert len(study.comparable()) == TRIALS
    assert study.comparable() == alone.comparable()
    assert study.table() == alone.table()


@with_ray
@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_tasks_and_the_next_run_does_the_rest(
    stop: signal.Signals, alone: Study, tmp_path: Path
) -> None:
    study = Study(tmp_path)
    study.hold.touch()
    process = study.run("ray")
    wait_for(study.held_at)
    process.send_signal(stop)
    said = finished(process, code=128 + stop)
    assert "Traceback" not in said
    study.release()
    assert study.comparable() == {}
    said = finished(study.run("ray"))
    assert "4 trials finished" in said
    assert study.comparable() == alone.comparable()


@with_ray
@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a node other storage")
def test_a_node_with_other_storage_is_named_before_anything_runs(
    cluster: Any, tmp_path: Path
) -> None:
    study = Study(tmp_path)
    study.results.mkdir()
    start = f"exec {sys.executable} -m ray.scripts.scripts start --block --num-cpus 1 "
    start += f"--address {cluster.address} --object-store-memory {80 * 2**20}"
    command = f"mount -t tmpfs none {study.results} && mkdir {study.folder} && {start}"
    blind = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        wait_for(lambda: len(_alive()) == 4)
        said = finished(study.run("ray"), code=1)
    finally:
        blind.terminate()
        blind.communicate(timeout=30)
    assert "cannot read" in said
    assert ".seen-by-" in said
    assert "storage that all nodes see" in said
    assert study.comparable() == {}


def _alive() -> list[dict[str, Any]]:
    """The nodes of the cluster, asked in another process."""
    code = (
        "import json, ray; ray.init(log_to_driver=False, logging_level='ERROR');"
        "print(json.dumps([n['NodeID'] for n in ray.nodes() if n['Alive']]))"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    nodes: list[dict[str, Any]] = json.loads(told.stdout.splitlines()[-1])
    return nodes


def test_what_a_node_does_not_see_is_named(tmp_path: Path) -> None:
    there = tmp_path / "manifest.json"
    there.write_text("one")
    needed = {str(there): sha256_of(there)}
    assert unseen(needed, tmp_path) == []
    there.write_text("two")
    gone = str(tmp_path / "gone.py")
    problems = unseen(needed | {gone: ""}, tmp_path / "no")
    assert problems == [
        f"has another {there}",
        f"cannot read {gone} (No such file or directory)",
        f"cannot write to {tmp_path / 'no'} (No such file or directory)",
    ]
    assert list(tmp_path.iterdir()) == [there]
