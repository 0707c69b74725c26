from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.runs.forecast import Past, expected, past_trials, plan_lines
from bench.runs.record import write_record
from bench.runs.rows import Request
from bench.runs.trial import TrialSpec
from tests.runs.test_trial import SPEC

TRIAL = replace(SPEC, config={"preset": "tiny", "image_size": 64, "epochs": 9})
REQUEST = Request(methods=("cxrcml",), data="phantom:n=60,size=32", runs=2, folds=2)


def _past(spec: TrialSpec = TRIAL, seconds: float = 10.0, images: int = 100, **more: Any) -> Past:
    return Past(
        spec.as_dict(),
        images,
        **{"device": "cpu", "memory_mb": 512.0, "gpu_memory_mb": None, "seconds": seconds} | more,
    )


def _expected(past: list[Past], spec: TrialSpec = TRIAL, images: int = 100) -> tuple[float, str]:
    found = expected(spec, images, "cpu", past)
    assert found is not None
    return found.seconds, found.source


def test_the_trials_of_the_same_row_tell_first() -> None:
    past = [_past(seconds=s) for s in (10.0, 11.0, 60.0)]
    other = _past(replace(TRIAL, row="nu=2"), seconds=99.0)
    assert _expected([*past, other]) == (11.0, "3 trials of this row")


def test_another_row_or_other_data_are_scaled_by_epochs_and_images() -> None:
    short = replace(TRIAL, row="epochs=4", config={**TRIAL.config, "epochs": 4})
    assert _expected([_past(short)]) == (20.0, "1 other rows of this method")
    elsewhere = replace(TRIAL, fingerprint="else")
    assert _expected([_past(elsewhere, images=50)]) == (20.0, "1 this method on other data")
    another = replace(elsewhere, method="another")
    assert _expected([_past(another, images=50)]) == (20.0, "1 other methods on other data")


@pytest.mark.parametrize(
    "past",
    [
        _past(device="NVIDIA H200"),
        _past(replace(TRIAL, track="released")),
        _past(replace(TRIAL, config={**TRIAL.config, "image_size": 224})),
        _past(replace(TRIAL, config={**TRIAL.config, "preset": "paper"})),
    ],
)
def test_nothing_is_expected_from_what_cannot_be_compared(past: Past) -> None:
    assert expected(TRIAL, 100, "cpu", [past]) is None


def _finished(spec: TrialSpec, results: Path, cost: Mapping[str, Any]) -> None:
    told = {"data": {"images": 60}, "provenance": {"device": "cpu"}, "cost": cost}
    record = {"status": "done", "id": spec.id, "spec": spec.as_dict(), **told}
    write_record(spec.folder(results), record, scores={}, log=[])


def test_records_that_tell_no_cost_are_passed_over(tmp_path: Path) -> None:
    _finished(TRIAL, tmp_path, {"seconds": 2.0, "peak_memory_mb": 300})
    _finished(replace(TRIAL, fold=2), tmp_path, {})
    broken = replace(TRIAL, fold=3).folder(tmp_path)
    broken.mkdir(parents=True)
    (broken / "record.json").write_text("{")
    (one,) = past_trials(tmp_path)
    assert (one.seconds, one.memory_mb, one.images) == (2.0, 300.0, 60)


def _plan(request: Request) -> str:
    return "\n".join(plan_lines(request, lambda _: None))


def test_a_plan_says_what_is_done_what_is_not_and_what_the_rest_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(REQUEST, results=tmp_path, jobs=2)
    assert "nothing comparable is recorded, so how long is unknown" in _plan(request)
    assert not list(tmp_path.iterdir())
    specs: list[TrialSpec] = []
    monkeypatch.setattr("bench.runs.forecast.expected", lambda spec, *_: specs.append(spec) or None)
    _plan(request)
    monkeypatch.undo()
    first, second, third, _ = specs
    cost = {"seconds": 600.0, "peak_memory_mb": 1024}
    _finished(first, tmp_path, cost)
    _finished(replace(second, prompts="others"), tmp_path, cost)
    failed = {"status": "failed", "id": third.id, "spec": third.as_dict(), "error": "E: why"}
    write_record(third.folder(tmp_path), failed, scores=None, log=[])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    told = _plan(request)
    assert "4 trials (rows x runs x folds: 1 x 2 x 2)" in told
    (row,) = [line for line in told.splitlines() if "cxrcml-default" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["cxrcml-default", "1", "1", "1", "1", "3", "10 min", "1.0",
                     "2 trials of this row"]  # fmt: skip
    assert "1 to redo: prompts changed" in told
    assert "1 to redo: failed before (E: why)" in told
    assert "3 trials to run, 2 at a time: about 15 min, 0.5 core-hours, 2.0 GB of mem" in told
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert "1 trial to run, 1 at a time: about 10 min" in _plan(replace(request, only=("failed",)))
