from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.report.status import status_lines, status_of
from bench.runs.asked import Asked, read_asked, write_asked
from bench.runs.record import write_record
from bench.runs.trial import TrialSpec
from tests.runs.test_trial import SPEC

COST = {
    "seconds": 60.0,
    "phases": {"train": 50.0, "score": 10.0},
    "peak_memory_mb": 2048,
    "energy_j": 36e5,
}


def _record(results: Path, run: int, fold: int, **told: Any) -> TrialSpec:
    spec = replace(SPEC, run=run, fold=fold)
    record = {"status": "done", "id": spec.id, "spec": spec.as_dict(), "cost": COST} | told
    write_record(spec.folder(results), record, scores={}, log=[])
    return spec


def _lines(results: Path) -> list[str]:
    return list(status_lines(results, SPEC.study))


def test_the_matrix_has_a_group_a_run_and_a_mark_a_fold(tmp_path: Path) -> None:
    for fold in range(4):
        _record(tmp_path, 0, fold)
    spoilt = _record(tmp_path, 0, 4).folder(tmp_path)
    (spoilt / "record.json").write_text("{")
    _record(tmp_path, 1, 0, status="failed", error="E: why")
    (spoilt.parent / "run-01_fold-1.resume").write_text("half way")
    lines = _lines(tmp_path)
    assert lines[0] == f"{SPEC.study}: 4 of 10 trials done"
    assert "4 done, 1 begun, 1 failed, 1 damaged, 3 missing" in lines[1]
    assert lines[2].split() == ["####!", "x~..."]
    assert lines[3].split("(")[0].split() == [
        *("#", "done", "~", "begun", "x", "failed", "!", "damaged", ".", "missing")
    ]


def test_a_failure_is_shown_once_with_the_end_of_its_traceback(tmp_path: Path) -> None:
    trace = "Traceback:\n" + "".join(f'  File "x.py", line {n}\n' for n in range(9)) + "E: why"
    for fold in range(3):
        _record(tmp_path, 2, fold, status="failed", error="E: why", traceback=trace)
    lines = _lines(tmp_path)
    (at,) = [i for i, line in enumerate(lines) if "failed: " in line]
    assert lines[at].endswith("run 2 fold 0 and 2 others: E: why")
    assert [line.strip() for line in lines[at + 1 : at + 4]] == [
        f'File "x.py", line {n}' for n in (6, 7, 8)
    ]
    assert "line 5" not in "\n".join(lines)


def test_costs_are_summed_over_all_trials(tmp_path: Path) -> None:
    _record(tmp_path, 0, 0)
    _record(tmp_path, 0, 1, status="failed", error="E: why")
    _record(tmp_path, 0, 2, cost={"seconds": 1.0, "phases": {}, "peak_memory_mb": 1})
    told = "\n".join(_lines(tmp_path))
    assert "cost: 2 min of computing (train 2 min, score 20 s)" in told
    assert "at most 2.0 GB of memory a worker; 2 kWh in 2 of 3 trials" in told


def test_a_matrix_that_is_too_wide_goes_on_below(tmp_path: Path) -> None:
    _record(tmp_path, 99, 0)
    lines = _lines(tmp_path)
    assert "1 done, 499 missing" in lines[1]
    assert all(len(line) <= 100 for line in lines)
    assert "".join(lines[2:9]).split() == ["....."] * 99 + ["#...."]


def test_what_was_asked_for_and_never_begun_is_missing(tmp_path: Path) -> None:
    done = _record(tmp_path, 0, 0)
    other = replace(SPEC, method="another", folds=2)
    asked = [replace(SPEC, run=run, fold=fold) for run in range(3) for fold in range(5)]
    asked += [replace(other, run=0, fold=fold) for fold in range(2)]
    write_asked(asked, tmp_path / SPEC.study)
    lines = _lines(tmp_path)
    assert lines[0] == f"{SPEC.study}: 1 of 17 trials done"
    told = {row["row"]: row["trials"] for row in status_of(tmp_path, SPEC.study)["rows"]}
    assert len(told[done.row_folder]) == 15
    assert [trial["state"] for trial in told[other.row_folder]] == ["missing"] * 2


def test_what_was_asked_last_of_a_row_holds_and_other_rows_that_are_begun_stay(
    tmp_path: Path,
) -> None:
    _record(tmp_path, 0, 0)
    study, other = tmp_path / SPEC.study, replace(SPEC, method="another", run=0)
    write_asked([replace(SPEC, run=9), other], study)
    write_asked([replace(SPEC, run=1)], study)
    assert read_asked(study) == {SPEC.row_folder: Asked(2, 5)}
    write_asked([other], study)
    assert read_asked(study) == {SPEC.row_folder: Asked(2, 5), other.row_folder: Asked(1, 5)}
    (study / "asked.json").write_text("[[")
    assert read_asked(study) == {}


def test_folders_that_somebody_kept_aside_are_no_trials(tmp_path: Path) -> None:
    folder = _record(tmp_path, 0, 0).folder(tmp_path)
    before = _lines(tmp_path)
    shutil.copytree(folder, folder.with_name("run-00_fold-0.old"))
    shutil.copytree(folder.parent, folder.parent.with_name(f"{folder.parent.name}.bak"))
    assert _lines(tmp_path) == before


def test_a_study_with_nothing_finished_yet_is_no_error(tmp_path: Path) -> None:
    (SPEC.folder(tmp_path).parent).mkdir(parents=True)
    assert "0 of 0 trials done" in _lines(tmp_path)[0]
