"""The tables of classes, pairs and runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.errors import ResultsError, UsageError
from bench.report.compare import procedure_test
from bench.report.options import Options
from bench.report.results import load_results
from bench.stats.significance import benjamini_hochberg, holm
from tests.report.studies import CLASSES, made, record, scored_study, spec, study

QUALITY = {"chexzero": 0.3, "cxrcml": 1.0, "mine": 0.6}


def test_classes_come_rarest_first_with_their_counts(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY, runs=1)
    rows = made(tmp_path, "classes").records()
    assert [row["class"] for row in rows] == ["Azygos Lobe", "Fibrosis", "Edema"]
    assert [row["group"] for row in rows] == ["rare", "rare", "common"]
    assert [row["n_pos"] for row in rows] == [24, 0, 40]
    assert [row["patients"] for row in rows] == [12, 0, 30]


def test_an_undefined_class_says_so_with_the_count_that_makes_it_so(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY, runs=1)
    for least, word in ((10, "undefined (0 < 10 patients)"), (0, "undefined (0 positive)")):
        table = made(tmp_path, "classes", min_patients=least)
        assert [cell.text for cell in table.rows[1]][-1] == word
        assert table.records()[1]["cxrcml:default_auc"] is None


def test_p_of_a_class_is_adjusted_over_the_classes(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY)
    rows = {row.method: row for row in load_results(tmp_path, "s", Options())}
    plain = [
        procedure_test(rows["cxrcml"], rows["chexzero"], np.array(CLASSES) == name).p_value
        for name in ("Azygos Lobe", "Fibrosis", "Edema")
    ]
    assert plain[1] is None
    expected = benjamini_hochberg(plain)
    table = made(tmp_path, "classes")
    for row, p_value in zip(table.records(), expected, strict=True):
        found = row["cxrcml:default_p_adjusted"]
        assert found == (None if p_value is None else pytest.approx(p_value, rel=1e-5))
        assert row["chexzero:default_p_adjusted"] is None
    assert "Benjamini-Hochberg" in table.notes[-1]


def test_a_class_earns_its_asterisk(tmp_path: Path) -> None:
    study(tmp_path, gain=0.1)
    texts = {row[0].text: row[-1].text for row in made(tmp_path, "classes", alpha=0.05).rows}
    assert "*" in texts["Edema"]
    assert "*" not in texts["Fibrosis"]


def test_pairs_are_every_pair_in_every_group_with_the_baseline_as_b(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY)
    table = made(tmp_path, "pairs", baseline="mine")
    rows = table.records()
    assert len(rows) == 3 * 3
    pairs = {(row["a"], row["b"]) for row in rows}
    assert pairs == {("chexzero", "mine"), ("cxrcml", "mine"), ("cxrcml", "chexzero")}
    for row in rows:
        chances = [row[name] for name in ("worse", "equal", "better")]
        assert sum(chance for chance in chances if isinstance(chance, float)) == pytest.approx(
            1, abs=1e-5
        )
        low, high = row["patients_low"], row["patients_high"]
        assert isinstance(low, float)
        assert isinstance(high, float)
        assert low < high


def test_pairs_are_adjusted_over_the_pairs_of_a_group(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY)
    rows = [row for row in made(tmp_path, "pairs").records() if row["group"] == "Rare"]
    plain = [row["procedure_p"] for row in rows]
    found = [row["procedure_p_adjusted"] for row in rows]
    expected = holm([p for p in plain if isinstance(p, float)])
    assert found == [pytest.approx(p, rel=1e-4) for p in expected]


def test_pairs_without_scores_say_so(tmp_path: Path) -> None:
    study(tmp_path)
    table = made(tmp_path, "pairs")
    assert {row[5].text for row in table.rows} == {"not tested"}
    assert any("without their scores per image" in note for note in table.notes)


def test_pairs_take_two_rows_and_a_metric_by_fold(tmp_path: Path) -> None:
    record(tmp_path, spec("chexzero", 0, 0), (0.6, 0.5, None))
    with pytest.raises(ResultsError, match="a pair takes two"):
        made(tmp_path, "pairs")
    scored_study(tmp_path / "two", QUALITY)
    with pytest.raises(UsageError, match="Use --metric auroc, ap or ap-ratio"):
        made(tmp_path / "two", "pairs", metric="f1")


def test_runs_show_each_fold_and_the_value_that_the_means_are_of(tmp_path: Path) -> None:
    record(tmp_path, spec("chexzero", 0, 0), (0.6, 0.5, None))
    record(tmp_path, spec("chexzero", 0, 1), (0.8, None, None))
    total, base, rare = made(tmp_path, "runs").records()
    assert (total["fold_0"], total["fold_1"], total["of_run"]) == (0.55, 0.8, 0.6)
    assert (base["fold_0"], base["fold_1"], base["of_run"]) == (0.6, 0.8, 0.7)
    assert (rare["fold_0"], rare["fold_1"], rare["of_run"]) == (0.5, None, 0.5)


def test_a_cross_fitted_metric_has_one_column_for_all_folds(tmp_path: Path) -> None:
    scored_study(tmp_path, QUALITY, runs=2)
    rows = made(tmp_path, "runs", metric="f1").records()
    assert len(rows) == 3 * 3 * 2
    assert all(row["all_folds"] == row["of_run"] for row in rows)
