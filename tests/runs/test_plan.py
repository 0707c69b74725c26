from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.runs.plan import plan, reasons
from bench.runs.record import write_record
from bench.runs.trial import TrialSpec
from tests.runs.test_trial import SPEC


def _record(spec: TrialSpec, results: Path, **changes: Any) -> None:
    record = {"status": "done", "id": spec.id, "spec": spec.as_dict()} | changes
    write_record(spec.folder(results), record, scores={"pair": np.zeros((1, 1))}, log=[])


def test_a_finished_trial_is_done_and_a_new_one_missing(tmp_path: Path) -> None:
    _record(SPEC, tmp_path)
    states = [p.state for p in plan([SPEC, replace(SPEC, fold=2)], tmp_path)]
    assert states == ["done", "missing"]


def test_a_stale_trial_says_why(tmp_path: Path) -> None:
    _record(SPEC, tmp_path)
    (planned,) = plan([replace(SPEC, prompts="q")], tmp_path)
    assert (planned.state, planned.why) == ("stale", "prompts changed")


def test_a_failed_trial_is_tried_again(tmp_path: Path) -> None:
    _record(SPEC, tmp_path, status="failed", error="TrialError: nan")
    planned = plan([SPEC], tmp_path)
    assert planned[0].state == "failed"
    assert reasons(planned) == {"failed before (TrialError: nan)": 1}


def test_a_damaged_record_is_redone_and_said(tmp_path: Path) -> None:
    _record(SPEC, tmp_path)
    (SPEC.folder(tmp_path) / "record.json").write_text("{")
    (planned,) = plan([SPEC], tmp_path)
    assert (planned.state, planned.why) == ("stale", "its record is damaged")


def test_a_record_of_another_version_is_stale_and_not_a_traceback(tmp_path: Path) -> None:
    told = SPEC.as_dict() | {"protocol": 0, "new_key": 1}
    record = {"status": "done", "id": "other", "spec": told}
    write_record(SPEC.folder(tmp_path), record, scores={"pair": np.zeros((1, 1))}, log=[])
    (planned,) = plan([SPEC], tmp_path)
    assert (planned.state, planned.why) == ("stale", "new_key 1 -> None; protocol version 0 -> 1")


def test_a_record_with_a_number_that_is_none_is_not_trusted(tmp_path: Path) -> None:
    _record(SPEC, tmp_path)
    path = SPEC.folder(tmp_path) / "record.json"
    path.write_text(path.read_text().replace('"fold": 1', '"fold": NaN'))
    (planned,) = plan([SPEC], tmp_path)
    assert (planned.state, planned.why) == ("stale", "its record is damaged")


def test_fresh_redoes_what_is_done(tmp_path: Path) -> None:
    _record(SPEC, tmp_path)
    assert plan([SPEC], tmp_path, fresh=True)[0].state == "stale"
