"""What of a trial is logged while it runs: the file that grows, and the loggers of others."""

from __future__ import annotations

import importlib.util
import json
import struct
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench.data import Dataset, load_dataset
from bench.errors import UsageError
from bench.runs import resume
from bench.runs.executors import Ended, Work
from bench.runs.launch import launch
from bench.runs.layout import specs_of
from bench.runs.loggers import NAMES, require
from bench.runs.perform import Outcome, perform
from bench.runs.record import read_record
from bench.runs.resume import ResumeFile
from bench.runs.rows import Request, resolve_rows
from bench.runs.trial import TrialSpec
from tests.conftest import CsvFolder

DATA = "phantom:n=60,size=32"
REQUEST = Request(
    methods=("chexzero",), settings={"text": "meta", "epochs": "3"}, data=DATA, runs=1, folds=2
)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset(DATA)


@pytest.fixture
def spec(data: Dataset) -> TrialSpec:
    return next(specs_of(REQUEST, resolve_rows(REQUEST, print), DATA, data, "s"))


class Spy:
    """A logger that keeps what it is given, and what `log.jsonl` holds at that moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: str = "") -> None:
        self.calls: list[str] = []
        self.lines: list[int] = []
        self._fails_at = fails_at
        module = ModuleType("bench.runs.loggers.spy")
        module.Log = lambda: self  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def start(self, trial: TrialSpec, folder: Path) -> None:
        self._file = trial.folder(folder.parents[2]) / "log.jsonl"
        self._called("start")

    def epoch(self, entry: Mapping[str, Any]) -> None:
        self.lines.append(len(self._file.read_text().splitlines()))
        self._called(f"epoch {entry['epoch']}")

    def end(self, record: Mapping[str, Any]) -> None:
        self._called(f"end {record['status']}")

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if call == self._fails_at:
            raise RuntimeError("no space left there")


def test_the_file_has_a_line_as_soon_as_its_epoch_ends(
    spec: TrialSpec, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    assert perform(spec, data, "cpu", tmp_path, loggers=("spy",)).error is None
    assert spy.calls == ["start", "epoch 0", "epoch 1", "epoch 2", "end done"]
    assert spy.lines == [1, 2, 3]


def test_a_training_that_is_gone_on_with_has_all_its_epochs_in_the_log(
    spec: TrialSpec, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "LEAST", 0.0)
    offer = ResumeFile.offer

    def offer_and_stop(self: ResumeFile, state: Any) -> None:
        offer(self, state)
        if state()["outcome"]["epochs"] == 2:
            raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(ResumeFile, "offer", offer_and_stop)
        patch.setattr(resume, "_RATIO", 0)
        with pytest.raises(SystemExit):
            perform(spec, data, "cpu", tmp_path)
    file = spec.folder(tmp_path) / "log.jsonl"
    assert [json.loads(line)["epoch"] for line in file.read_text().splitlines()] == [0, 1]
    spy = Spy(monkeypatch)
    assert perform(spec, data, "cpu", tmp_path, loggers=("spy",)).error is None
    assert spy.calls == ["start", "epoch 0", "epoch 1", "epoch 2", "end done"]
    assert [json.loads(line)["epoch"] for line in file.read_text().splitlines()] == [0, 1, 2]


@pytest.mark.parametrize("call", ["start", "epoch 1", "end done"])
def test_a_logger_that_fails_fails_no_trial_and_is_not_called_again(
    call: str, spec: TrialSpec, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch, fails_at=call)
    outcome = perform(spec, data, "cpu", tmp_path, loggers=("spy",))
    assert outcome.status == "done"
    assert outcome.unlogged == "--log spy: RuntimeError: no space left there"
    assert spy.calls[-1] == call


def test_a_logger_changes_nothing_of_a_trial(
    spec: TrialSpec, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spy(monkeypatch)
    perform(spec, data, "cpu", tmp_path / "plain")
    perform(spec, data, "cpu", tmp_path / "logged", loggers=("spy",))
    records = [read_record(spec.folder(tmp_path / name)) for name in ("plain", "logged")]
    assert records[0] is not None
    assert records[1] is not None
    assert [r["id"] for r in records if r] == [spec.id, spec.id]
    assert records[0]["digest"] == records[1]["digest"]


def test_what_failed_to_log_is_said_once_for_all_trials(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execute(specs: Sequence[TrialSpec], work: Work, ended: Ended) -> None:
        assert work.log == ("tensorboard",)
        for spec in specs:
            ended(spec, Outcome("done", 1.0, 0.5, 0.5, None, unlogged="--log tensorboard: full"))

    monkeypatch.setattr("bench.runs.launch.find_executor", lambda name: execute)
    monkeypatch.setattr("bench.runs.launch.require", lambda names: None)
    summary = launch(replace(REQUEST, log=("tensorboard",)), print)
    assert (summary.finished, summary.failed) == (2, 0)
    assert capsys.readouterr().err.count("--log tensorboard: full") == 1


def test_a_logger_that_is_not_installed_is_refused_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in NAMES:
        with pytest.raises(UsageError, match=rf"pip install 'cxr-bench\[{name}\]'"):
            require([name])
    with pytest.raises(UsageError, match="Did you mean 'wandb'"):
        require(["wandbb"])


def _tensorboard(logs: Path, trial: TrialSpec) -> tuple[list[float], dict[str, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    place = logs / trial.row_folder / f"run-{trial.run:02d}_fold-{trial.fold}"
    assert len([*place.glob("events.*")]) == 1
    read = EventAccumulator(str(place))
    read.Reload()
    assert (
        '"seed": 0' in read.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    )
    results = {tag: read.Scalars(tag)[-1].value for tag in read.Tags()["scalars"] if "test" in tag}
    return [scalar.value for scalar in read.Scalars("loss")], results


def _mlflow(logs: Path, trial: TrialSpec) -> tuple[list[float], dict[str, float]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=logs.resolve().as_uri())
    experiment = client.get_experiment_by_name(trial.study)
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id])[0]
    assert (run.info.status, run.data.params["trial"]) == ("FINISHED", trial.id)
    results = {name: value for name, value in run.data.metrics.items() if "test" in name}
    return [one.value for one in client.get_metric_history(run.info.run_id, "loss")], results


def _wandb_records(content: bytes) -> Iterator[bytes]:
    """A file of LevelDB's log format behind 7 bytes that say what it is."""
    place, whole = 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield whole
            whole = b""


def _wandb(logs: Path, trial: TrialSpec) -> tuple[list[float], dict[str, float]]:
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = logs.glob("offline-run-*/run-*.wandb")
    losses, results = [], {}
    for content in _wandb_records(file.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        for item in (*record.history.item, *record.summary.update):
            name = item.key or "/".join(item.nested_key)
            if name == "loss" and record.HasField("history"):
                losses.append(json.loads(item.value_json))
            elif "test" in name:
                results[name] = json.loads(item.value_json)
    return losses, results


@pytest.mark.parametrize("name", NAMES)
def test_what_a_logger_wrote_reads_as_the_record_does_and_names_no_image(
    name: str, csv_folder: CsvFolder, tmp_path: Path
) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"the extra {name} is not installed")
    dataset = load_dataset(csv_folder.spec, 32)
    request = replace(REQUEST, data=csv_folder.spec)
    spec = next(specs_of(request, resolve_rows(request, print), csv_folder.spec, dataset, "s"))
    results = tmp_path / "results"
    with warnings.catch_warnings():
        # Of what these libraries deprecate among themselves nothing is ours to mend.
        warnings.simplefilter("ignore")
        for _ in range(1 if name != "tensorboard" else 2):
            assert perform(spec, dataset, "cpu", results, loggers=(name,)).unlogged is None
        losses, told = globals()[f"_{name}"](results / "s" / "logs" / name, spec)
    record = read_record(spec.folder(results))
    assert record is not None
    assert losses == pytest.approx([entry["loss"] for entry in record["training"]["history"]])
    assert len(losses) == 3
    for policy in ("pair", "positive"):
        total = record["metrics"][policy]["total"]["auroc"]
        assert total is None or told[f"test/{policy}/total_auc"] == pytest.approx(total)
    written = b"".join(
        path.read_bytes()
        for path in (results / "s" / "logs").rglob("*")
        if path.is_file() and not path.name.startswith("debug")
    )
    assert b"images/p" not in written
    assert str(csv_folder.root).encode() not in written
