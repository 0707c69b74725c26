"""Which row is the baseline, and the tests against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.errors import UsageError
from bench.report.compare import compare, find_baseline
from bench.report.options import Options
from bench.report.results import load_results
from bench.runs.study import load_study
from bench.stats.significance import bayesian_correlated_ttest
from tests.report.studies import record, rows_of, scored_study, spec, study


def _labelled(results: Path, labels: tuple[str, ...], method: str = "mine") -> None:
    for label in labels:
        for fold in range(2):
            record(results, spec(method, 0, fold, row=label, title=label), (0.6, 0.5, None))


def test_the_baseline_can_be_any_row_by_method_and_label(tmp_path: Path) -> None:
    study(tmp_path)
    _labelled(tmp_path, ("a=1", "a=2"))
    rows = load_results(tmp_path, "s", Options())
    for asked, key in (
        (None, ("chexzero", "default")),
        ("cxrcml", ("cxrcml", "default")),
        ("mine:a=2", ("mine", "a=2")),
    ):
        found = find_baseline(rows, load_study(), asked)
        assert found is not None
        assert found.key == key


def test_a_method_of_one_row_needs_no_label(tmp_path: Path) -> None:
    _labelled(tmp_path, ("a=1",))
    found = find_baseline(load_results(tmp_path, "s", Options()), load_study(), "mine")
    assert found is not None
    assert found.label == "a=1"


def test_an_unknown_or_unclear_baseline_is_refused_with_what_there_is(tmp_path: Path) -> None:
    _labelled(tmp_path, ("a=1", "a=2"))
    rows = load_results(tmp_path, "s", Options())
    with pytest.raises(UsageError, match=r"Did you mean 'mine:a=1'"):
        find_baseline(rows, load_study(), "mine:a=11")
    with pytest.raises(UsageError, match="could be any of mine:a=1, mine:a=2"):
        find_baseline(rows, load_study(), "mine")


def test_differences_turn_round_with_the_baseline(tmp_path: Path) -> None:
    study(tmp_path)
    there = rows_of(tmp_path)["cxrcml"]["total_difference"]
    back = rows_of(tmp_path, baseline="cxrcml")["chexzero"]["total_difference"]
    assert isinstance(there, float)
    assert back == pytest.approx(-there)


def test_only_runs_that_both_rows_have_are_compared(tmp_path: Path) -> None:
    study(tmp_path, runs=3)
    for fold in range(2):
        record(tmp_path, spec("mine", 1, fold), (0.9, 0.9, None))
    rows = {row.method: row for row in load_results(tmp_path, "s", Options())}
    (found,) = compare([(rows["mine"], rows["chexzero"])], Options())["total"]
    assert found.procedure.n == 2
    expected = 0.9 - rows["chexzero"].by_fold(found.group)[1].mean()
    assert found.procedure.mean == pytest.approx(expected)


def test_the_posterior_is_of_the_same_differences(tmp_path: Path) -> None:
    scored_study(tmp_path, {"chexzero": 0.3, "cxrcml": 0.8})
    base, ours = load_results(tmp_path, "s", Options())
    for found in compare([(ours, base)], Options(), draw=False).values():
        (one,) = found
        differences = ours.by_fold(one.group) - base.by_fold(one.group)
        assert one.patients is None
        assert one.posterior == bayesian_correlated_ttest(differences, 40, 40, rope=0.01)
        assert one.procedure.mean == pytest.approx(np.mean(differences))
