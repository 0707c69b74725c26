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


def test_fresh_redoes_what_is_done(tmp_path: Path) -> None:
    _record(SPEC, tmp_path)
    assert plan([SPEC], tmp_path, fresh=True)[0].state == "stale"
