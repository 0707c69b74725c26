"""Which rows a table has, and what its cells hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.errors import ResultsError, UsageError
from bench.report.options import Options
from bench.report.results import load_results
from bench.stats.significance import corrected_resampled_ttest, holm
from tests.report.studies import made, notes, record, rows_of, spec, study


def test_means_are_of_classes_over_folds_then_over_runs(tmp_path: Path) -> None:
    record(tmp_path, spec("chexzero", 0, 0), (0.6, 0.5, None))
    record(tmp_path, spec("chexzero", 0, 1), (0.8, None, None))
    row = rows_of(tmp_path)["chexzero"]
    assert row["base_auc"] == pytest.approx(0.7)
    assert row["rare_auc"] == pytest.approx(0.5)
    assert row["total_auc"] == pytest.approx((0.7 + 0.5) / 2)
    assert (row["rare_defined"], row["rare_classes"]) == (1, 2)


def test_the_spread_is_over_runs_and_absent_with_one(tmp_path: Path) -> None:
    for run, auc in enumerate((0.6, 0.8)):
        for fold in range(2):
            record(tmp_path, spec("chexzero", run, fold), (auc, auc, None))
    expected = np.std([0.6, 0.8], ddof=1)
    assert rows_of(tmp_path)["chexzero"]["total_sd"] == pytest.approx(expected, rel=1e-5)
    for fold in range(2):
        record(tmp_path / "one", spec("chexzero", 0, fold), (0.6, 0.6, None))
    assert rows_of(tmp_path / "one")["chexzero"]["total_sd"] is None
    assert "one run shows no spread" in notes(tmp_path / "one")


def test_a_group_without_a_defined_class_is_undefined_and_not_zero(tmp_path: Path) -> None:
    record(tmp_path, spec("chexzero", 0, 0), (0.6, None, None))
    table = made(tmp_path)
    assert table.records()[0]["rare_auc"] is None
    assert "undefined (0/2)" in [cell.text for cell in table.rows[0]]


def test_the_p_value_is_the_corrected_test_with_holm_over_rows(tmp_path: Path) -> None:
    study(tmp_path)
    study(tmp_path, method="mine", gain=0.0)
    rows = {row.method: row for row in load_results(tmp_path, "s", Options())}
    group = Options().groups[0]
    tests = [
        corrected_resampled_ttest(
            rows[name].by_fold(group) - rows["chexzero"].by_fold(group), n_train=80, n_test=20
        ).p_value
        for name in ("cxrcml", "mine")
    ]
    found = rows_of(tmp_path)
    for name, plain, adjusted in zip(("cxrcml", "mine"), tests, holm(tests), strict=True):
        assert found[name]["total_p"] == pytest.approx(plain, rel=1e-5)
        assert found[name]["total_p_adjusted"] == pytest.approx(adjusted, rel=1e-5)


def test_the_ratio_of_test_to_training_is_that_of_each_trial(tmp_path: Path) -> None:
    study(tmp_path)
    row = load_results(tmp_path, "s", Options())[0]
    assert row.train_test.tolist() == [[[80, 20]] * 2] * 2


def test_rows_of_the_users_own_follow_the_papers(tmp_path: Path) -> None:
    study(tmp_path)
    for fold in range(2):
        record(tmp_path, spec("mine", 0, fold), (0.5, 0.5, None))
    assert [*rows_of(tmp_path)] == ["chexzero", "cxrcml", "mine"]
    assert [*rows_of(tmp_path, "3")] == ["chexzero", "cxrcml"]


def test_the_users_study_file_decides_order_and_baseline(tmp_path: Path) -> None:
    study(tmp_path)
    (tmp_path / "s" / "study.toml").write_text(
        "[[row]]\nmethod = 'cxrcml'\ntitle = 'a'\nbaseline = true\n"
        "[[row]]\nmethod = 'chexzero'\ntitle = 'b'\n"
    )
    first, second = made(tmp_path).records()
    assert (first["method"], second["method"]) == ("cxrcml", "chexzero")
    assert first["total_difference"] is None
    assert second["total_difference"] == pytest.approx(-0.1, abs=0.01)


def test_a_table_without_any_of_its_rows_is_refused(tmp_path: Path) -> None:
    record(tmp_path, spec("mine", 0, 0), (0.5, 0.5, None))
    with pytest.raises(ResultsError, match="s has no row of Table 3; it has mine"):
        made(tmp_path, "3")


def test_leftovers_of_another_partition_are_left_out(tmp_path: Path) -> None:
    study(tmp_path)
    record(tmp_path, spec("chexzero", 7, 0, seed=9), (0.9, 0.9, None))
    assert [row["runs"] for row in rows_of(tmp_path).values()] == [2, 2]


def test_missing_trials_are_told(tmp_path: Path) -> None:
    record(tmp_path, spec("chexzero", 0, 0), (0.6, 0.6, None))
    assert "only 1 of 2 trials" in notes(tmp_path)


def test_an_unknown_policy_table_or_level_and_an_empty_study_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="No finished trial"):
        made(tmp_path)
    study(tmp_path)
    with pytest.raises(UsageError, match="No scores for prompts"):
        made(tmp_path, policy="both")
    with pytest.raises(UsageError, match="Did you mean 'pairs'"):
        made(tmp_path, "pair")
    with pytest.raises(UsageError, match="not between 0 and 1"):
        made(tmp_path, alpha=1.0)


def test_classes_with_few_positive_patients_are_undefined_and_counted(tmp_path: Path) -> None:
    study(tmp_path)
    row = rows_of(tmp_path, min_patients=20)["chexzero"]
    assert row["rare_auc"] is None
    assert row["base_auc"] is not None
    assert "2 of 3 classes have fewer than 20" in notes(tmp_path, min_patients=20)


def test_groups_can_be_by_frequency_or_without_normal(tmp_path: Path) -> None:
    classes = ("Edema", "Normal", "Azygos Lobe")
    counts = {"positive_patients": dict.fromkeys(classes, 30)}
    record(tmp_path, spec("chexzero", 0, 0, classes=classes), (0.6, 0.9, 0.7), data=counts)
    row = rows_of(tmp_path, grouping="head-medium-tail")["chexzero"]
    assert (row["head_auc"], row["medium_auc"], row["tail_auc"]) == (0.75, None, 0.7)
    row = rows_of(tmp_path, grouping="without-normal")["chexzero"]
    assert row["total_without_normal_auc"] == pytest.approx(0.65)
    assert row["base_without_normal_auc"] == 0.6


def test_average_precision_over_prevalence_uses_the_counts_of_the_fold(tmp_path: Path) -> None:
    study(tmp_path)
    plain = rows_of(tmp_path, metric="ap")["chexzero"]["total_ap"]
    ratio = rows_of(tmp_path, metric="ap-ratio")["chexzero"]["total_ap_ratio"]
    assert isinstance(plain, float)
    assert ratio == pytest.approx(plain * 12 / 3, rel=1e-5)
