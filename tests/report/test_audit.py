"""The audit is arithmetic on the printed numbers: other numbers, other findings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats

from bench.report.audit import audit_lines, weighted_total
from bench.runs.study import Row, load_claims, load_study


def _line(text: str, *given: object) -> str:
    (line,) = [line for line in audit_lines(*given) if line.startswith(f"- {text}")]  # type: ignore[arg-type]
    return line


def test_weighted_totals_are_28_to_12_with_the_bounds_of_rounding() -> None:
    value, low, high = weighted_total({"base": 0.711, "rare": 0.720})
    assert value == pytest.approx((28 * 0.711 + 12 * 0.720) / 40)
    assert (low, high) == (pytest.approx(value - 0.0005), pytest.approx(value + 0.0005))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("MedCLIP:", "fits"),
        ("MedKLIP:", "no mean lies outside its parts"),
        ("SLIP:", "fits"),
        ("CheXzero (baseline): 0.6422", "does not fit."),
        ("CheXzero + meta labels: 0.6888", "does not fit."),
        ("CXR-CML: 0.7137", "equal parts would give 0.7155"),
        ("CXR-CML (nu = 2)", "fits"),
    ],
)
def test_printed_totals_are_judged_row_by_row(row: str, said: str) -> None:
    assert said in _line(row)


def test_a_total_that_fits_is_not_called_wrong() -> None:
    rows = [replace(load_study()[3], paper={"total": 0.7, "base": 0.7, "rare": 0.7})]
    assert _line("CheXzero (baseline): 0.7", rows).endswith("fits.")


@pytest.mark.parametrize("runs", [5, 10])
def test_the_smallest_wilcoxon_p_is_scipys(runs: int) -> None:
    smallest = stats.wilcoxon(range(1, runs + 1), method="exact").pvalue
    assert f"p is {smallest:.3g}, out of reach" in _line(f"Wilcoxon signed-rank over {runs} runs")


def test_effects_are_those_of_the_naive_and_the_corrected_t() -> None:
    critical = stats.t.isf(0.5e-5, 9) / 10**0.5
    assert f"{critical:.2f} standard deviations" in _line("Paired t over 10 runs")
    corrected = stats.t.isf(0.5e-5, 49) * (1 / 50 + 1 / 4) ** 0.5
    assert f"{corrected:.2f} standard deviations" in _line("Nadeau-Bengio over 10 x 5")


def test_contradictions_are_told_with_their_numbers() -> None:
    assert "carries the asterisk" in _line("CheXzero (baseline) carries")
    assert "10 in the caption of Table 2, 5 in" in _line("Runs:")
    assert "39 in the description of the data, 40" in _line("Classes:")
    assert "2 points of AUC in the abstract" in _line("Gain:")
    assert "7.1 over CheXzero (baseline) and 2.4 over" in _line("Gain:")


def test_a_paper_that_agrees_with_itself_has_no_contradiction() -> None:
    claims = replace(load_claims(), runs_in_text=10, classes_in_text=40, baseline_starred=False)
    lines = list(audit_lines(None, claims))
    assert not [line for line in lines if line.startswith(("- Runs:", "- Classes:"))]
    assert not [line for line in lines if "carries the asterisk" in line]


def test_rows_without_printed_numbers_are_left_out() -> None:
    lines = list(audit_lines([Row("m", "unprinted")]))
    assert not [line for line in lines if "unprinted" in line]
