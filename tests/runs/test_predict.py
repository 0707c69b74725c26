"""A kept model on a person's own images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.dataset import load_dataset
from bench.errors import ResultsError, UsageError
from bench.runs.predict import RESEARCH, SYNTHETIC, Predictor, find_trial, read_pictures
from bench.runs.record import read_record, read_scores
from tests.runs.conftest import PHANTOM


@pytest.fixture(scope="module")
def predictor(kept_trial: Path) -> Predictor:
    return Predictor.of_trial(kept_trial)


def _saved(pixels: np.ndarray, path: Path) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_images_from_files_are_scored_as_the_trial_scored_them(
    predictor: Predictor, kept_trial: Path, tmp_path: Path
) -> None:
    arrays, dataset = read_scores(kept_trial), load_dataset(PHANTOM)
    rows = arrays["rows"][:5]
    paths = [_saved(dataset.pixels[row], tmp_path / f"{row}.png") for row in rows]
    pictures, failed = read_pictures(paths, predictor.stored_at)
    assert not failed
    for row, told in enumerate(predictor.findings(pictures)):
        found = [next(f for f in told if f.name == name).score for name in dataset.classes]
        np.testing.assert_allclose(found, arrays["pair"][row], atol=1e-5)


def test_a_finding_that_is_there_is_told_as_more_probable(predictor: Predictor) -> None:
    """On a cohort the model has no part in."""
    dataset = load_dataset("phantom:n=120,size=64,seed=5")
    column = dataset.classes.index("Pleural Effusion")
    pictures = [
        read_pictures([_saved(dataset.pixels[row], Path(f"{row}.png"))], 64)[0][0]
        for row in range(len(dataset))
    ]
    told = [
        next(f for f in findings if f.name == "Pleural Effusion").probability
        for findings in predictor.findings(pictures)
    ]
    probabilities, present = np.array(told, float), dataset.labels[:, column] == 1
    assert probabilities[present].mean() > probabilities[~present].mean() + 0.2
    assert probabilities.mean() == pytest.approx(present.mean(), abs=0.12)


def test_what_is_said_beside_the_numbers(predictor: Predictor) -> None:
    research, synthetic, calibrated = predictor.statements
    assert (research, synthetic) == (RESEARCH, SYNTHETIC)
    n = len(predictor.cohort.scores)
    assert f"the {n} test images of" in calibrated
    assert "phantom, run 0, fold 0, which the model was not trained on." in calibrated
    assert predictor.told()["calibrated_on"]["images"] == n


def test_files_that_show_nothing_are_named_and_the_others_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    good = _saved(rng.integers(0, 255, (40, 80)).astype(np.uint8), tmp_path / "good.png")
    deep = _saved(rng.integers(0, 60000, (50, 50)).astype(np.uint16), tmp_path / "deep.png")
    flat = _saved(np.full((40, 40), 7, np.uint8), tmp_path / "flat.png")
    (tmp_path / "text.jpg").write_text("no picture")
    paths = [good, flat, tmp_path / "text.jpg", tmp_path / "missing.png", tmp_path, deep]
    pictures, failed = read_pictures(paths, 32)
    assert [picture.path for picture in pictures] == [good, deep]
    assert pictures[0].box == (8, 0, 16, 32)
    assert pictures[1].notes[0] == "more than 8 bits, scaled by its own range"
    assert {Path(path).name: why.split(" (")[0] for path, why in failed.items()} == {
        "flat.png": "constant: every pixel is 7",
        "text.jpg": "not a readable image",
        "missing.png": "no such file",
        tmp_path.name: "not a readable image",
    }


def test_a_negative_is_pointed_out(tmp_path: Path) -> None:
    pixels = load_dataset(PHANTOM).pixels[3]
    (inverted,), _ = read_pictures([_saved(255 - pixels, tmp_path / "n.png")], 64)
    assert inverted.notes == ("looks like a negative",)


def test_a_trial_goes_by_its_folder_its_place_and_its_id(kept_trial: Path) -> None:
    results = kept_trial.parents[3]
    record = read_record(kept_trial)
    assert record is not None
    for name in (str(kept_trial), f"s/{kept_trial.parent.name}/{kept_trial.name}", record["id"]):
        assert find_trial(name, results) == kept_trial
    with pytest.raises(UsageError, match=r"Unknown trial 's/chexzero/run-0.*Did you mean 's/chexz"):
        find_trial("s/chexzero/run-00_fold-0", results)


@pytest.mark.parametrize("name", ["~nobody-of-that-name", "~nobody-of-that-name/x", "~"])
def test_a_trial_of_a_user_there_is_not_is_unknown(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No trial '~"):
        find_trial(name, tmp_path)


def test_results_without_a_kept_model_say_how_to_keep_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none in .* has kept its model. Run: bench run .*--keep"):
        find_trial("x", tmp_path)


def test_a_trial_whose_record_does_not_check_out_is_refused(
    kept_trial: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(kept_trial, tmp_path / "copy")
    (folder / "scores.npz").write_bytes(b"")
    with pytest.raises(ResultsError, match="no finished trial whose files check out"):
        Predictor.of_trial(folder)
