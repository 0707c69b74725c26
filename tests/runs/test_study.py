from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import DataError, UsageError
from bench.protocol.method import find_method, method_names
from bench.runs.study import load_study, rows_of_table
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
            assert row_label(made.as_dict(), config.tiny().as_dict()) == row.label


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Tables: \[2, 3\]"):
        rows_of_table(7, load_study())


@pytest.mark.parametrize("text", ["row = 3", "[[row]]\nmethod = 'm'", "not toml ["])
def test_a_study_file_that_is_not_one_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(DataError, match=r"s\.toml"):
        load_study(tmp_path / "s.toml")
