"""A released row and a row from weights through a whole trial, with a tiny real-format model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.data import Dataset
from bench.protocol.planted import planted_dataset
from bench.runs.layout import specs_of
from bench.runs.perform import perform
from bench.runs.record import read_record, read_scores
from bench.runs.rows import Request, resolve_rows
from bench.runs.trial import TrialSpec
from tests.methods.tiny_models import save_open_clip

REQUEST = Request(methods=("openclip",), track="released", folds=2, runs=1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_open_clip(tmp_path_factory.mktemp("released") / "towers")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return planted_dataset()


def _specs_of(request: Request, dataset: Dataset) -> list[TrialSpec]:
    return list(specs_of(request, resolve_rows(request, print), "planted", dataset, "s"))


def test_a_released_row_is_scored_without_training(
    weights: str, dataset: Dataset, tmp_path: Path
) -> None:
    # Nothing of a released row is trained on, so a data set without reports will do.
    dataset = replace(dataset, findings=("",) * len(dataset), impressions=("",) * len(dataset))
    request = replace(REQUEST, weights=(weights,), settings={"text": "reports"})
    spec = _specs_of(request, dataset)[0]
    assert spec.config["preprocessing"] == "own"
    outcome = perform(spec, dataset, "cpu", tmp_path)
    assert outcome.error is None
    record = read_record(spec.folder(tmp_path))
    assert record is not None
    assert (record["training"]["steps"], record["split"]["train"]) == (0, 0)
    assert record["spec"]["track"] == "released"
    assert record["weights"] == "local-dir:towers"
    assert record["checkpoints"] == {
        "files": [{"name": "local-dir:towers", "sha256": spec.weights[0], "on_card": None}],
        "seen": None,
        "seen_by": None,
    }
    assert str(tmp_path.parent) not in str(record["spec"])


def test_a_row_from_weights_is_trained_and_scores_otherwise(
    weights: str, dataset: Dataset, tmp_path: Path
) -> None:
    request = replace(
        REQUEST,
        track="trained",
        weights=(weights,),
        settings={"text": "meta", "epochs": "1", "lr": "1e-3", "image_size": "32"},
    )
    trained = _specs_of(request, dataset)[0]
    released = replace(trained, track="released", row="released-x")
    for spec in (trained, released):
        assert perform(spec, dataset, "cpu", tmp_path).error is None
    first, second = (read_scores(spec.folder(tmp_path)) for spec in (trained, released))
    assert (first["rows"] == second["rows"]).all()
    assert not (first["pair"] == second["pair"]).all()


def test_weights_that_change_under_a_study_fail_the_trial(
    weights: str, dataset: Dataset, tmp_path: Path
) -> None:
    shutil.copytree(weights.removeprefix("local-dir:"), tmp_path / "copy")
    spec = _specs_of(replace(REQUEST, weights=(f"local-dir:{tmp_path}/copy",)), dataset)[0]
    (tmp_path / "copy" / "vocab.txt").write_text("another")
    outcome = perform(spec, dataset, "cpu", tmp_path)
    assert outcome.error is not None
    assert "has changed since the study was planned" in outcome.error


def test_an_adapter_that_ignores_its_weights_is_not_called_released(
    weights: str, dataset: Dataset, tmp_path: Path
) -> None:
    from tests.test_readme import adapter

    (tmp_path / "mine.py").write_text(adapter())
    request = replace(REQUEST, methods=("./mine.py",), weights=(weights,))
    outcome = perform(_specs_of(request, dataset)[0], dataset, "cpu", tmp_path)
    assert outcome.error is not None
    assert "was given weights and loaded none" in outcome.error


def test_weights_of_a_part_of_the_model_are_not_called_released(
    dataset: Dataset, tmp_path: Path
) -> None:
    from methods._bert import bert

    (tmp_path / "bert").mkdir()
    text = bert(vocabulary=6, width=64, layers=2, inner=64).state_dict()
    torch.save(text, tmp_path / "bert" / "pytorch_model.bin")
    pieces = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "edema")
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(pieces))
    for name in ("medclip", "medklip"):
        reference = f"local-dir:{tmp_path / 'bert'}"
        request = replace(REQUEST, methods=(name,), weights=(reference,), preset="tiny")
        outcome = perform(_specs_of(request, dataset)[0], dataset, "cpu", tmp_path)
        assert outcome.error is not None
        assert "the rest would be random" in outcome.error
