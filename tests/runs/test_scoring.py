"""Scores in one pass over the images, and what is kept of a frozen model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.data import Dataset
from bench.protocol.batches import Split
from bench.protocol.method import Method
from bench.protocol.planted import planted_dataset
from bench.protocol.prompts import Prompts, prompts_for
from bench.runs import perform as perform_module
from bench.runs.external import ExternalSet
from bench.runs.layout import specs_of
from bench.runs.perform import perform
from bench.runs.record import read_record
from bench.runs.rows import Request, resolve_rows
from bench.runs.scoring import Encodings, score
from bench.runs.trial import TrialSpec
from methods.chexzero import CheXzero
from methods.medclip import MedClip
from methods.medklip import MedKLIP
from methods.slip import Slip
from methods.supervised import Supervised
from tests.methods.tiny_models import save_open_clip

DATA = planted_dataset()
NOTHING = ("",) * len(DATA)


def _part(rows: np.ndarray | None = None) -> Split:
    rows = np.arange(len(DATA)) if rows is None else rows
    return Split(DATA, rows, NOTHING, NOTHING, 32, torch.device("cpu"))


def _built(cls: type[Method]) -> Any:
    torch.manual_seed(0)
    method = cls(cls.Config.tiny())
    method.model = method.build(DATA.classes, ("edema is present",), torch.device("cpu"))
    return method


class Counting(CheXzero):
    def encode(self, images: Tensor) -> Any:
        self.encoded: int = getattr(self, "encoded", 0) + len(images)
        return super().encode(images)


class ScoreOfItsOwn(CheXzero):
    def score(self, images: Tensor, prompts: Prompts) -> Tensor:
        return images.float().mean((1, 2, 3))[:, None].expand(-1, len(prompts.classes))


@pytest.mark.parametrize("cls", [CheXzero, MedClip, MedKLIP, Slip, Supervised])
def test_one_pass_gives_what_each_policy_gives_alone(cls: type[Method]) -> None:
    method, part = _built(cls), _part()
    found = score(method, part, DATA.classes)
    assert set(found) == set(method.policies)
    for policy in method.policies:
        prompts = prompts_for(policy, DATA.classes)
        with torch.no_grad():
            alone = torch.cat([method.score(images, prompts) for images in part.images()])
        assert np.array_equal(found[policy], alone.numpy())


def test_images_are_encoded_once_for_all_policies() -> None:
    method = _built(Counting)
    score(method, _part(), DATA.classes)
    assert method.encoded == len(DATA)


def test_a_class_with_a_score_of_its_own_is_asked_by_it() -> None:
    part = _part()
    means = torch.cat([images.float().mean((1, 2, 3)) for images in part.images()])
    for values in score(_built(ScoreOfItsOwn), part, DATA.classes).values():
        assert np.array_equal(values, means[:, None].expand(-1, len(DATA.classes)).numpy())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_open_clip(tmp_path_factory.mktemp("frozen") / "towers")


def _specs(weights: str, dataset: Dataset, **changes: Any) -> list[TrialSpec]:
    request = Request(
        methods=("openclip",), track="released", folds=2, runs=1, weights=(weights,), **changes
    )
    external = (ExternalSet("other", "other", "other", dataset.classes, (), "digest"),)
    rows = resolve_rows(request, print)
    return list(specs_of(request, rows, "planted", dataset, "s", external))


def test_a_frozen_model_reads_an_image_once_for_all_folds_and_scores_it_the_same(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(DATA, fingerprint="other")
    read: list[int] = []
    images_of = Split.images

    def counted(part: Split) -> Any:
        for images in images_of(part):
            read.append(len(images))
            yield images

    monkeypatch.setattr(Split, "images", counted)

    def digests(limit: int, results: Path) -> list[str]:
        found = []
        monkeypatch.setattr(perform_module, "_encodings", Encodings(limit))
        for spec in _specs(weights, DATA):
            assert perform(spec, DATA, "cpu", results, [other]).error is None
            record = read_record(spec.folder(results))
            assert record is not None
            found.append(record["digest"])
        return found

    kept = digests(2**30, tmp_path / "kept")
    assert sum(read) == 2 * len(DATA)  # the test folds are all of the data, and the other set
    read.clear()
    assert digests(0, tmp_path / "not-kept") == kept
    assert sum(read) == 3 * len(DATA)


def test_what_is_kept_belongs_to_one_state_of_one_model_and_to_the_same_rows(weights: str) -> None:
    spec = _specs(weights, DATA)[0]
    method, keeping = _built(Counting), Encodings()

    def encoded(rows: np.ndarray) -> int:
        before = getattr(method, "encoded", 0)
        score(method, _part(rows), DATA.classes, keeping.of(method, spec))
        return int(method.encoded - before)

    some = np.arange(8)
    assert (encoded(some), encoded(some), encoded(some[::-1])) == (8, 0, 8)
    with torch.no_grad():
        next(method.model.parameters()).add_(1)
    assert encoded(some) == 8
