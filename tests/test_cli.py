"""The command line as a person types it. What needs training is in tests/test_main_job.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from tests.conftest import CsvFolder

HEAVY = ("torch", "open_clip", "transformers", "sklearn", "scipy", "pandas", "numba", "numpy")
COMMANDS = [
    "",
    "run",
    "plan",
    "table",
    "power",
    "status",
    "methods",
    "check",
    "weights",
    "report",
    "figures",
    "predict",
    "export",
    "import",
    "reproduce",
    "new-method",
    "completion",
    "data",
    "data list",
    "data show",
    "data prepare",
    "data verify",
    "data export",
]


def bench(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command: str) -> None:
    code = (
        "import sys; from bench.cli import main\n"
        f"try: main([*{command.split()!r}, '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules]; assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: " in done.stdout


def test_python_dash_m_bench_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("bench, version")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "Did you mean 'run'"),
        (["run", "--method", "cxrclm"], "Did you mean 'cxrcml'"),
        (["run", "--method", "cxrcml", "--set", "n=1"], "Unknown setting 'n'"),
        (["run", "--method", "cxrcml", "--set", "nu"], "write it as KEY=VALUE"),
        (["run", "--method", "cxrcml", "--folds", "1"], "at least 2 folds"),
        (["run", "--method", "cxrcml", "--data", "fantom"], "Did you mean 'phantom'"),
        (["run", "--method", "cxrcml", "--preset", "small"], "Unknown preset 'small'"),
        (["run"], "give --method NAME or --table"),
        (["run", "--metod", "cxrcml"], "--method"),
        (["run", "--method", "./none.py"], "No method file"),
        (["run", "--table", "9"], "No row belongs to table 9"),
        (["run", "--method", "cxrcml", "--limit", "0"], "--limit are at least 1"),
        (["run", "--method", "cxrcml", "--only", "done"], "'done' is not one of 'failed'"),
        (["plan", "--method", "cxrclm"], "Did you mean 'cxrcml'"),
        (["status", "x"], "No study in results"),
        (["table"], "No study in results"),
        (["table", "--table", "4"], "'4' is not one of '2', '3', 'classes', 'pairs', 'runs'"),
        (["power"], "No study in results"),
        (["data", "show", "--class", "Pleural Efusion", "--data", "phantom:n=60"], "Did you mean"),
        (["table", "--alpha", "2"], "not between 0 and 1"),
    ],
)
def test_wrong_use_is_said_and_exits_with_2(words: list[str], said: str) -> None:
    done = bench(*words)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert "Traceback" not in done.output


def test_more_folds_than_patients_is_refused(csv_folder: CsvFolder) -> None:
    done = bench("run", "--method", "cxrcml", "--data", csv_folder.spec, "--folds", "13")
    assert done.exit_code == 2
    assert "there are only 12 patients" in done.output


def test_a_results_folder_that_cannot_be_written_is_a_clear_error(
    csv_folder: CsvFolder, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    done = bench(
        "run", "--method", "cxrcml", "--data", csv_folder.spec, "--results", str(tmp_path / "taken")
    )
    assert done.exit_code == 1
    assert "Cannot write results" in done.output


def test_methods_and_data_are_listed() -> None:
    assert "Tiu et al." in bench("methods").output
    assert "csv:PATH" in bench("data", "list").output


def test_status_of_nothing_says_what_to_do() -> None:
    assert "bench run --method cxrcml" in bench("status").output


def test_a_contact_sheet_is_a_png(tmp_path: Path) -> None:
    done = bench(
        "data", "show", "--data", "phantom:n=60", "--size", "64", "--count", "4", "--out", "s.png"
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
