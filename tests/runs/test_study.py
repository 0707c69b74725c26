from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench.errors import DataError, UsageError
from bench.protocol.method import find_method, method_names
from bench.runs.rows import Request, resolve_rows
from bench.runs.study import PAPER_STUDY, Row, declared_rows, load_study, rows_of_table
from bench.runs.trial import row_label


def test_the_paper_has_five_methods_and_one_more_row_in_table_2() -> None:
    rows = rows_of_table(2, load_study())
    assert len({row.method for row in rows}) == 5
    assert [row.title for row in rows if row.baseline] == ["CheXzero (baseline)"]


def test_labels_in_the_study_are_the_labels_that_runs_get() -> None:
    for row in load_study():
        if row.method in method_names():
            config = find_method(row.method).cls.Config
            made = config.tiny().with_settings(row.settings)
            assert row_label(asdict(made), asdict(config.tiny())) == row.label


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Tables: \[2, 3\]"):
        rows_of_table(7, load_study())


@pytest.mark.parametrize("text", ["row = 3", "[[row]]\nmethod = 'm'", "not toml ["])
def test_a_study_file_that_is_not_one_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(DataError, match=r"s\.toml"):
        load_study(tmp_path / "s.toml")


USERS = """
[[row]]
method = "chexzero"
set = { text = "meta" }
title = "Without L_m"
baseline = true

[[row]]
method = "cxrcml"
set = { margin = 0.3 }
title = "Wide margin"
tables = [3]
"""


def _users(folder: Path, text: str = USERS) -> Path:
    file = folder / "margins.toml"
    file.write_text(text)
    return file


def test_a_study_file_of_the_user_is_what_runs(tmp_path: Path) -> None:
    request = Request(study=str(_users(tmp_path)))
    rows = resolve_rows(request, print)
    assert [(row.title, row.label) for row in rows] == [
        ("Without L_m", "text=meta"),
        ("Wide margin", "margin=0.3"),
    ]
    of_table = resolve_rows(replace(request, table=3), print)
    assert [row.title for row in of_table] == ["Wide margin"]


def test_a_study_file_is_not_mixed_with_methods(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not both"):
        resolve_rows(Request(study=str(_users(tmp_path)), methods=("cxrcml",)), print)


def test_a_row_that_its_table_would_not_find_again_is_refused(tmp_path: Path) -> None:
    other = _users(tmp_path, USERS.replace("margin = 0.3", "nu = 6"))
    with pytest.raises(UsageError, match=r"reads as nu=6\.0, not as nu=6"):
        resolve_rows(Request(study=str(other)), print)


def test_a_misspelt_method_of_a_study_file_is_not_left_out(tmp_path: Path) -> None:
    other = _users(tmp_path, USERS.replace('"cxrcml"', '"cxrclm"'))
    with pytest.raises(UsageError, match="cxrcml"):
        resolve_rows(Request(study=str(other)), print)


def test_the_copy_beside_the_trials_says_what_the_rows_are(tmp_path: Path) -> None:
    assert declared_rows(tmp_path, "s") == load_study()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "study.toml").write_text(USERS)
    assert [row.title for row in declared_rows(tmp_path, "s")] == ["Without L_m", "Wide margin"]


def test_a_file_of_a_method_goes_by_its_name() -> None:
    assert Row("./mine.py", "Mine", {"width": "8"}).key == ("mine", "width=8")


def test_the_rows_of_our_other_study_can_all_be_run() -> None:
    file = PAPER_STUDY.parent / "open-questions.toml"
    rows = resolve_rows(Request(study=str(file)), print)
    assert [row.title for row in rows] == [row.title for row in load_study(file)]
