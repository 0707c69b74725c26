"""What `--keep` keeps: models that score as they did, embeddings, nothing that changes a score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.data import Dataset
from bench.errors import MethodError, ResultsError, UsageError
from bench.protocol.batches import Split
from bench.protocol.planted import planted_dataset
from bench.runs.keep import _told, rebuilt
from bench.runs.layout import specs_of
from bench.runs.perform import perform
from bench.runs.plan import plan
from bench.runs.record import read_record, read_scores, sha256_of
from bench.runs.reproduce import request_of
from bench.runs.rows import Request, resolve_rows
from bench.runs.scoring import score
from bench.runs.trial import TrialSpec
from tests.methods.tiny_models import save_open_clip

REQUEST = Request(folds=2, runs=1, settings={"epochs": "1", "image_size": "32"})
BOTH = ("model", "embeddings")
# A tower from scratch whose words are those of the reports, and one that has none of its own.
WORDY = ("chexzero", {"text": "reports"})


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return planted_dataset()


def _spec(dataset: Dataset, method: str, settings: dict[str, str], **changes: object) -> TrialSpec:
    request = replace(REQUEST, methods=(method,), settings={**REQUEST.settings, **settings})
    request = replace(request, **changes)  # type: ignore[arg-type]
    return next(specs_of(request, resolve_rows(request, print), "planted", dataset, "s"))


def _done(spec: TrialSpec, dataset: Dataset, results: Path) -> Path:
    assert perform(spec, dataset, "cpu", results).error is None
    return spec.folder(results)


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        WORDY,
        ("cxrcml", {}),
        ("slip", {}),
        ("medclip", {"text": "reports"}),
        ("medklip", {}),
        ("supervised", {}),
    ],
)
def test_a_kept_model_scores_to_the_bit_as_it_did_and_keeping_changes_nothing(
    method: str, settings: dict[str, str], dataset: Dataset, tmp_path: Path
) -> None:
    spec = _spec(dataset, method, settings)
    plain = _done(spec, dataset, tmp_path / "plain")
    folder = _done(replace(spec, keep=BOTH), dataset, tmp_path / "kept")
    assert (plain / "scores.npz").read_bytes() == (folder / "scores.npz").read_bytes()
    before, record = read_record(plain), read_record(folder)
    assert before is not None
    assert record is not None
    assert before["digest"] == record["digest"]
    assert _files(plain) == {"record.json", "scores.npz", "log.jsonl"}

    state = torch.random.get_rng_state()
    again, stored_at, mean = rebuilt(folder, record)
    assert torch.equal(state, torch.random.get_rng_state())
    assert stored_at == dataset.size
    assert mean.shape == (32, 32)
    assert 40 < mean.mean() < 160
    arrays, none = read_scores(folder), ("",) * len(dataset)
    part = Split(dataset, arrays["rows"], none, none, 32, torch.device("cpu"))
    np.testing.assert_array_equal(score(again, part, dataset.classes)["pair"], arrays["pair"])


def test_no_text_of_a_report_is_kept_with_a_model(dataset: Dataset, tmp_path: Path) -> None:
    secret = "zebra gnu quagga"
    dataset = replace(dataset, impressions=tuple(f"{secret} {t}" for t in dataset.impressions))
    folder = _done(replace(_spec(dataset, *WORDY), keep=BOTH), dataset, tmp_path)
    told = json.loads((folder / "model.json").read_text())
    assert told.keys() == {"stored_at", "vocabulary"}
    assert "zebra</w>" in told["vocabulary"]  # its pieces, in CLIP's order and not in the text's
    assert all(" " not in piece for piece in told["vocabulary"])
    for path in folder.iterdir():
        assert secret.encode() not in path.read_bytes(), path


def test_embeddings_before_and_after_training_stand_in_the_order_of_the_scores(
    dataset: Dataset, tmp_path: Path
) -> None:
    spec = replace(_spec(dataset, "chexzero", {}), keep=("embeddings",))
    folder = _done(spec, dataset, tmp_path)
    kept, scores = read_scores(folder, "embeddings.npz"), read_scores(folder)
    assert sorted(kept) == ["after", "before", "rows"]
    np.testing.assert_array_equal(kept["rows"], scores["rows"])
    assert kept["before"].shape == kept["after"].shape == (len(scores["rows"]), 128)
    assert kept["after"].dtype == np.float16
    assert not np.allclose(kept["before"], kept["after"], atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(kept["after"].astype(float), axis=1), 1, atol=2e-3)


def test_a_method_without_embeddings_keeps_none_and_is_not_redone_for_them(
    dataset: Dataset, tmp_path: Path
) -> None:
    spec = replace(_spec(dataset, "medklip", {}), keep=("embeddings",))
    folder = _done(spec, dataset, tmp_path)
    assert _files(folder) == {"record.json", "scores.npz", "log.jsonl"}
    assert plan([spec], tmp_path)[0].state == "done"


def test_a_finished_trial_is_redone_for_what_it_has_not_kept_and_says_so(
    dataset: Dataset, tmp_path: Path
) -> None:
    spec = _spec(dataset, "chexzero", {})
    folder = _done(replace(spec, keep=("embeddings",)), dataset, tmp_path)
    assert plan([spec], tmp_path)[0].state == "done"
    assert plan([replace(spec, keep=("model",))], tmp_path)[0].why == "its model was not kept"
    (folder / "embeddings.npz").unlink()
    planned = plan([replace(spec, keep=BOTH)], tmp_path)[0]
    assert (planned.state, planned.why) == ("stale", "its model and embeddings were not kept")


def test_what_an_earlier_trial_kept_goes_when_it_is_redone_without(
    dataset: Dataset, tmp_path: Path
) -> None:
    spec = _spec(dataset, "chexzero", {})
    folder = _done(replace(spec, keep=BOTH), dataset, tmp_path)
    kept = {"model.safetensors", "model.json", "mean.png", "embeddings.npz"}
    assert kept < _files(folder)
    _done(spec, dataset, tmp_path)
    assert _files(folder) == {"record.json", "scores.npz", "log.jsonl"}


def test_a_model_that_is_not_there_or_spoilt_is_a_clear_error(
    dataset: Dataset, tmp_path: Path
) -> None:
    spec = _spec(dataset, "medklip", {})
    folder = _done(spec, dataset, tmp_path)
    with pytest.raises(ResultsError, match=r"was not kept\. Run .* again with --keep"):
        rebuilt(folder, read_record(folder) or {})
    _done(replace(spec, keep=("model",)), dataset, tmp_path)
    record = read_record(folder)
    assert record is not None
    spoilt = bytearray((folder / "model.safetensors").read_bytes())
    spoilt[-1] ^= 1
    (folder / "model.safetensors").write_bytes(spoilt)
    with pytest.raises(ResultsError, match="is not what was kept"):
        rebuilt(folder, record)


def test_a_model_of_other_code_is_not_scored(dataset: Dataset, tmp_path: Path) -> None:
    spec = replace(_spec(dataset, "medklip", {}), keep=("model",), method_code="v0")
    folder = _done(spec, dataset, tmp_path)
    with pytest.raises(ResultsError, match="another version of medklip"):
        rebuilt(folder, read_record(folder) or {})


def test_a_method_that_hides_its_vocabulary_is_told_to_set_it(
    dataset: Dataset, tmp_path: Path
) -> None:
    file = tmp_path / "hidden.py"
    file.write_text(
        "import torch\n"
        "from bench.protocol.method import Card, Method\n"
        "class Hidden(Method):\n"
        "    card = Card(title='Hidden', citation='the tests', licence='MIT')\n"
        "    def build(self, classes, texts, device):\n"
        "        return torch.nn.Linear(1 + len(set(texts)), len(classes))\n"
        "    def loss(self, batch):\n"
        "        return self.model.weight.sum() ** 2\n"
        "    def score(self, images, prompts):\n"
        "        return images.float().mean((1, 2, 3))[:, None] * self.model.bias\n"
    )
    folder = _done(replace(_spec(dataset, str(file), {}), keep=BOTH), dataset, tmp_path)
    with pytest.raises(MethodError, match=r"has to set self\.vocabulary"):
        rebuilt(folder, read_record(folder) or {}, file=str(file))


def test_a_file_that_only_a_record_names_is_not_run(dataset: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from methods.chexzero import CheXzero\nclass Mine(CheXzero):\n    pass\n")
    folder = _done(replace(_spec(dataset, str(file), {}), keep=("model",)), dataset, tmp_path)
    record = read_record(folder) or {}
    assert rebuilt(folder, record, file=str(file)).stored_at == dataset.size
    ran = tmp_path / "ran"
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(ran)!r}, 'w')\n")
    record["spec"]["method_reference"] = str(evil)
    with pytest.raises(UsageError, match=r"evil\.py.*give it: --method FILE\.py"):
        rebuilt(folder, record)
    with pytest.raises(UsageError, match=r"evil\.py.*give it: --method FILE\.py"):
        request_of(record, None, (), None, REQUEST)
    assert not ran.exists()
    assert request_of(record, None, (), str(file), REQUEST).methods == (str(file),)
    record["spec"]["method_reference"] = "chexzero"
    with pytest.raises(UsageError, match="method is chexzero, not a file"):
        rebuilt(folder, record, file=str(file))


def test_a_released_model_is_the_weights_that_were_given(dataset: Dataset, tmp_path: Path) -> None:
    weights = save_open_clip(tmp_path / "towers")
    spec = _spec(dataset, "openclip", {}, track="released", weights=(weights,))
    folder = _done(replace(spec, keep=("model",)), dataset, tmp_path)
    assert "model.safetensors" not in _files(folder)
    record = read_record(folder)
    assert record is not None
    assert str(tmp_path) not in (folder / "model.json").read_text()
    with pytest.raises(UsageError, match=r"started from local-dir:towers: give --weights"):
        rebuilt(folder, record)
    again = rebuilt(folder, record, [weights]).method
    arrays, none = read_scores(folder), ("",) * len(dataset)
    part = Split(dataset, arrays["rows"], none, none, 32, torch.device("cpu"), again.frame)
    np.testing.assert_array_equal(score(again, part, dataset.classes)["pair"], arrays["pair"])


@pytest.mark.parametrize("text", ["[]", "null", '{"stored_at": "x"}', "[" * 100_000])
def test_a_description_of_a_model_that_is_none_is_refused_in_a_sentence(
    tmp_path: Path, text: str
) -> None:
    """Its checksum fits: anybody can write one."""
    (tmp_path / "model.json").write_text(text)
    record = {"kept": {"model": {"model.json": sha256_of(tmp_path / "model.json")}}}
    with pytest.raises(ResultsError, match=r"model\.json is not as bench run --keep model writes"):
        _told(tmp_path, record)
