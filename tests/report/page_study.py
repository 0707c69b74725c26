"""A study with everything that a page can show, small enough to be made in a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.classes import CLASSES as ALL
from bench.classes import TRAIN_COUNTS, TRAIN_IMAGES
from bench.report.options import Options
from bench.report.page.write import write_page
from bench.runs.record import write_record
from bench.runs.trial import TrialSpec
from bench.stats.metrics import auroc, average_precision
from tests.report.studies import record
from tests.runs.test_trial import SPEC

CLASSES = (
    "Azygos Lobe",
    "Clavicle Fracture",
    "Fibrosis",
    "Kyphosis",
    "Fissure",
    "Hernia",
    "Mass",
    "Edema",
    "Cardiomegaly",
    "Pneumothorax",
)
THIN = "Azygos Lobe"
ROWS = {"chexzero": 0.6, "cxrcml": 1.0, "medclip": -0.3}
FOLDS, RUNS, PATIENTS = 2, 2, 120
SECRET = "p10023771/s5102.jpg"


def page_study(
    results: Path, *, synthetic: bool = True, scores: bool = True, **changes: Any
) -> str:
    """Three rows of two runs, one trial of them failed; `changes` are of the spec. Its name."""
    rng = np.random.default_rng(5)
    counts = [4, *range(14, 14 + 8 * (len(CLASSES) - 1), 8)]
    labels = np.zeros((PATIENTS, len(CLASSES)), np.uint8)
    for c, count in enumerate(counts):
        labels[rng.permutation(PATIENTS)[:count], c] = 1
    data = {
        "name": "phantom" if synthetic else "scans",
        "synthetic": synthetic,
        "images": PATIENTS,
        "patients": PATIENTS,
        "positive_patients": dict(zip(CLASSES, counts, strict=True)),
    }
    for run in range(RUNS):
        fold_of = rng.permutation(PATIENTS) % FOLDS
        noise = rng.normal(size=labels.shape)
        for method, good in ROWS.items():
            for fold in range(FOLDS):
                trial = _spec(method, run, fold, **changes)
                if (method, run, fold) == ("medclip", 1, 1):
                    _failed(results, trial)
                    continue
                rows = np.flatnonzero(fold_of == fold).astype(np.int32)
                shown = noise + good * labels + 0.3 * rng.normal(size=labels.shape)
                arrays = _arrays(shown[rows], labels[rows], rows)
                record(
                    results,
                    trial,
                    (),
                    data=data,
                    scores=arrays if scores else None,
                    entries=_entries(arrays),
                    more=_told(method, rng),
                )
    return "s"


def large_study(results: Path, *, rows: int, runs: int, folds: int, patients: int = 1000) -> None:
    """Rows with the 40 classes at the frequencies of CXR-LT, in trials of noise."""
    rng = np.random.default_rng(6)
    share = np.array([TRAIN_COUNTS[name] for name in ALL]) / TRAIN_IMAGES
    counts = np.maximum(12, share * patients).astype(int)
    labels = np.zeros((patients, len(ALL)), np.uint8)
    for c, count in enumerate(counts):
        labels[rng.permutation(patients)[:count], c] = 1
    data = {
        "images": patients,
        "patients": patients,
        "positive_patients": dict(zip(ALL, counts.tolist(), strict=True)),
    }
    names = ["chexzero", *(f"method{row}" for row in range(1, rows))]
    for run in range(runs):
        fold_of = rng.permutation(patients) % folds
        for method in names:
            for fold in range(folds):
                here = np.flatnonzero(fold_of == fold).astype(np.int32)
                scores = labels[here] + rng.normal(size=(len(here), len(ALL)))
                arrays = _arrays(scores, labels[here], here)
                trial = _spec(method, run, fold, classes=ALL, folds=folds)
                entries, told = _entries(arrays, ALL), _told("cxrcml", rng, ALL)
                record(results, trial, (), data=data, scores=arrays, entries=entries, more=told)


def made_page(results: Path, **study: Any) -> str:
    """The page of such a study."""
    name = page_study(results, **study)
    return write_page(results, name, Options()).read_text()


def _spec(method: str, run: int, fold: int, **changes: Any) -> TrialSpec:
    base = replace(SPEC, study="s", classes=CLASSES, folds=FOLDS, config={"preset": "tiny"})
    title = "CheXzero (baseline)" if method == "chexzero" else method
    own = {"method": method, "method_reference": method, "row": "default", "title": title}
    return replace(base, **(own | {"run": run, "fold": fold} | changes))


def _failed(results: Path, trial: TrialSpec) -> None:
    content = {
        "status": "failed",
        "id": trial.id,
        "spec": trial.as_dict(),
        "error": f"OSError: cannot read {SECRET}",
        "cost": {"seconds": 2.0},
    }
    write_record(trial.folder(results), content, scores=None, log=[])


def _arrays(scores: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "pair": scores.astype(np.float32),
        "positive": scores.astype(np.float32),
        "labels": labels,
        "mask": np.ones(labels.shape, bool),
        "rows": rows,
        "patients": rows,
        "sources": np.zeros(len(rows), np.int16),
    }


def _entries(
    arrays: dict[str, np.ndarray], classes: tuple[str, ...] = CLASSES
) -> list[dict[str, Any]]:
    return [
        {
            "class": name,
            "n_pos": int(arrays["labels"][:, c].sum()),
            "n_neg": int((arrays["labels"][:, c] == 0).sum()),
            "auroc": auroc(arrays["pair"][:, c], arrays["labels"][:, c]),
            "ap": average_precision(arrays["pair"][:, c], arrays["labels"][:, c]),
        }
        for c, name in enumerate(classes)
    ]


def _told(
    method: str, rng: np.random.Generator, classes: tuple[str, ...] = CLASSES
) -> dict[str, Any]:
    history = [
        {"epoch": epoch, "loss": 3 - epoch + rng.random(), "validation": 3 - epoch / 2}
        for epoch in range(3)
    ]
    fits = [
        {
            "epoch": epoch,
            "occupancy": [9, 5, 0],
            "churn": None if epoch == 0 else 0.5 / epoch,
            "nmi": 0.4 + 0.1 * epoch,
            "class_purity": [None, *[0.2] * (len(classes) - 1)],
        }
        for epoch in range(3)
    ]
    return {
        "training": {"history": history},
        "diagnostics": {"clusterings": fits} if method == "cxrcml" else {},
        "cost": {"seconds": 3.0, "peak_memory_mb": 700},
        "provenance": {"device": "cpu", "packages": {"numpy": "2"}, "finished": "2026-01-02T00:00"},
    }
