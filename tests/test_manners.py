"""The manners of the command line: exit codes, what goes where, JSON, completion, interruption."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import save_file

from bench.cli import main
from bench.cli.program import SECTIONS
from bench.errors import DataError
from bench.runs.progress import Progress
from tests.conftest import REPOSITORY, CsvFolder
from tests.report.studies import scored_study

DOCUMENT = (REPOSITORY / "docs/commands.md").read_text(encoding="utf-8")
COMMANDS = ("table", "status", "data list")


def bench(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def process(*words: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
        start_new_session=True,
    )


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A study of two rows in the folder that `bench` looks in."""
    scored_study(tmp_path / "results", {"chexzero": 0.3, "cxrcml": 1.0})
    return tmp_path / "results"


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `bench methods` raise what is given."""

    def make(error: BaseException) -> None:
        def method_names() -> list[str]:
            raise error

        monkeypatch.setattr("bench.protocol.method.method_names", method_names)

    return make


def test_every_command_is_under_one_heading_of_the_help() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(main.commands)
    said = bench("--help").output
    assert all(f"\n{heading}:\n" in said for heading in SECTIONS)
    assert "..." not in said.partition("\n")[2]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("No labels at x. Give --labels."), 1, "Error: No labels at x. Give --labels.\n"),
        (PermissionError(13, "Permission denied", "x.png"), 1, "Error: x.png: Permission denied."),
        (ZeroDivisionError("by zero"), 1, "Error: ZeroDivisionError: by zero (test_manners.py"),
        (MemoryError(), 1, "Error: MemoryError"),
        (KeyboardInterrupt(), 130, "Stopped."),
    ],
)
def test_whatever_goes_wrong_is_a_sentence_and_an_exit_code(
    error: BaseException, code: int, said: str, raising: Any
) -> None:
    raising(error)
    done = bench("methods")
    assert done.exit_code == code
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert done.stdout == ""


def test_an_unexpected_error_says_how_to_report_it(raising: Any) -> None:
    raising(ZeroDivisionError("by zero"))
    assert "bench --debug" in bench("methods").stderr


def test_debug_shows_the_traceback_and_keeps_the_exit_code(
    raising: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(DataError("No labels."))
    done = bench("--debug", "methods")
    assert done.exit_code == 1
    assert "Traceback" in done.stderr
    assert "DataError: No labels." in done.stderr
    monkeypatch.setenv("CXR_BENCH_DEBUG", "1")
    assert "Traceback" in bench("methods").stderr
    wrong = bench("status", "none")
    assert wrong.exit_code == 2
    assert "Traceback" in wrong.stderr


def test_a_reader_who_leaves_ends_the_command_without_a_word(results: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "table"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == b""
    assert (results / "s" / "table2.md").exists()


def test_a_terminal_without_the_signs_still_gets_them_as_question_marks() -> None:
    code = (
        "import click; from bench.cli import main\n@main.command()\ndef sign(): click.echo('± ν')"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nmain(['sign'])"],
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"\xb1 ?\n"), done.stderr


def test_ctrl_c_ends_a_command_that_trains_nothing(tmp_path: Path) -> None:
    stopped = process("data", "prepare", "phantom:n=20000,size=224", CXR_BENCH_CACHE=str(tmp_path))
    until = time.monotonic() + 60
    while not any(tmp_path.rglob("*")) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(stopped.pid, signal.SIGINT)
    out, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert said.endswith(b"\nStopped.\n")
    assert b"Traceback" not in out + said


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_coloured(command: str, results: Path) -> None:
    assert "\x1b" not in bench(*command.split()).output


def test_a_dumb_terminal_gets_no_moving_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        written = ""

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> None:
            self.written += text

        def flush(self) -> None: ...

    monkeypatch.setenv("TERM", "dumb")
    terminal: Any = Terminal()
    with Progress(2, 1, terminal) as progress:
        progress.told("a line")
    assert terminal.written == "a line\n"


def documented(command: str) -> set[str]:
    """The keys that docs/commands.md names, but for those of what is inside `rows` or `methods`."""
    (cell,) = re.findall(rf"^\| `{command}` \| (.*) \|$", DOCUMENT, re.MULTILINE)
    outer = re.sub(r"(rows|methods): [^;]*", r"\1", cell.removeprefix("a list: "))
    return {key.strip() for key in re.split("[,;]", outer)}


def keys_of(command: str, *more: str, code: int = 0) -> set[str]:
    done = bench(*command.split(), *more, "--json")
    assert done.exit_code == code, done.output
    told = json.loads(done.stdout)
    return set(told[0] if isinstance(told, list) else told)


@pytest.mark.parametrize("command", ["status", "power", "methods", "data list"])
def test_json_has_the_documented_keys(command: str, results: Path) -> None:
    assert keys_of(command) == documented(command)


def test_json_of_weights_has_the_documented_keys(tmp_path: Path) -> None:
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "a.safetensors")
    assert keys_of(
        "weights", str(tmp_path / "a.safetensors"), "--method", "chexzero", code=1
    ) == documented("weights")


def test_json_of_a_plan_counts_as_the_plan_says(csv_folder: CsvFolder) -> None:
    words = ["--method", "cxrcml", "--data", csv_folder.spec, "--folds", "2", "--runs", "3"]
    assert keys_of("plan", *words) == documented("plan")
    told = json.loads(bench("plan", *words, "--json").stdout)
    (row,) = told["rows"]
    assert (told["trials"], row["missing"], row["to_run"], row["each"]) == (6, 6, 6, None)


def test_json_of_a_store_has_the_documented_keys_and_names_no_image(
    csv_folder: CsvFolder, tmp_path: Path
) -> None:
    words = ("csv", "--root", str(csv_folder.root), "--out", str(tmp_path / "store"))
    assert keys_of("data prepare", *words) == documented("data prepare")
    assert "images/p0" not in bench("data", "prepare", *words, "--json").stdout
    store = str(tmp_path / "store")
    assert keys_of("data verify", store) == documented("data verify")
    (tmp_path / "store" / "labels.npy").write_bytes(b"")
    assert keys_of("data verify", store, code=1) == documented("data verify")


def test_json_of_a_bundle_has_the_documented_keys(tmp_path: Path) -> None:
    old = REPOSITORY / "tests" / "fixtures" / "record-v1"
    shutil.copytree(old, tmp_path / "results")
    assert keys_of("export", "--out", "s.bundle.json") == documented("export")
    words = ("s.bundle.json", "--results", str(tmp_path / "elsewhere"))
    assert keys_of("import", *words) == documented("import")


def test_json_of_the_status_counts_every_trial(results: Path) -> None:
    told = json.loads(bench("status", "s", "--json").stdout)
    trials = [trial for row in told["rows"] for trial in row["trials"]]
    assert told["trials"] == told["done"] == len(trials)
    assert {trial["state"] for trial in trials} == {"done"}


def completed(*words: str) -> list[str]:
    """What the shell is offered for the last word."""
    done = CliRunner().invoke(
        main,
        env={
            "_BENCH_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("bench", *words)),
            "COMP_CWORD": str(len(words)),
        },
        prog_name="bench",
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_the_shell_completes_commands_options_and_names(results: Path) -> None:
    assert completed("rep") == ["report", "reproduce"]
    assert "--keep-going" in completed("run", "--kee")
    assert completed("run", "--method", "cx") == ["cxrcml"]
    assert completed("run", "--data", "open") == ["openi"]
    assert completed("run", "--preset", "p") == ["paper"]
    assert completed("run", "--log", "") == ["tensorboard", "wandb", "mlflow"]
    assert completed("table", "") == ["s"]
    assert completed("status", "--results", "elsewhere", "") == []
    assert completed("run", "--method", "./my") == ["./my"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(shell: str) -> None:
    done = bench("completion", shell)
    assert done.exit_code == 0
    assert "_BENCH_COMPLETE" in done.stdout


def test_completion_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bench.cli import main\n"
        "try: main(prog_name='bench')\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'open_clip', 'transformers', 'pandas'} & {*sys.modules}"
    )
    words = {"_BENCH_COMPLETE": "bash_complete", "COMP_WORDS": "bench run --method c"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | words | {"COMP_CWORD": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "plain,cxrcml" in done.stdout
