"""`bench new-method` writes an adapter that passes `bench check` and runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.errors import UsageError
from bench.protocol.method import find_method
from bench.protocol.scaffold import write_adapter


def test_a_new_adapter_passes_the_check_under_its_own_name() -> None:
    runner = CliRunner()
    written = runner.invoke(main, ["new-method", "my_method"])
    assert written.exit_code == 0, written.output
    assert "NewMethod" not in Path("my_method.py").read_text()
    assert find_method("./my_method.py").cls.card.title == "MyMethod"
    checked = runner.invoke(main, ["check", "./my_method.py"])
    assert checked.exit_code == 0, checked.output
    assert "FAIL" not in checked.output


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        write_adapter("mine", tmp_path)
    assert (tmp_path / "mine.py").read_text() == "precious"


@pytest.mark.parametrize("name", ["My-Method", "class", "../up", "", "2nd"])
def test_a_name_that_is_no_module_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a method"):
        write_adapter(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot write"):
        write_adapter("mine", tmp_path / "absent")
