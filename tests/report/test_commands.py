"""`bench table` and `bench power` as a person types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.runs.record import read_scores
from tests.report.studies import scored_study


def bench(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A study of two rows in the folder that `bench` looks in."""
    scored_study(tmp_path / "results", {"chexzero": 0.3, "cxrcml": 1.0})
    return tmp_path / "results"


def test_a_table_is_printed_and_written_in_four_formats(results: Path) -> None:
    done = bench("table", "--table", "pairs")
    assert done.exit_code == 0, done.output
    names = sorted(path.name for path in (results / "s").glob("table*"))
    assert names == [f"table-pairs.{suffix}" for suffix in ("csv", "json", "md", "tex")]
    assert (results / "s" / "table-pairs.md").read_text() == done.stdout


def test_another_format_can_be_printed(results: Path) -> None:
    done = bench("table", "--format", "json")
    assert json.loads(done.stdout)["rows"][1]["method"] == "cxrcml"
    assert (results / "s" / "table2.md").exists()


def test_check_fails_with_1_on_an_edited_file_and_passes_on_a_fresh_one(results: Path) -> None:
    bench("table")
    assert bench("table", "--check").exit_code == 0
    path = results / "s" / "table2.csv"
    path.write_text(path.read_text().replace("cxrcml", "better"))
    edited = path.read_text()
    done = bench("table", "--check")
    assert done.exit_code == 1
    assert "table2.csv is not what the records give; it differs first in line 3" in done.output
    assert path.read_text() == edited


def test_check_before_any_table_is_written_says_what_to_do(results: Path) -> None:
    done = bench("table", "--check")
    assert done.exit_code == 1
    assert "Run: bench table" in done.output
    assert not list((results / "s").glob("table*"))


def test_a_misspelt_baseline_is_suggested(results: Path) -> None:
    done = bench("table", "--baseline", "chexzro")
    assert done.exit_code == 2
    assert "Did you mean 'chexzero:default'" in done.output


def test_the_audit_needs_no_study() -> None:
    done = bench("table", "--audit")
    assert done.exit_code == 0, done.output
    assert "Wilcoxon signed-rank over 10 runs: the smallest two-sided p is 0.00195" in done.output


def test_power_is_printed_and_nothing_written(results: Path) -> None:
    before = sorted(results.rglob("*"))
    done = bench("power", "--difference", "0.1")
    assert done.exit_code == 0, done.output
    assert "For a true difference of 0.1 AUC from chexzero" in done.output
    assert sorted(results.rglob("*")) == before
    assert bench("power", "--difference", "0").exit_code == 2


def test_every_table_is_made_without_torch_or_pandas(results: Path) -> None:
    code = (
        "import sys; from bench.cli import main\n"
        "for words in (['table'], ['table', '--table', 'pairs'], ['table', '--metric', 'ece'],\n"
        "              ['power']):\n"
        "    try: main(words)\n"
        "    except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'pandas', 'sklearn', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_no_score_of_an_image_is_in_a_written_table(results: Path) -> None:
    for which in ("2", "3", "classes", "pairs", "runs"):
        bench("table", "--table", which, "--paper")
    written = " ".join(path.read_text() for path in (results / "s").glob("table*"))
    for path in results.rglob("scores.npz"):
        scores = read_scores(path.parent)["pair"].ravel().tolist()
        assert not [score for score in scores if f"{score:.6g}" in written]
