"""`bench reproduce` on a small phantom, with real training in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from bench.cli import main
from bench.report.options import Options
from bench.report.render import write_table
from bench.report.tables import make_table
from bench.runs.executors import Ended, Work, do_trial
from bench.runs.record import digest, read_record
from bench.runs.reproduce import compare, made_otherwise, redo
from bench.runs.rows import Request
from bench.runs.trial import TrialSpec

STUDY = "phantom-n60-size32-tiny-folds2"
REQUEST = Request(
    methods=("chexzero",),
    data="phantom:n=60,size=32",
    folds=2,
    runs=1,
    settings={"epochs": "1"},
    study=STUDY,
)


def _here(specs: Sequence[TrialSpec], work: Work, ended: Ended) -> None:
    for spec in specs:
        ended(spec, do_trial(spec, work))


@pytest.fixture(scope="module", autouse=True)
def _in_this_process() -> Iterator[None]:
    """Without worker processes, which take seconds to start; tests/test_main_job.py has them."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.runs.reproduce.find_executor", lambda name: _here)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one run with its tables."""
    results = tmp_path_factory.mktemp("made")
    redo(replace(REQUEST, results=results), [(0, 0), (0, 1)], lambda layout: None, print)
    for which in ("2", "runs"):
        write_table(make_table(results, STUDY, which, Options()), results / STUDY)
    return results / STUDY


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "results" / STUDY))


def reproduce(study: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["reproduce", str(study), "--row", *words])


def _trial(study: Path, fold: int = 0) -> Path:
    return study / "trials" / "chexzero-epochs=1" / f"run-00_fold-{fold}"


def _record(study: Path, fold: int = 0) -> dict[str, Any]:
    record = read_record(_trial(study, fold))
    assert record is not None
    return record


def test_a_trial_is_run_again_elsewhere_and_is_identical(study: Path) -> None:
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    done = reproduce(study, "chexzero:epochs=1", "--fold", "1")
    assert done.exit_code == 0, done.output
    assert "run 0 fold 1: identical" in done.output
    assert "fold 0" not in done.output
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


def test_a_result_that_somebody_made_up_differs_and_exits_with_1(study: Path) -> None:
    record = _record(study)
    entry = next(e for e in record["metrics"]["pair"]["classes"] if e["auroc"] is not None)
    was = entry["auroc"]
    entry["auroc"], record["scores_sha256"] = 2.0, "0" * 64
    record["digest"] = digest(record)
    (_trial(study) / "scores.npz").unlink()
    record["origin"] = {"scores": "0" * 64}
    record["digest"] = digest(record)
    (_trial(study) / "record.json").write_text(json.dumps(record))
    done = reproduce(study, "chexzero:epochs=1")
    assert done.exit_code == 1
    assert f"run 0 fold 0: differs: AUC of {entry['class']} was 2, is {was:.6g}" in done.output
    assert "run 0 fold 1: identical" in done.output


def test_tables_alone_are_compared_in_what_they_print(study: Path) -> None:
    shutil.rmtree(study / "trials")
    done = reproduce(study, "chexzero:epochs=1")
    assert done.exit_code == 0, done.output
    # Two folds and the run, of all, base and rare classes, where any is defined.
    lines = json.loads((study / "table-runs.json").read_text())["rows"]
    values = sum(key.startswith(("fold_", "of_run")) for line in lines for key in line)
    assert f"equal to printed precision, in all {values} values" in done.output
    assert "Python" in done.output


def test_a_number_that_was_changed_in_a_table_is_found(study: Path) -> None:
    shutil.rmtree(study / "trials")
    file = study / "table-runs.json"
    table = json.loads(file.read_text())
    was, table["rows"][0]["fold_1"] = table["rows"][0]["fold_1"], 0.987654
    file.write_text(json.dumps(table))
    done = reproduce(study, "chexzero:epochs=1", "--fold", "1")
    assert done.exit_code == 1
    assert f"differs: run 0 fold 1 Total was 0.987654, is {was}" in done.output
    assert reproduce(study, "chexzero:epochs=1", "--fold", "0").exit_code == 0


def test_other_data_are_refused_before_anything_is_run(study: Path) -> None:
    for said in ("fingerprints differ", "61 images, not 60"):
        done = reproduce(study, "chexzero:epochs=1", "--data", "phantom:n=61,size=32")
        assert done.exit_code == 1
        assert said in done.output
        assert "Trials of" not in done.output
        shutil.rmtree(study / "trials", ignore_errors=True)


def test_other_versions_and_machines_are_named(study: Path) -> None:
    new = _record(study)
    old = json.loads(json.dumps(new))
    assert list(made_otherwise(old, new)) == []
    old["provenance"]["processor"] = "Z80"
    old["provenance"]["packages"]["torch"] = "1.0"
    processor, torch_version = new["provenance"]["processor"], torch.__version__
    assert list(made_otherwise(old, new)) == [
        f"processor was Z80, is {processor}",
        f"torch was 1.0, is {torch_version}",
    ]


def test_scores_that_differ_in_what_no_table_prints_are_not_called_identical(study: Path) -> None:
    new = _record(study)
    old = json.loads(json.dumps(new)) | {"scores_sha256": "0" * 64}
    entry = next(e for e in old["metrics"]["pair"]["classes"] if e["auroc"] is not None)
    entry["auroc"] *= 1 + 1e-12
    assert compare(old, new).verdict == "equal to printed precision"
    entry["auroc"] *= 1 + 1e-4
    assert compare(old, new).verdict == "differs"


def test_a_trial_of_other_code_says_so(study: Path) -> None:
    new = _record(study)
    old = json.loads(json.dumps(new))
    old["spec"]["method_code"] = "v0"
    assert "method code changed" in str(compare(old, new))


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["chexzero:epochs=2"], "chexzero:epochs=1", 2),
        (["chexzero:epochs=1", "--run", "7"], "no such trial", 2),
        (["chexzero:epochs=1", "--fold", "7"], "no such trial", 2),
    ],
)
def test_what_is_not_there_is_said(study: Path, words: list[str], said: str, code: int) -> None:
    done = reproduce(study, *words)
    assert done.exit_code == code, done.output
    assert said in done.output


def test_a_folder_without_trials_and_tables_is_an_error(tmp_path: Path) -> None:
    done = reproduce(tmp_path, "chexzero")
    assert done.exit_code == 1
    assert "Name a folder with trials" in done.output
    assert reproduce(tmp_path / "none", "chexzero").exit_code == 2
