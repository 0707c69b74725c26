"""Marks and what stands under a table."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bench.stats.significance import required_effect
from tests.report.studies import made, notes, record, rows_of, scored_study, spec, study


def _texts(results: Path, row: int, **options: object) -> str:
    return " ".join(cell.text for cell in made(results, **options).rows[row])


def test_the_mark_is_earned_or_not_there(tmp_path: Path) -> None:
    study(tmp_path, gain=0.1)
    assert "*" in _texts(tmp_path, 1, alpha=0.01)
    study(tmp_path / "small", gain=-0.0005)
    assert "*" not in _texts(tmp_path / "small", 1, alpha=0.01)


def test_a_baseline_is_never_marked_against_itself(tmp_path: Path) -> None:
    study(tmp_path)
    assert rows_of(tmp_path, alpha=0.99)["chexzero"]["total_p"] is None
    assert "*" not in _texts(tmp_path, 0, alpha=0.99)


def test_notes_name_data_preset_runs_folds_and_test(tmp_path: Path) -> None:
    study(tmp_path)
    for word in ("synthetic data, not X-rays", "tiny", "2 runs", "2-fold", "Nadeau-Bengio"):
        assert word in notes(tmp_path)


def test_a_mixed_data_set_says_that_auc_is_within_sources(tmp_path: Path) -> None:
    two = {"sources": ["source0", "source1"]}
    record(tmp_path, spec("chexzero", 0, 0), (0.6, 0.6, None), data=two)
    assert "within each source (source0, source1)" in notes(tmp_path)


def test_without_a_baseline_the_note_says_so(tmp_path: Path) -> None:
    record(tmp_path, spec("mine", 0, 0), (0.7, 0.7, None))
    assert "No test and no mark" in notes(tmp_path)
    assert "--baseline with one of mine:default" in notes(tmp_path)


def test_an_asterisk_out_of_reach_is_refused_with_what_it_would_take(tmp_path: Path) -> None:
    study(tmp_path, gain=0.05)
    told = notes(tmp_path, alpha=1e-9)
    assert "An asterisk at p < 1e-09 is refused: with 4 differences" in told
    effect = required_effect(1e-9, runs=4, folds=1, ratio=0.25)
    assert f"{effect:.1f} standard deviations" in told
    assert "refused" not in notes(tmp_path, alpha=0.01)


def test_with_a_single_difference_the_refusal_says_that_there_is_no_p(tmp_path: Path) -> None:
    for method, auc in (("chexzero", 0.6), ("cxrcml", 0.7)):
        record(tmp_path, spec(method, 0, 0), (auc, auc, None))
    assert "refused: with 1 defined difference; at least 2 are needed there is no p value" in notes(
        tmp_path
    )


def test_a_row_below_chance_is_flagged(tmp_path: Path) -> None:
    study(tmp_path, gain=-0.2)
    assert "†" in _texts(tmp_path, 1)
    assert "†" not in _texts(tmp_path, 0)
    assert "below chance: check sign, prompts, weights" in notes(tmp_path)
    assert "cxrcml (Total, Base, Rare)" in notes(tmp_path)


def test_average_precision_is_never_below_chance(tmp_path: Path) -> None:
    study(tmp_path, gain=-0.2)
    assert "†" not in _texts(tmp_path, 1, metric="ap")


def test_both_tests_stand_under_the_table(tmp_path: Path) -> None:
    scored_study(tmp_path, {"chexzero": 0.3, "cxrcml": 1.5})
    told = notes(tmp_path)
    assert "New training sets, would the procedure win again?" in told
    assert "New patients, do these fixed models differ? Paired bootstrap of 40 patients" in told
    assert "drawn within each fold of run 0 with all their images" in told
    row = rows_of(tmp_path)["cxrcml"]
    low, value, high = (row[f"rare_patients_{name}"] for name in ("low", "difference", "high"))
    assert isinstance(low, float)
    assert isinstance(value, float)
    assert isinstance(high, float)
    assert f"{value:+.4f} [{low:+.4f}, {high:+.4f}]" in told


def test_draws_without_any_positive_of_a_class_are_counted(tmp_path: Path) -> None:
    """Two patients in a fold of 20 each, or in one: missed with a chance of 0.13."""
    scored_study(tmp_path / "two", {"chexzero": 0.3, "cxrcml": 1.5}, rare=2)
    for table in ("2", "pairs"):
        told = re.search(
            r"are means of the other classes, if there are any: Total (\d+), Rare (\d+)\.",
            notes(tmp_path / "two", table),
        )
        assert told is not None
        assert told[1] == told[2]
        assert int(told[1]) == pytest.approx(130, abs=50)
    scored_study(tmp_path / "twelve", {"chexzero": 0.3, "cxrcml": 1.5})
    assert "are means of the other classes" not in notes(tmp_path / "twelve")


def test_draws_without_any_positive_of_a_class_in_one_fold_are_counted(tmp_path: Path) -> None:
    """Of two folds of 20 patients one or both may be missed: chances from the drawn folds."""
    scored_study(tmp_path, {"chexzero": 0.3, "cxrcml": 1.5}, rare=2)
    scores = tmp_path.glob("s/trials/cxrcml*/run-00_fold-*/scores.npz")
    patients = []
    for file in scores:
        with np.load(file) as arrays:
            patients.append(len(np.unique(arrays["patients"][arrays["labels"][:, 1] == 1])))
    missed = [(1 - count / 20) ** 20 for count in patients if count]
    expected = 1000 * (1 - np.prod([1 - chance for chance in missed]))
    told = re.search(r"of its other folds: Total (\d+), Rare (\d+)\.", notes(tmp_path))
    assert told is not None
    assert int(told[2]) == pytest.approx(expected, abs=60)


def test_an_exported_study_says_that_patients_were_not_drawn(tmp_path: Path) -> None:
    study(tmp_path)
    assert "New patients: not tested, the records are here without their scores" in notes(tmp_path)
    assert rows_of(tmp_path)["cxrcml"]["total_patients_low"] is None


def test_equal_rows_have_no_p_value_and_a_reason(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for run in range(2):
        for fold in range(2):
            auc = 0.6 + 0.1 * rng.random()
            for method in ("chexzero", "cxrcml"):
                record(tmp_path, spec(method, run, fold), (auc, auc, None))
    assert "no p value (all 4 differences are equal" in notes(tmp_path)
    assert rows_of(tmp_path)["cxrcml"]["total_difference"] == pytest.approx(0.0)


def test_rows_with_fewer_runs_than_the_table_are_named(tmp_path: Path) -> None:
    study(tmp_path, runs=2)
    for fold in range(2):
        record(tmp_path, spec("slip", 0, fold), (0.6, 0.6, None))
    assert "2 runs of 2-fold cross-validation by patient; slip: 1 run." in notes(tmp_path)
