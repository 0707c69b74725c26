from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import ResultsError, UsageError
from bench.report.results import load_results
from bench.report.tables import Table, make_table, write_table
from bench.runs.record import write_record
from bench.runs.trial import TrialSpec
from bench.stats.significance import corrected_resampled_ttest, holm
from tests.runs.test_trial import SPEC

# One base class, two rare ones, of which the second is defined nowhere.
CLASSES = ("Edema", "Azygos Lobe", "Fibrosis")


def _spec(method: str, run: int, fold: int, **changes: Any) -> TrialSpec:
    base = replace(SPEC, study="s", classes=CLASSES, folds=2, config={"preset": "tiny"})
    return replace(base, method=method, title=method, run=run, fold=fold, **changes)


def _record(
    results: Path, spec: TrialSpec, aucs: tuple[float | None, ...], *, sources: int = 1
) -> None:
    entries = [
        {"class": name, "n_pos": 3, "n_neg": 9, "auroc": auc}
        for name, auc in zip(CLASSES, aucs, strict=True)
    ]
    record = {
        "status": "done",
        "id": spec.id,
        "spec": spec.as_dict(),
        "data": {
            "name": "phantom",
            "synthetic": True,
            "images": 100,
            "patients": 40,
            "positive_patients": {"Edema": 30, "Azygos Lobe": 12, "Fibrosis": 0},
            "sources": [f"source{i}" for i in range(sources)],
        },
        "split": {"train": 70, "validation": 8, "test": 20, "without_text": 2},
        "metrics": {"pair": {"classes": entries}, "positive": {"classes": entries}},
    }
    write_record(spec.folder(results), record, scores={"pair": np.zeros((1, 3))}, log=[])


def _study(results: Path, gain: float = 0.1, runs: int = 2) -> None:
    rng = np.random.default_rng(0)
    for run in range(runs):
        for fold in range(2):
            edema, azygos = 0.6 + 0.02 * rng.random(2)
            _record(results, _spec("chexzero", run, fold), (edema, azygos, None))
            more = gain + 0.001 * rng.random()
            _record(results, _spec("cxrcml", run, fold), (edema + more, azygos + more, None))


def _made(results: Path, **options: Any) -> Table:
    settings: dict[str, Any] = {"alpha": 1e-5, "policy": "pair", "paper": False} | options
    settings.setdefault("min_patients", 10)
    return make_table(results, "s", 2, **settings)


def test_means_are_of_classes_over_folds_then_over_runs(tmp_path: Path) -> None:
    _record(tmp_path, _spec("chexzero", 0, 0), (0.6, 0.5, None))
    _record(tmp_path, _spec("chexzero", 0, 1), (0.8, None, None))
    (line,) = _made(tmp_path).lines
    assert line.cells["base"].mean == pytest.approx(0.7)
    assert line.cells["rare"].mean == pytest.approx(0.5)
    assert line.cells["total"].mean == pytest.approx((0.7 + 0.5) / 2)
    assert (line.cells["rare"].defined, line.cells["rare"].classes) == (1, 2)


def test_the_spread_is_over_runs_and_absent_with_one(tmp_path: Path) -> None:
    for run, auc in enumerate((0.6, 0.8)):
        for fold in range(2):
            _record(tmp_path, _spec("chexzero", run, fold), (auc, auc, None))
    cell = _made(tmp_path).lines[0].cells["total"]
    assert cell.sd == pytest.approx(np.std([0.6, 0.8], ddof=1))
    for fold in range(2):
        _record(tmp_path / "one", _spec("chexzero", 0, fold), (0.6, 0.6, None))
    assert _made(tmp_path / "one").lines[0].cells["total"].sd is None


def test_a_group_without_a_defined_class_is_undefined_and_not_zero(tmp_path: Path) -> None:
    _record(tmp_path, _spec("chexzero", 0, 0), (0.6, None, None))
    table = _made(tmp_path)
    assert table.lines[0].cells["rare"].mean is None
    assert "undefined (0/2)" in table.markdown()
    assert next(csv.DictReader(table.csv().splitlines()))["rare_auc"] == ""


def test_the_p_value_is_the_corrected_test_with_holm_over_rows(tmp_path: Path) -> None:
    _study(tmp_path)
    rows = {row.method: row for row in load_results(tmp_path, "s", "pair")}
    difference = rows["cxrcml"].by_fold("total") - rows["chexzero"].by_fold("total")
    expected = corrected_resampled_ttest(difference, n_train=80, n_test=20)
    line = _made(tmp_path).lines[1]
    assert line.method == "cxrcml"
    assert line.cells["total"].p_value == pytest.approx(holm([expected.p_value])[0])


def test_the_mark_is_earned_or_not_there(tmp_path: Path) -> None:
    _study(tmp_path, gain=0.1)
    assert "*" in _made(tmp_path, alpha=0.01).markdown().splitlines()[5]
    _study(tmp_path / "small", gain=-0.0005)
    assert "*" not in _made(tmp_path / "small", alpha=0.01).markdown().splitlines()[5]


def test_a_baseline_is_never_marked_against_itself(tmp_path: Path) -> None:
    _study(tmp_path)
    line = _made(tmp_path, alpha=0.99).lines[0]
    assert (line.method, line.cells["total"].p_value) == ("chexzero", None)
    assert not line.cells["total"].marked


def test_without_a_baseline_the_note_says_so(tmp_path: Path) -> None:
    _record(tmp_path, _spec("cxrcml", 0, 0), (0.7, 0.7, None))
    assert any("no finished baseline row" in note for note in _made(tmp_path).notes)


def test_the_papers_numbers_are_labelled_as_the_papers(tmp_path: Path) -> None:
    _study(tmp_path)
    text = _made(tmp_path, paper=True).markdown()
    assert "Paper: total" in text
    assert "0.715" in text
    assert "were not measured here" in text
    assert "0.715" not in _made(tmp_path).markdown()


def test_notes_name_data_preset_runs_folds_and_test(tmp_path: Path) -> None:
    _study(tmp_path)
    notes = " ".join(_made(tmp_path).notes)
    for word in ("synthetic data, not X-rays", "tiny", "2 runs", "2-fold", "Nadeau-Bengio"):
        assert word in notes


def test_a_mixed_data_set_says_that_auc_is_within_sources(tmp_path: Path) -> None:
    _record(tmp_path, _spec("chexzero", 0, 0), (0.6, 0.6, None), sources=2)
    assert any("within each source (source0, source1)" in note for note in _made(tmp_path).notes)


def test_missing_trials_are_told(tmp_path: Path) -> None:
    _record(tmp_path, _spec("chexzero", 0, 0), (0.6, 0.6, None))
    assert any("only 1 of 2 trials" in note for note in _made(tmp_path).notes)


def test_leftovers_of_another_partition_are_left_out(tmp_path: Path) -> None:
    _study(tmp_path)
    _record(tmp_path, _spec("chexzero", 7, 0, seed=9), (0.9, 0.9, None))
    assert [line.runs for line in _made(tmp_path).lines] == [2, 2]


def test_rows_of_the_users_own_follow_the_papers(tmp_path: Path) -> None:
    _study(tmp_path)
    for fold in range(2):
        _record(tmp_path, _spec("mine", 0, fold), (0.5, 0.5, None))
    assert [line.method for line in _made(tmp_path).lines] == ["chexzero", "cxrcml", "mine"]


def test_written_files_are_what_was_shown_and_stable(tmp_path: Path) -> None:
    _study(tmp_path)
    table = _made(tmp_path)
    files = write_table(table, tmp_path / "s")
    assert [file.name for file in files] == ["table2.md", "table2.csv"]
    first = [file.read_bytes() for file in files]
    assert first[0].decode() == table.markdown()
    assert [file.read_bytes() for file in write_table(_made(tmp_path), tmp_path / "s")] == first


def test_an_unknown_policy_and_an_empty_study_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="No finished trial"):
        _made(tmp_path)
    _study(tmp_path)
    with pytest.raises(UsageError, match="No scores for prompts"):
        _made(tmp_path, policy="both")


def test_classes_with_few_positive_patients_are_undefined_and_counted(tmp_path: Path) -> None:
    _study(tmp_path)
    table = _made(tmp_path, min_patients=20)
    assert table.lines[0].cells["rare"].mean is None
    assert table.lines[0].cells["base"].mean is not None
    assert any("2 of 3 classes have fewer than 20" in note for note in table.notes)
