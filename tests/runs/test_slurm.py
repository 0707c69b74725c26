"""Trials as Slurm jobs: a real Slurm (tests/runs/slurm_cluster.py), jobs requeued and killed.

The cluster tests are slow: `pytest -m slow tests/runs/test_slurm.py`, with the extra `slurm` and
Debian's slurm-wlm and munge.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bench.errors import DataError, ResultsError, UsageError
from bench.runs.executors import Work, slurm
from bench.runs.executors.slurm import FOLDER, execute
from bench.runs.record import write_record
from tests.runs.engines import TRIALS, Study, finished, wait_for
from tests.runs.slurm_cluster import NODES, Cluster, missing, slurm_cluster, told
from tests.runs.test_trial import SPEC

on_slurm = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("submitit") is None, reason="the extra `slurm` is not installed"),
    pytest.mark.skipif(bool(missing()), reason=f"no Slurm here ({', '.join(missing())})"),
]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with slurm_cluster() as made:
        yield made


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study as this machine does it alone."""
    study = Study(tmp_path_factory.mktemp("alone"))
    finished(study.run("local"))
    return study


def jobs() -> dict[str, str]:
    """State of the jobs that wait or run."""
    return dict(line.split() for line in told("squeue", "-h", "-r", "-o", "%i %T").splitlines())


def running() -> list[str]:
    return [job for job, state in jobs().items() if state == "RUNNING"]


@pytest.mark.usefixtures("cluster")
class TestOnSlurm:
    pytestmark = on_slurm

    def test_a_requeued_job_does_its_trial_again_and_nothing_differs(
        self, alone: Study, tmp_path: Path
    ) -> None:
        study = Study(tmp_path)
        finished(study.run("local", "--limit", "1"))
        study.hold.touch()
        taking_over = study.run("slurm")
        wait_for(lambda: study.held_at() == set(NODES))
        job = running()[0]
        assert told("scontrol", "requeue", job) == ""
        wait_for(lambda: job not in running())
        study.release()
        said = finished(taking_over)
        assert "3 trials finished, 1 done before, 0 failed" in said
        assert len(study.comparable()) == TRIALS
        assert study.comparable() == alone.comparable()
        assert study.table() == alone.table()
        assert not (study.folder / FOLDER).exists()

    def test_the_trial_of_a_node_that_dies_is_done_on_another(
        self, cluster: Cluster, alone: Study, tmp_path: Path
    ) -> None:
        study = Study(tmp_path)
        study.hold.touch()
        process = study.run("slurm")
        wait_for(lambda: study.held_at() == set(NODES))
        job = told("squeue", "-h", "-w", NODES[0], "-o", "%A")
        cluster.kill_node(NODES[0], job)
        wait_for(lambda: job not in told("squeue", "-h", "-t", "running", "-o", "%A").split())
        study.release()
        said = finished(process)
        assert "4 trials finished, 0 done before, 0 failed" in said
        assert study.comparable() == alone.comparable()

    def test_a_job_that_is_killed_leaves_a_failed_trial_that_names_its_log(
        self, alone: Study, tmp_path: Path
    ) -> None:
        study = Study(tmp_path)
        study.hold.touch()
        process = study.run("slurm")
        wait_for(lambda: study.held_at() == set(NODES))
        job = running()[0]
        told("scancel", job)
        wait_for(lambda: job not in jobs())
        study.release()
        said = finished(process, code=1)
        assert "3 trials finished, 0 done before, 1 failed" in said
        log = re.search(r"JobLost: job (\S+) left no record. Its log (\S+):", said)
        assert log is not None
        assert log[1] == job
        assert Path(log[2]).is_file()
        finished(study.run("slurm", "--only", "failed"))
        assert study.comparable() == alone.comparable()
        assert not (study.folder / FOLDER).exists()

    def test_jobs_of_a_launcher_that_is_gone_are_waited_for_and_not_submitted_again(
        self, alone: Study, tmp_path: Path
    ) -> None:
        study = Study(tmp_path)
        study.hold.touch()
        process = study.run("slurm")
        wait_for(lambda: study.held_at() == set(NODES))
        process.kill()
        process.communicate()
        before = jobs()
        assert len(before) == TRIALS
        second = study.run("slurm")
        wait_for(lambda: str(second.pid) in (study.folder / ".holder.json").read_text())
        study.release()
        while second.poll() is None:
            assert jobs().keys() <= before.keys()
            time.sleep(0.5)
        finished(second)
        assert study.comparable() == alone.comparable()
        assert not (study.folder / FOLDER).exists()

    def test_ctrl_c_cancels_the_jobs(self, tmp_path: Path) -> None:
        study = Study(tmp_path)
        study.hold.touch()
        process = study.run("slurm")
        wait_for(lambda: study.held_at() == set(NODES))
        process.send_signal(signal.SIGINT)
        said = finished(process, code=130)
        assert "Traceback" not in said
        wait_for(lambda: not jobs())
        study.release()
        assert study.comparable() == {}

    def test_a_job_at_its_time_limit_goes_back_to_the_queue(
        self, alone: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SBATCH_TIMELIMIT", "1")
        monkeypatch.setenv("SBATCH_SIGNAL", "USR2@25")
        study = Study(tmp_path)
        study.hold.touch()
        process = study.run("slurm", "--limit", "1")
        wait_for(study.held_at)
        (job,) = running()
        wait_for(lambda: job not in running())
        assert "Restarts=1" in told("scontrol", "show", "job", job)
        study.release()
        said = finished(process)
        assert "1 trials finished" in said
        (done,) = study.comparable().items()
        assert done in alone.comparable().items()

    def test_what_slurm_refuses_is_told_with_its_reason(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
        said = finished(Study(tmp_path).run("slurm"), code=2)
        assert "invalid partition specified: nowhere" in said
        assert "SBATCH_PARTITION" in said


def _work(results: Path, device: str = "cpu") -> Work:
    return Work((results / "no-store",), device, results, 3)


def test_where_there_is_no_slurm_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="there is no sbatch"):
        execute([SPEC], _work(tmp_path), lambda *_: None)


@pytest.mark.parametrize(("environment", "gpus"), [({}, 1), ({"SBATCH_GRES": "gpu:a100:1"}, None)])
def test_a_job_asks_for_a_gpu_unless_the_user_does(
    environment: dict[str, str], gpus: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in slurm._GPUS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    asked = slurm._parameters("s", _work(Path("results"), "cuda"))
    assert asked.get("gpus_per_node") == gpus
    assert asked["array_parallelism"] == 3
    assert "gpus_per_node" not in slurm._parameters("s", _work(Path("results")))


def test_what_stops_a_job_before_its_trial_stops_the_study(tmp_path: Path) -> None:
    folder = tmp_path / SPEC.study / FOLDER
    folder.mkdir(parents=True)
    array = slurm._Array(_work(tmp_path), folder, [SPEC])
    with pytest.raises(DataError, match="no-store"):
        slurm._Job(SPEC, _work(tmp_path), folder)()
    array.jobs["7"] = SPEC
    with pytest.raises(DataError, match=r"On .*: .*no-store"):
        array.follow(lambda *_: None)


def test_only_a_new_record_ends_a_trial(tmp_path: Path) -> None:
    record = {"status": "failed", "id": SPEC.id, "spec": SPEC.as_dict(), "error": "earlier"}
    write_record(SPEC.folder(tmp_path), record, scores=None, log=[])
    array = slurm._Array(_work(tmp_path), tmp_path / FOLDER, [SPEC])
    assert array._recorded(SPEC) is None
    write_record(SPEC.folder(tmp_path), record | {"error": "now"}, scores=None, log=[])
    outcome = array._recorded(SPEC)
    assert outcome is not None
    assert outcome.error == "now"


def _submitting(monkeypatch: pytest.MonkeyPatch, at_the_end: Callable[[], object]) -> None:
    """A stand-in for submitit that gives every array the number 7."""

    class Executor:
        def __init__(self, **_: object) -> None:
            self.jobs: list[SimpleNamespace] = []

        def update_parameters(self, **_: object) -> None:
            pass

        @contextmanager
        def batch(self) -> Iterator[None]:
            yield
            for place, job in enumerate(self.jobs):
                job.job_id = f"7_{place}"
            at_the_end()

        def submit(self, job: object) -> SimpleNamespace:
            self.jobs.append(SimpleNamespace(job_id=None))
            return self.jobs[-1]

    submitit: Any = ModuleType("submitit")
    submitit.SlurmExecutor = Executor
    utils: Any = ModuleType("submitit.core.utils")
    utils.FailedJobError = type("FailedJobError", (Exception,), {})
    for name, module in (("submitit", submitit), ("submitit.core.utils", utils)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "submitit.core", ModuleType("submitit.core"))


def test_jobs_that_cannot_be_written_down_are_cancelled_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _submitting(monkeypatch, lambda: None)

    def full(path: Path, told: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(slurm, "_write", full)
    array = slurm._Array(_work(tmp_path), tmp_path / FOLDER, [SPEC])
    with pytest.raises(ResultsError, match="No space left"):
        array.submit([SPEC])
    assert array.jobs == {"7_0": SPEC}


def test_ctrl_c_while_jobs_are_submitted_waits_until_they_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _submitting(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT))
    array = slurm._Array(_work(tmp_path), tmp_path / FOLDER, [SPEC])
    with pytest.raises(KeyboardInterrupt):
        array.submit([SPEC])
    assert array.jobs == {"7_0": SPEC}
    assert json.loads((tmp_path / FOLDER / "array-7_0.json").read_text()) == {"7_0": SPEC.id}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("how", ["open to others", "another user's", "a link"])
def test_a_folder_that_others_may_have_filled_is_not_run_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    _submitting(monkeypatch, lambda: pytest.fail("submitted"))
    monkeypatch.setattr(slurm, "_queue", set)
    folder = tmp_path / FOLDER
    array = slurm._Array(_work(tmp_path), folder, [SPEC])
    array.adopt()  # none is there yet
    if how == "a link":
        (tmp_path / "other").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "other")
    else:
        folder.mkdir(mode=0o755 if how == "open to others" else 0o700)
    if how == "another user's":
        monkeypatch.setattr("os.getuid", lambda: -5)
    for begin in (array.adopt, lambda: array.submit([SPEC])):
        with pytest.raises(ResultsError, match="not a folder of yours alone"):
            begin()
