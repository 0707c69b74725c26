"""A training that is interrupted goes on after its last epoch and comes to the same, to the bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.data import Dataset, load_dataset
from bench.errors import TrialError
from bench.protocol.method import find_method
from bench.protocol.prompts import prompts_digest
from bench.protocol.trainer import _Losses
from bench.runs import resume
from bench.runs.perform import Outcome, perform
from bench.runs.record import read_record, read_records
from bench.runs.resume import ResumeFile, read_head, resume_path
from bench.runs.trial import TrialSpec, trials_folder

_DATA = "phantom:n=120,size=32"


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset(_DATA)


@pytest.fixture(autouse=True)
def _one_thread_and_no_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """States are kept after every epoch."""
    monkeypatch.setattr(resume, "LEAST", 0.0)
    monkeypatch.setattr(resume, "_RATIO", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _spec(data: Dataset, method: str = "chexzero", **settings: str) -> TrialSpec:
    found = find_method(method)
    settings = {"text": "meta", "epochs": "3", **settings}
    return TrialSpec(
        study="s",
        row="default",
        title=method,
        method=method,
        method_reference=method,
        method_code=found.code,
        track="trained",
        data=_DATA,
        fingerprint=data.fingerprint,
        config=found.cls.Config.tiny().with_settings(settings).as_dict(),
        classes=data.classes,
        prompts=prompts_digest(data.classes),
        seed=0,
        folds=2,
        run=0,
        fold=0,
    )


def _interrupt_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """The next trials end like a killed process does, once the state of so many epochs is kept."""
    offer = ResumeFile.offer

    def offer_and_stop(self: ResumeFile, state: Any) -> None:
        offer(self, state)
        if state()["outcome"]["epochs"] == epochs:
            raise SystemExit

    monkeypatch.setattr(ResumeFile, "offer", offer_and_stop)


def _interrupted(spec: TrialSpec, data: Dataset, results: Path, after: int = 2) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _interrupt_after(patch, after)
        with pytest.raises(SystemExit):
            perform(spec, data, "cpu", results)
    assert read_record(spec.folder(results)) is None


def _result(spec: TrialSpec, results: Path) -> tuple[bytes, str, bytes]:
    """Scores, what the record says, and the log: what must not differ."""
    folder = spec.folder(results)
    record = read_record(folder)
    assert record is not None
    assert record["status"] == "done"
    return (
        (folder / "scores.npz").read_bytes(),
        record["digest"],
        (folder / "log.jsonl").read_bytes(),
    )


def _uninterrupted(spec: TrialSpec, data: Dataset, results: Path) -> tuple[bytes, str, bytes]:
    assert perform(spec, data, "cpu", results).error is None
    return _result(spec, results)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("cxrcml", {"select": "best", "schedule": "plateau", "plateau_patience": "0"}),
        ("cxrcml", {"images_per_cluster": "4", "soft": "true", "warm_up": "1"}),
        ("cxrcml", {"refit_every": "none"}),
        ("chexzero", {"optimiser": "sgd", "lr": "0.01", "early_stop": "0"}),
        ("medclip", {}),
        ("medklip", {"select": "best"}),
        ("slip", {"schedule": "own"}),
    ],
)
@pytest.mark.parametrize("after", [1, 3])
def test_a_training_goes_on_and_comes_to_the_same(
    tmp_path: Path, data: Dataset, method: str, settings: dict[str, str], after: int
) -> None:
    spec = _spec(data, method, **settings)
    expected = _uninterrupted(spec, data, tmp_path / "whole")
    after = min(after, len(expected[2].splitlines()))
    _interrupted(spec, data, tmp_path / "parts", after)
    epochs = _epochs_of(spec, data, tmp_path / "parts")
    assert _result(spec, tmp_path / "parts") == expected
    assert len(epochs) == len(expected[2].splitlines()) - after


def _epochs_of(spec: TrialSpec, data: Dataset, results: Path) -> list[int]:
    """Runs a trial and returns the epochs that it trained."""
    trained: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        cls = find_method(spec.method).cls
        start = cls.start_epoch

        def watched(self: Any, epoch: int, train: Any) -> None:
            trained.append(epoch)
            start(self, epoch, train)

        patch.setattr(cls, "start_epoch", watched)
        outcome = perform(spec, data, "cpu", results)
    assert outcome.error is None
    return trained


def test_a_training_that_is_interrupted_again_and_again_comes_to_the_same(
    tmp_path: Path, data: Dataset
) -> None:
    spec = _spec(data, "cxrcml")
    for epochs in (1, 2, 3):
        _interrupted(spec, data, tmp_path / "parts", epochs)
    assert _epochs_of(spec, data, tmp_path / "parts") == []
    assert _result(spec, tmp_path / "parts") == _uninterrupted(spec, data, tmp_path / "whole")
    record = read_record(spec.folder(tmp_path / "parts"))
    assert record is not None
    assert record["cost"]["attempts"] == 4


_KILLED = """
import sys
from pathlib import Path
import torch
from bench.data import load_dataset
from bench.runs import resume
from bench.runs.perform import perform
from tests.runs.test_resume import _DATA, _spec
torch.set_num_threads(1)
resume.LEAST, resume._RATIO = 0.0, 0
data = load_dataset(_DATA)
perform(_spec(data, epochs="15"), data, "cpu", Path(sys.argv[1]))
"""


def test_a_killed_process_loses_no_epoch_it_has_kept(tmp_path: Path, data: Dataset) -> None:
    spec = _spec(data, epochs="15")
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path / "parts")], cwd=root)
    folder = spec.folder(tmp_path / "parts")
    while (head := read_head(folder)) is None or head["epochs"] < 3:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    trained = _epochs_of(spec, data, tmp_path / "parts")
    assert 3 <= trained[0] <= 14
    assert trained == list(range(trained[0], 15))
    assert _result(spec, tmp_path / "parts") == _uninterrupted(spec, data, tmp_path / "whole")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def _spoilt(file: Path, how: str) -> None:
    content = file.read_bytes()
    line, payload = content.split(b"\n", 1)
    if how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        file.write_bytes(
            line + b"\n" + payload[:5000] + bytes([payload[5000] ^ 1]) + payload[5001:]
        )
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "not ours":
        file.write_bytes(b"\x80\x04K\x01." + payload)
    else:
        key, value = how.split("=")
        file.write_bytes(json.dumps({**json.loads(line), key: value}).encode() + b"\n" + payload)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("truncated", "does not match its checksum"),
        ("flipped", "does not match its checksum"),
        ("epochs=9", "does not match its checksum"),
        ("empty", "damaged"),
        ("not ours", "damaged"),
        ("trial=0123456789abcdef", "of another trial"),
        ("torch=1.0", "of torch 1.0"),
        ("device=cuda", "of device cuda"),
        ("schema=0", "of schema 0"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_and_the_trial_starts_over(
    tmp_path: Path, data: Dataset, how: str, told: str
) -> None:
    spec = _spec(data)
    _interrupted(spec, data, tmp_path / "parts")
    _spoilt(resume_path(spec.folder(tmp_path / "parts")), how)
    outcome = perform(spec, data, "cpu", tmp_path / "parts")
    assert outcome.note is not None
    assert told in outcome.note
    assert _result(spec, tmp_path / "parts") == _uninterrupted(spec, data, tmp_path / "whole")
    record = read_record(spec.folder(tmp_path / "parts"))
    assert record is not None
    assert (record["cost"]["attempts"], record["cost"]["started_over"]) == (1, outcome.note)
    assert not resume_path(spec.folder(tmp_path / "parts")).exists()


def test_nothing_in_a_file_is_run(tmp_path: Path, data: Dataset) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path("run.txt").touch, ())

    spec = _spec(data)
    _interrupted(spec, data, tmp_path)
    file = ResumeFile(spec, tmp_path, "cpu", lambda: {"seconds": 0.0, "phases": {}})
    file._write({"outcome": {"epochs": 1}, "model": Evil()})
    outcome = perform(spec, data, "cpu", tmp_path)
    assert outcome.status == "done"
    assert outcome.note is not None
    assert "cannot be read" in outcome.note
    assert not Path("run.txt").exists()


def test_a_state_of_other_code_fails_the_trial_once_and_says_what_to_do(
    tmp_path: Path, data: Dataset
) -> None:
    spec = _spec(data)
    _interrupted(spec, data, tmp_path)
    file = ResumeFile(spec, tmp_path, "cpu", lambda: {"seconds": 0.0, "phases": {}})
    state = file.load()
    assert state is not None
    state["model"].popitem()
    file._write(state)
    outcome = perform(spec, data, "cpu", tmp_path)
    assert outcome.status == "failed"
    assert "Run again" in (outcome.error or "")
    assert perform(spec, data, "cpu", tmp_path).status == "done"


def test_what_is_kept_is_seen_by_nothing_that_reads_results(tmp_path: Path, data: Dataset) -> None:
    spec = _spec(data)
    _interrupted(spec, data, tmp_path)
    assert list(read_records(trials_folder(tmp_path, "s"))) == []
    head = read_head(spec.folder(tmp_path))
    assert head is not None
    assert (head["trial"], head["epochs"], head["of"]) == (spec.id, 2, 3)
    perform(spec, data, "cpu", tmp_path)
    assert read_head(spec.folder(tmp_path)) is None


def test_the_cost_is_that_of_all_attempts(tmp_path: Path, data: Dataset) -> None:
    spec = _spec(data)
    _interrupted(spec, data, tmp_path)
    head = read_head(spec.folder(tmp_path))
    assert head is not None
    assert 0 < head["phases"]["train"] < head["seconds"]
    perform(spec, data, "cpu", tmp_path)
    record = read_record(spec.folder(tmp_path))
    assert record is not None
    cost = record["cost"]
    assert cost["attempts"] == 2
    assert cost["seconds"] > head["seconds"]
    assert cost["phases"]["train"] > head["phases"]["train"]
    assert sum(cost["phases"].values()) <= cost["seconds"] + 0.01


def test_a_full_disk_does_not_stop_a_training(
    tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = _spec(data)

    def full(self: Any, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resume._Hashing, "write", full)
    outcome = perform(spec, data, "cpu", tmp_path)
    assert (outcome.status, outcome.note) == ("done", None)
    assert [path.name for path in spec.folder(tmp_path).parent.iterdir()] == ["run-00_fold-0"]


def test_a_short_trial_writes_nothing_but_its_record(
    tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "LEAST", 60.0)
    written: list[object] = []
    monkeypatch.setattr(ResumeFile, "_write", lambda self, state: written.append(state))
    assert perform(_spec(data, epochs="2"), data, "cpu", tmp_path).status == "done"
    assert written == []


def test_a_trial_whose_loss_fails_keeps_no_state(tmp_path: Path, data: Dataset) -> None:
    spec = _spec(data, lr="1e30", schedule="constant")
    outcome: Outcome = perform(spec, data, "cpu", tmp_path)
    assert outcome.status == "failed"
    assert "is nan" in (outcome.error or "")
    assert not resume_path(spec.folder(tmp_path)).exists()


def test_losses_that_are_read_late_name_the_same_step_and_have_the_same_mean() -> None:
    values = torch.rand(7)
    means = []
    for every in (1, 3, 100):
        losses = _Losses(epoch=2, before=10, every=every)
        for value in values:
            losses.add(value)
        means.append(losses.mean())
    assert means == [sum(values.tolist()) / 7] * 3
    late = _Losses(epoch=2, before=10, every=100)
    for value in (1.0, float("nan"), 3.0):
        late.add(torch.tensor(value))
    with pytest.raises(TrialError, match="in epoch 2 at step 11"):
        late.mean()


_COUNTING = """
import types
import numpy as np
import torch
from methods.chexzero import CheXzero
class Counting(CheXzero):
    {declared}
    def build(self, classes, texts, device):
        self.seen = {made}
        return super().build(classes, texts, device)
"""
_OWN_STATE = "def state_dict(self): return {'values': {}, 'arrays': {}}"


@pytest.mark.parametrize(
    ("made", "declared", "kept"),
    [
        ("np.float64(0)", "pass", False),
        ("[np.zeros(2)]", "pass", False),
        ("types.SimpleNamespace(steps=0)", "pass", False),
        ("torch.nn.Linear(2, 2)", "pass", False),
        ("types.SimpleNamespace(steps=0)", "made_by_build = ('seen',)", True),
        ("types.SimpleNamespace(steps=0)", _OWN_STATE, True),
        ("[0.0, {'a': torch.zeros(2)}]", "pass", True),
    ],
)
def test_of_what_no_file_can_hold_no_state_is_kept_and_the_record_says_why(
    tmp_path: Path, data: Dataset, made: str, declared: str, kept: bool
) -> None:
    file = tmp_path / "counting.py"
    file.write_text(_COUNTING.format(made=made, declared=declared))
    spec = replace(_spec(data, epochs="1"), method_reference=str(file))
    written: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumeFile, "_write", lambda self, state: written.append(state))
        assert perform(spec, data, "cpu", tmp_path).error is None
    assert bool(written) is kept
    record = read_record(spec.folder(tmp_path))
    assert record is not None
    assert ("seen" in record["cost"].get("not_kept", "")) is not kept


@pytest.mark.parametrize("name", ["cxrcml", "chexzero", "medclip", "medklip", "slip", "supervised"])
def test_the_state_of_our_methods_is_kept(tmp_path: Path, data: Dataset, name: str) -> None:
    spec = _spec(data, name, epochs="1")
    _interrupted(spec, data, tmp_path, after=1)
    assert resume_path(spec.folder(tmp_path)).exists()
