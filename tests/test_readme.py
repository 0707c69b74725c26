"""What the README shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.protocol.conformance import check_method
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text()


def adapter() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return str(code)


def test_there_are_exactly_two_lines_to_copy() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    assert [block.count("\n") for block in blocks] == [1, 1]
    assert "bench run --method cxrcml --folds 5 && bench table" in blocks[0]
    assert all("-c constraints.txt" in block for block in blocks)


def test_the_adapter_is_under_60_lines_and_keeps_the_contract(tmp_path: Path) -> None:
    code = adapter()
    assert code.count("\n") < 60
    (tmp_path / "prototypes.py").write_text(code)
    findings = check_method(str(tmp_path / "prototypes.py"))
    assert [f.what for f in findings if not f.passed] == []


def test_the_adapter_runs_to_a_row_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "prototypes.py").write_text(adapter())
    words = "run --method ./prototypes.py --data phantom:n=120,size=32 --folds 2 --runs 1"
    for command in ([*words.split(), "--set", "epochs=2"], ["table"]):
        done = subprocess.run(
            [sys.executable, "-m", "bench", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert "| Prototypes (epochs=2) |" in done.stdout


@pytest.mark.parametrize("link", re.findall(r"\]\((docs/[^)]+)\)", README))
def test_linked_documents_exist(link: str) -> None:
    assert (REPOSITORY / link).is_file()
