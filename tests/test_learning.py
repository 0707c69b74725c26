"""Does the default study learn what is there and nothing else? Minutes: `pytest -m slow`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.data import Dataset, load_dataset
from bench.protocol.method import find_method
from bench.protocol.prompts import prompts_digest
from bench.runs.perform import perform
from bench.runs.record import read_record
from bench.runs.trial import TrialSpec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def phantom() -> Dataset:
    return load_dataset("phantom")


def _permuted(dataset: Dataset) -> Dataset:
    """Every image with the labels and the report of another one."""
    order = np.random.default_rng(0).permutation(len(dataset))
    return replace(
        dataset,
        labels=dataset.labels[order],
        mask=dataset.mask[order],
        findings=tuple(dataset.findings[row] for row in order),
        impressions=tuple(dataset.impressions[row] for row in order),
        fingerprint="permuted",
    )


def _run(dataset: Dataset, results: Path) -> dict[str, float]:
    """Mean AUC over the folds of one run of `cxrcml`, by group."""
    found = find_method("cxrcml")
    groups: dict[str, list[float]] = {"total": [], "base": [], "rare": []}
    for fold in range(5):
        spec = TrialSpec(
            study="learning",
            row="default",
            title="CXR-CML",
            method=found.name,
            method_reference=found.name,
            method_code=found.code,
            track="trained",
            data=dataset.name,
            fingerprint=dataset.fingerprint,
            config=found.cls.Config.tiny().as_dict(),
            classes=dataset.classes,
            prompts=prompts_digest(dataset.classes),
            seed=0,
            folds=5,
            run=0,
            fold=fold,
        )
        assert perform(spec, dataset, "cpu", results).status == "done"
        record = read_record(spec.folder(results))
        assert record is not None
        for group, values in groups.items():
            values.append(record["metrics"]["pair"][group]["auroc"])
    return {group: float(np.mean(values)) for group, values in groups.items()}


def test_the_default_method_learns_rare_findings_too(phantom: Dataset, tmp_path: Path) -> None:
    auc = _run(phantom, tmp_path)
    print(auc)
    assert 0.70 < auc["total"] < 0.95
    assert auc["rare"] > 0.62


def test_permuted_labels_are_scored_at_chance(phantom: Dataset, tmp_path: Path) -> None:
    auc = _run(_permuted(phantom), tmp_path)
    print(auc)
    assert 0.47 < auc["total"] < 0.53
