"""Which records a row is made of: leftovers, copies and unfinished runs change no number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.errors import ResultsError
from bench.report.options import Options
from bench.report.results import load_results
from bench.report.status import status_lines
from bench.runs.record import write_record
from tests.report.studies import notes, record, rows_of, scored_study, spec, study


def _read(folder: Path) -> dict[str, Any]:
    """A record whose scores are not there."""
    told: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return told


def _total(results: Path, method: str = "cxrcml") -> object:
    return rows_of(results)[method]["total_auc"]


def test_a_row_is_never_a_mean_over_two_versions_of_a_method(tmp_path: Path) -> None:
    study(tmp_path, runs=2)
    before = _total(tmp_path)
    for fold in range(2):
        record(tmp_path, spec("cxrcml", 2, fold, method_code="v0"), (0.1, 0.1, None))
    assert _total(tmp_path) == before
    assert "cxrcml: 2 trials of other code or settings left out" in notes(tmp_path)


def test_of_as_many_trials_of_two_versions_the_newer_ones_count(tmp_path: Path) -> None:
    for run, (code, auc) in enumerate((("v1", 0.6), ("v2", 0.8))):
        for fold in range(2):
            trial = spec("cxrcml", run, fold, method_code=code)
            record(tmp_path, trial, (auc, auc, None))
            told = _read(trial.folder(tmp_path))
            told["provenance"] = {"finished": f"2026-01-0{run + 1}T00:00:00Z"}
            write_record(trial.folder(tmp_path), told, scores=None, log=[])
    assert _total(tmp_path) == pytest.approx(0.8)


def test_a_copy_of_a_trial_or_a_row_is_not_a_trial(tmp_path: Path) -> None:
    study(tmp_path)
    (row,) = [r for r in load_results(tmp_path, "s", Options()) if r.method == "cxrcml"]
    own = spec("cxrcml", 0, 0).folder(tmp_path)
    shutil.copytree(own, own.with_name("run-00_fold-0.old"))
    shutil.copytree(own.parent, own.parent.with_name("cxrcml-copy"))
    again = [r for r in load_results(tmp_path, "s", Options()) if r.method == "cxrcml"]
    assert [r.positives for r in again] == [row.positives]
    assert (again[0].values == row.values)[:, :, :2].all()


def test_an_unfinished_run_takes_no_part_in_means_and_classes(tmp_path: Path) -> None:
    study(tmp_path)
    before = rows_of(tmp_path)["cxrcml"]
    record(tmp_path, spec("cxrcml", 2, 0), (0.1, None, None))
    after = rows_of(tmp_path)["cxrcml"]
    assert after["total_auc"] == before["total_auc"]
    assert after["total_defined"] == before["total_defined"]
    assert "only 5 of 6 trials are finished; mean and sd are of its 2 complete runs" in notes(
        tmp_path
    )


def test_where_no_run_is_complete_what_there_is_counts(tmp_path: Path) -> None:
    record(tmp_path, spec("cxrcml", 0, 0), (0.6, 0.7, None))
    assert _total(tmp_path) == pytest.approx(0.65)
    assert "only 1 of 2 trials are finished." in notes(tmp_path)


def test_trials_of_another_fold_table_are_left_out(tmp_path: Path) -> None:
    study(tmp_path, runs=1)
    folder = spec("cxrcml", 0, 1).folder(tmp_path)
    told = _read(folder)
    told["split"]["digest"] = "another"
    write_record(folder, told, scores=None, log=[])
    assert "1 trial of other code or settings left out" in notes(tmp_path)


def test_a_record_without_what_a_table_needs_is_named(tmp_path: Path) -> None:
    study(tmp_path)
    folder = spec("cxrcml", 0, 1).folder(tmp_path)
    told = _read(folder)
    del told["split"]
    write_record(folder, told, scores=None, log=[])
    with pytest.raises(ResultsError, match=r"run-00_fold-1.record\.json is a finished record wit"):
        load_results(tmp_path, "s", Options())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("metrics", "pair", "classes", 0, "class"), "Hernia"),
        (("metrics", "pair", "classes", 0, "auroc"), "0.9"),
        (("metrics", "pair", "classes", 0, "auroc"), 1e308),
        (("metrics", "pair", "classes", 0, "n_pos"), 0),
        (("metrics", "pair"), []),
        (("metrics",), {}),
        (("data", "positive_patients"), {"Edema": 30}),
        (("data", "images"), "many"),
        (("spec", "folds"), 10**12),
        (("spec", "run"), "0"),
        (("spec", "fold"), 7),
        (("spec", "classes"), ["Edema", "Edema", "Fibrosis"]),
        (("split", "test"), 10**30),
    ],
)
def test_a_record_that_cannot_be_is_refused_in_a_sentence(
    tmp_path: Path, place: tuple[Any, ...], value: object
) -> None:
    """Its digest fits: anybody can write one."""
    study(tmp_path)
    folder = spec("cxrcml", 0, 1).folder(tmp_path)
    told: Any = _read(folder)
    *above, last = place
    part = told
    for key in above:
        part = part[key]
    part[last] = value
    write_record(folder, told, scores=None, log=[])
    with pytest.raises(ResultsError, match=f"without what a table needs .*{place[0]}"):
        load_results(tmp_path, "s", Options())


def test_a_record_nested_too_deeply_is_as_good_as_none(tmp_path: Path) -> None:
    study(tmp_path)
    folder = spec("cxrcml", 0, 1).folder(tmp_path)
    (folder / "record.json").write_text('{"spec":' * 100_000)
    (row,) = [r for r in load_results(tmp_path, "s", Options()) if r.method == "cxrcml"]
    assert (0, 1) not in row.folders
    assert list(status_lines(tmp_path, "s"))


def test_no_nan_is_said_where_the_baseline_is_undefined(tmp_path: Path) -> None:
    for run in range(2):
        for fold in range(2):
            record(tmp_path, spec("chexzero", run, fold), (0.6, None, None))
            record(tmp_path, spec("cxrcml", run, fold), (0.6 + 0.01 * fold + run / 50, None, None))
    assert "nan" not in notes(tmp_path)


def test_the_status_counts_what_is_missing_of_the_runs_that_were_begun(tmp_path: Path) -> None:
    scored_study(tmp_path, {"chexzero": 0.3, "cxrcml": 1.0})
    shutil.rmtree(spec("cxrcml", 1, 1).folder(tmp_path))
    lines = "\n".join(status_lines(tmp_path, "s"))
    assert "chexzero-default" in lines
    (ours,) = [line for line in lines.splitlines() if "cxrcml" in line]
    assert "3 done, 1 missing" in ours
