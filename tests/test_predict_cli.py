"""`bench predict` as a person meets it: tables, JSON, maps, exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from bench.cli import main
from bench.data.dataset import load_dataset
from bench.runs.layout import specs_of
from bench.runs.perform import perform
from bench.runs.rows import Request, resolve_rows

DATA = "phantom:n=120,size=32"
TRIAL = "s/medclip-epochs=1/run-00_fold-0"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict") / "results"
    request = Request(methods=("medclip",), settings={"epochs": "1"}, folds=2, keep=("model",))
    dataset = load_dataset(DATA)
    spec = next(specs_of(request, resolve_rows(request, print), DATA, dataset, "s"))
    assert perform(spec, dataset, "cpu", folder).error is None
    return folder


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    Image.fromarray(load_dataset(DATA).pixels[0]).save(tmp_path / "chest.png")
    return tmp_path / "chest.png"


def _predict(results: Path, *words: object) -> Result:
    asked = ["predict", *map(str, words), "--results", str(results)]
    return CliRunner().invoke(main, asked, catch_exceptions=False)


def test_an_image_gets_a_table_of_all_classes_and_what_it_means(results: Path, chest: Path) -> None:
    told = _predict(results, chest, "--trial", TRIAL)
    assert told.exit_code == 0
    rows = [line.split("|") for line in told.stdout.splitlines() if line.startswith("|")][2:]
    assert len(rows) == 40
    azygos = next(row for row in rows if row[1].strip() == "Azygos Lobe")
    assert azygos[2].strip() == "-"  # of too few patients, and nothing is invented
    assert "For research, not for diagnosis" in told.stdout
    assert "synthetic X-rays; it says nothing about a real patient" in told.stdout
    assert "Probabilities are Platt-scaled on" in told.stdout


def test_json_holds_the_same_with_null_where_nothing_can_be_told(
    results: Path, chest: Path
) -> None:
    told = _predict(results, chest, "--trial", TRIAL, "--json")
    answer = json.loads(told.stdout)
    assert answer.keys() == {"trial", "calibrated_on", "statements", "images", "failed"}
    assert answer["calibrated_on"]["synthetic"] is True
    (image,) = answer["images"]
    assert len(image["findings"]) == 40
    for finding in image["findings"]:
        assert (finding["probability"] is None) == (finding["why_not"] is not None)
        assert 0 <= finding["above"] <= 100
    assert "NaN" not in told.stdout


def test_a_bad_file_is_named_the_others_are_told_and_the_exit_code_is_one(
    results: Path, chest: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    told = _predict(results, tmp_path / "bad.png", chest, "--trial", TRIAL)
    assert told.exit_code == 1
    assert "bad.png: not a readable image" in told.stderr
    assert "chest.png\n" in told.stdout
    only_bad = _predict(results, tmp_path / "bad.png", "--trial", TRIAL, "--json")
    assert only_bad.exit_code == 1
    assert json.loads(only_bad.stdout)["images"] == []


def test_maps_are_written_for_the_named_findings_or_the_first_three(
    results: Path, chest: Path, tmp_path: Path
) -> None:
    maps = tmp_path / "maps"
    told = _predict(results, chest, "--trial", TRIAL, "--saliency", maps, "--class", "Mass")
    assert f"Map: {maps / 'chest-mass.png'}" in told.stdout
    with Image.open(maps / "chest-mass.png") as page:
        assert np.asarray(page).std() > 10
    _predict(results, chest, "--trial", TRIAL, "--saliency", maps)
    assert len(list(maps.glob("*.png"))) in {3, 4}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--trial", "s/none/run-00_fold-0"], 2, "Unknown trial"),
        (["--trial", TRIAL, "--class", "Mass"], 2, "give --saliency FOLDER as well"),
        (["--trial", TRIAL, "--saliency", "m", "--class", "Mas"], 2, "Did you mean 'Mass'?"),
        (["--trial", TRIAL, "--weights", "w.pt"], 2, "This trial started from no weights"),
        ([], 2, "Missing option '--trial'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_code_two(
    words: list[str], code: int, said: str, results: Path, chest: Path
) -> None:
    told = _predict(results, chest, *words)
    assert told.exit_code == code
    assert said in told.stderr


def test_a_trial_without_its_model_says_how_to_keep_it(
    results: Path, chest: Path, tmp_path: Path
) -> None:

    trial = results / "s/trials/medclip-epochs=1/run-00_fold-0"
    bare = shutil.copytree(trial, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    told = _predict(results, chest, "--trial", bare)
    assert told.exit_code == 1
    assert "model.safetensors is missing or is not what was kept" in told.stderr
