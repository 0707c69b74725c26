"""The four formats of one table, and the files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from bench.errors import ResultsError
from bench.report.options import Options
from bench.report.render import (
    FORMATS,
    check_table,
    comma_separated,
    json_text,
    latex,
    markdown,
    write_table,
)
from bench.report.table import Cell, Column, Table, hidden, words
from tests.report.studies import made, scored_study, study

SMALL = Table(
    "table2",
    "Table 2: a_b",
    (
        Column("key", None),
        Column("title", "Method", left=True),
        Column("total", "Total", ("auc", "sd")),
    ),
    (
        (hidden("m1"), words("50 % & more"), Cell("0.700 ± 0.010*", {"auc": 0.7, "sd": 1 / 300})),
        (hidden("m2"), words("a|b"), Cell("undefined (0/2)")),
    ),
    ("p < 0.05",),
)


def test_every_format_is_of_the_same_rows() -> None:
    rows = list(csv.DictReader(comma_separated(SMALL).splitlines()))
    assert rows[0] == {
        "key": "m1",
        "title": "50 % & more",
        "total_auc": "0.7",
        "total_sd": "0.00333333",
    }
    content = json.loads(json_text(SMALL))
    assert [str(value) for value in content["rows"][0].values()] == [*rows[0].values()]
    assert "0.700 ± 0.010*" in markdown(SMALL)
    assert r"0.700 $\pm$ 0.010$^{*}$" in latex(SMALL)


def test_undefined_is_a_word_empty_or_null_and_never_zero_or_nan() -> None:
    assert "undefined (0/2)" in markdown(SMALL)
    assert comma_separated(SMALL).splitlines()[2] == "m2,a|b,,"
    assert json.loads(json_text(SMALL))["rows"][1]["total_auc"] is None


def test_latex_is_a_booktabs_table_with_everything_escaped() -> None:
    text = latex(SMALL)
    for line in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lc}"):
        assert line in text
    assert r"50 \% \& more & 0.700" in text
    assert r"\caption{Table 2: a\_b}" in text
    assert r"\item p $<$ 0.05" in text


def test_a_bar_in_a_title_does_not_break_the_markdown() -> None:
    assert r"a\|b" in markdown(SMALL)


def test_written_files_are_what_was_shown_and_stable(tmp_path: Path) -> None:
    scored_study(tmp_path, {"chexzero": 0.3, "cxrcml": 1.0})
    for which in ("2", "3", "classes", "pairs", "runs"):
        table = made(tmp_path, which)
        files = write_table(table, tmp_path / "s")
        assert [file.name for file in files] == [f"{table.stem}.{suffix}" for suffix in FORMATS]
        first = [file.read_bytes() for file in files]
        assert first[0].decode() == markdown(table)
        again = write_table(made(tmp_path, which), tmp_path / "s")
        assert [file.read_bytes() for file in again] == first


def test_another_metric_grouping_or_policy_is_another_file(tmp_path: Path) -> None:
    study(tmp_path)
    options = {"metric": "ap", "grouping": "without-normal", "policy": "positive"}
    assert made(tmp_path, "pairs", **options).stem == "table-pairs-ap-without-normal-positive"


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({"alpha": 0.05}, "-alpha-0.05"),
        ({"min_patients": 5}, "-min-patients-5"),
        ({"paper": True}, "-paper"),
        ({"baseline": "cxrcml:default"}, "-baseline-cxrcml-default"),
        ({"metric": "ap", "alpha": 0.01}, "-ap-alpha-0.01"),
    ],
)
def test_other_options_leave_the_usual_files_alone(
    tmp_path: Path, options: dict[str, Any], end: str
) -> None:
    scored_study(tmp_path, {"chexzero": 0.3, "cxrcml": 1.0})
    usual = write_table(made(tmp_path), tmp_path / "s")
    other = write_table(made(tmp_path, **options), tmp_path / "s")
    assert [file.name for file in other] == [f"table2{end}.{suffix}" for suffix in FORMATS]
    assert check_table(made(tmp_path), tmp_path / "s") == usual
    assert check_table(made(tmp_path, **options), tmp_path / "s") == other


def test_a_baseline_is_no_way_out_of_the_folder() -> None:
    assert Options(baseline="../a b:c").stem("2") == "table2-baseline-..-a-b-c"


def test_check_passes_on_what_was_written_and_writes_nothing(tmp_path: Path) -> None:
    study(tmp_path)
    files = write_table(made(tmp_path), tmp_path / "s")
    before = [file.stat().st_mtime_ns for file in files]
    assert check_table(made(tmp_path), tmp_path / "s") == files
    assert [file.stat().st_mtime_ns for file in files] == before


@pytest.mark.parametrize("suffix", FORMATS)
def test_check_names_the_file_and_the_first_line_that_differs(tmp_path: Path, suffix: str) -> None:
    study(tmp_path)
    write_table(made(tmp_path), tmp_path / "s")
    path = tmp_path / "s" / f"table2.{suffix}"
    lines = path.read_text().split("\n")
    lines[1] += " edited"
    path.write_text("\n".join(lines))
    with pytest.raises(ResultsError, match=rf"table2.{suffix} is not .* in line 2\.") as caught:
        check_table(made(tmp_path), tmp_path / "s")
    assert caught.value.exit_code == 1
    assert path.read_text() == "\n".join(lines)


def test_check_sees_a_missing_file_and_lines_too_many(tmp_path: Path) -> None:
    study(tmp_path)
    with pytest.raises(ResultsError, match=r"Cannot read .*table2\.md"):
        check_table(made(tmp_path), tmp_path / "s")
    files = write_table(made(tmp_path), tmp_path / "s")
    files[1].write_text(files[1].read_text() + "more\n")
    with pytest.raises(ResultsError, match="more"):
        check_table(made(tmp_path), tmp_path / "s")
