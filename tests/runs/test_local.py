"""Worker processes of this machine; what they compute is in test_invariance.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.runs.executors import Work, find_executor
from bench.runs.executors.local import _gpus, execute
from bench.runs.perform import Outcome
from bench.runs.record import read_record, write_record
from bench.runs.trial import TrialSpec
from tests.runs.test_trial import SPEC


class Deadly(str):
    """A title that kills every other process which reads it; as code, so that nothing is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        system = "__import__('os')"
        me = f"{system}.getpid()"
        return eval, (f"'t' if {me} == {os.getpid()} else {system}.kill({me}, {signal.SIGKILL})",)


def _ended(specs: list[TrialSpec], results: Path, jobs: int) -> dict[int, Outcome]:
    told: dict[int, Outcome] = {}
    work = Work(stores=(), device="cpu", results=results, jobs=jobs)
    execute(specs, work, lambda spec, outcome: told.update({spec.fold: outcome}))
    return told


def test_a_trial_whose_worker_is_killed_twice_is_recorded_as_failed_and_others_go_on(
    tmp_path: Path,
) -> None:
    specs = [replace(SPEC, fold=fold, title=Deadly("t")) for fold in range(2)]
    told = _ended(specs, tmp_path, jobs=2)
    assert sorted(told) == [0, 1]
    for spec in specs:
        record = read_record(spec.folder(tmp_path))
        assert record is not None
        assert record["status"] == "failed"
        assert record["error"] == told[spec.fold].error
        assert "SIGKILL, and was ended by SIGKILL when it was tried again alone" in record["error"]
        assert "out of memory" in record["error"]


def test_what_a_worker_finished_before_it_died_stays_finished(tmp_path: Path) -> None:
    spec = replace(SPEC, title=Deadly("t"))
    done = {"status": "done", "id": spec.id, "spec": spec.as_dict()}
    write_record(spec.folder(tmp_path), done, scores={}, log=[])
    (outcome,) = _ended([spec], tmp_path, jobs=1).values()
    assert outcome.status == "done"
    record = read_record(spec.folder(tmp_path))
    assert record is not None
    assert record["status"] == "done"


def test_an_engine_that_is_not_there_is_said() -> None:
    with pytest.raises(UsageError, match="Did you mean 'slurm'"):
        find_executor("slrum")


def test_an_engine_whose_extra_is_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'cxr-bench\[ray\]'"):
        find_executor("ray")


def test_workers_take_turns_over_the_gpus_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def first_three(device: str) -> list[str | None]:
        gpus = _gpus(device)
        return [next(gpus) for _ in range(3)]

    assert first_three("cuda") == ["0", "1", "0"]
    assert first_three("cuda:1") == first_three("cpu") == [None] * 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-6")
    assert first_three("cuda") == ["4", "GPU-6", "4"]


@pytest.mark.parametrize(
    ("signals", "code"), [((signal.SIGTERM,), 143), ((signal.SIGINT, signal.SIGINT), 130)]
)
def test_a_run_that_is_asked_to_stop_ends_with_its_workers_and_without_a_traceback(
    tmp_path: Path, signals: tuple[signal.Signals, ...], code: int
) -> None:
    command = ["-m", "bench", "run", "--method", str(Path(__file__).with_name("letters.py"))]
    words = [*command, "--data", "phantom:n=60,size=32", "--folds", "2", "--set", "epochs=99999"]
    process = subprocess.Popen(
        [sys.executable, *words, "--jobs", "2"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _wait_for(lambda: list(tmp_path.rglob(".holder.json")) and len(_children(process.pid)) >= 2)
    for number in signals:
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        time.sleep(0.1)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Stopped. Finished trials are kept" in said
    assert "Traceback" not in said
    _wait_for(lambda: not _of_session(process.pid))
    assert not list(tmp_path.rglob(".holder.json"))


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    """Workers, without the resource tracker."""
    return [
        child
        for child in _of_session(pid)
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def _of_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getsid(int(entry.name)) == session:
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if pid != session]
