"""Studies made of records as `bench run` writes them: with given AUCs, or with scores per image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.report.options import Options
from bench.report.table import Scalar, Table
from bench.report.tables import make_table
from bench.runs.record import write_record
from bench.runs.trial import TrialSpec
from bench.stats.metrics import auroc, average_precision
from tests.runs.test_trial import SPEC

# One base class, two rare ones, of which the second is defined nowhere.
CLASSES = ("Edema", "Azygos Lobe", "Fibrosis")
FOLDS = 2
IMAGES, PATIENTS = 80, 40


def spec(method: str, run: int, fold: int, **changes: Any) -> TrialSpec:
    base = replace(SPEC, study="s", classes=CLASSES, folds=FOLDS, config={"preset": "tiny"})
    return replace(base, **{"method": method, "title": method, "run": run, "fold": fold} | changes)


def record(
    results: Path,
    trial: TrialSpec,
    aucs: tuple[float | None, ...],
    *,
    data: dict[str, Any] | None = None,
    scores: dict[str, np.ndarray] | None = None,
    entries: list[dict[str, Any]] | None = None,
    more: dict[str, Any] | None = None,
) -> None:
    """A finished trial; without `scores` as an exported study has it, `more` laid over it."""
    if entries is None:
        entries = [
            {"class": name, "n_pos": 3, "n_neg": 9, "auroc": auc, "ap": auc}
            for name, auc in zip(trial.classes, aucs, strict=True)
        ]
    test = 20 if scores is None else len(scores["rows"])
    content = {
        "status": "done",
        "id": trial.id,
        "spec": trial.as_dict(),
        "data": {
            "name": "phantom",
            "synthetic": True,
            "images": 100 if scores is None else IMAGES,
            "patients": PATIENTS,
            "positive_patients": {"Edema": 30, "Azygos Lobe": 12, "Fibrosis": 0},
            "sources": ["source0"],
        }
        | (data or {}),
        "split": {"train": 70, "validation": 8, "test": test, "without_text": 2},
        "metrics": {"pair": {"classes": entries}, "positive": {"classes": entries}},
    }
    write_record(trial.folder(results), content | (more or {}), scores=scores, log=[])


def study(results: Path, gain: float = 0.1, runs: int = 2, method: str = "cxrcml") -> None:
    """A baseline and a row that is better by `gain`, both with given AUCs."""
    rng = np.random.default_rng(0)
    for run in range(runs):
        for fold in range(FOLDS):
            edema, azygos = 0.6 + 0.02 * rng.random(2)
            record(results, spec("chexzero", run, fold), (edema, azygos, None))
            more = gain + 0.001 * rng.random()
            record(results, spec(method, run, fold), (edema + more, azygos + more, None))


def scored_study(
    results: Path, quality: dict[str, float], runs: int = 2, sources: int = 1, rare: int = 12
) -> None:
    """Rows with scores per image, `quality` times the label in them; `rare` patients with a rare
    class."""
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(PATIENTS), IMAGES // PATIENTS).astype(np.int32)
    labels = np.zeros((IMAGES, len(CLASSES)), np.uint8)
    labels[:, 0] = np.isin(patient, rng.permutation(PATIENTS)[:20])
    labels[:, 1] = np.isin(patient, rng.permutation(PATIENTS)[:rare])
    source = (patient % sources).astype(np.int16)
    mask = np.ones(labels.shape, bool)
    for run in range(runs):
        fold_of = (rng.permutation(PATIENTS) % FOLDS)[patient]
        difficulty = rng.normal(size=labels.shape)
        for method, good in quality.items():
            scores = difficulty + 0.5 * rng.normal(size=labels.shape) + good * labels
            for fold in range(FOLDS):
                rows = np.flatnonzero(fold_of == fold).astype(np.int32)
                arrays = {
                    "pair": scores[rows].astype(np.float32),
                    "labels": labels[rows],
                    "mask": mask[rows],
                    "rows": rows,
                    "patients": patient[rows],
                    "sources": source[rows],
                }
                record(
                    results,
                    spec(method, run, fold),
                    (),
                    data={"sources": [f"source{i}" for i in range(sources)]},
                    scores=arrays,
                    entries=_entries(arrays),
                )


def made(results: Path, which: str = "2", **options: Any) -> Table:
    return make_table(results, "s", which, Options(**options))


def rows_of(results: Path, which: str = "2", **options: Any) -> dict[Scalar, dict[str, Scalar]]:
    """The records of a table by method."""
    return {row["method"]: row for row in made(results, which, **options).records()}


def notes(results: Path, which: str = "2", **options: Any) -> str:
    return "\n".join(made(results, which, **options).notes)


def _entries(arrays: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    entries = []
    for c, name in enumerate(CLASSES):
        scores, labels = arrays["pair"][:, c], arrays["labels"][:, c]
        entries.append(
            {
                "class": name,
                "n_pos": int(labels.sum()),
                "n_neg": int((labels == 0).sum()),
                "auroc": auroc(scores, labels),
                "ap": average_precision(scores, labels),
            }
        )
    return entries
