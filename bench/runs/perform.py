"""One trial from its spec to its record: split, build, train, score, measure, write."""

from __future__ import annotations

import json
import resource
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.classes import BASE, RARE
from bench.data import Dataset
from bench.errors import BenchError, MethodError, TrialError
from bench.protocol.batches import Split
from bench.protocol.captions import meta_captions
from bench.protocol.folds import patient_folds
from bench.protocol.method import Method, find_method
from bench.protocol.prompts import HEADLINE, POLICIES, prompts_for
from bench.protocol.trainer import Training, train
from bench.runs.provenance import provenance
from bench.runs.record import write_record
from bench.runs.trial import TrialSpec
from bench.stats.metrics import auroc, average_precision, macro, stratified_auroc

VALID_FRACTION = 0.1


@dataclass(frozen=True)
class Outcome:
    """What the study is told when a trial ends; everything else is in the record."""

    status: str
    seconds: float
    total: float | None
    rare: float | None
    error: str | None


def perform(spec: TrialSpec, dataset: Dataset, device: str, results: Path) -> Outcome:
    """Runs a trial and writes its record, finished or failed.

    A trial whose own code or loss fails is recorded as failed and reported in the outcome; an
    error of the results folder is raised, since no other trial could be kept either.
    """
    started = time.perf_counter()
    log: list[dict[str, Any]] = []
    clock = _Clock()
    record: dict[str, Any] = {"status": "failed", "id": spec.id, "spec": spec.as_dict()}
    scores: dict[str, np.ndarray] | None = None
    error: str | None = None
    try:
        with _seeded(spec.trial_seed, device):
            told, scores = _run(spec, dataset, torch.device(device), log, clock)
        _assert_plain(told)
        record |= {"status": "done", **told}
    except Exception as failure:  # an adapter is anybody's code and may raise anything
        if isinstance(failure, BenchError) and not isinstance(failure, TrialError | MethodError):
            raise
        scores = None
        error = f"{type(failure).__name__}: {failure}"
        record |= {"error": error, "traceback": traceback.format_exc()}
    seconds = time.perf_counter() - started
    record |= {
        "cost": {
            "seconds": round(seconds, 3),
            "phases": clock.phases,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        },
        "provenance": provenance(device),
    }
    write_record(spec.folder(results), record, scores=scores, log=log)
    summary = record.get("metrics", {}).get(HEADLINE, {})
    return Outcome(
        status=record["status"],
        seconds=seconds,
        total=summary.get("total", {}).get("auroc"),
        rare=summary.get("rare", {}).get("auroc"),
        error=error,
    )


def _run(
    spec: TrialSpec,
    dataset: Dataset,
    device: torch.device,
    log: list[dict[str, Any]],
    clock: _Clock,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    found = find_method(spec.method_reference)
    method = found.cls(found.cls.Config.from_dict(spec.config))
    config = method.config
    table = patient_folds(
        dataset.labels,
        dataset.patients,
        n_folds=spec.folds,
        seed=spec.partition_seed,
        mask=dataset.mask,
    )
    captions = meta_captions(dataset.labels, dataset.mask, dataset.classes)
    texts = dataset.reports if config.text == "reports" else captions
    everyone = table.train_valid_test(spec.fold, VALID_FRACTION)
    # An image without a text cannot be contrasted; it is still scored when it is in the test fold.
    with_text = np.array([bool(text) for text in texts])
    fit, held = (rows[with_text[rows]] for rows in everyone[:2])
    test = everyone[2]
    if len(fit) < 2:
        raise MethodError(
            f"Only {len(fit)} of {len(everyone[0])} training images of fold {spec.fold} have a "
            f"text to train on (text={config.text}). Try --set text=meta."
        )
    train_part, valid_part, test_part = (
        Split(dataset, rows, captions, texts, config.image_size, device)
        for rows in (fit, held, test)
    )
    with clock("build"):
        method.model = method.build(
            dataset.classes, tuple(texts[row] for row in (*fit, *held)), device
        )
    with clock("train"):
        training = train(method, train_part, valid_part, spec.trial_seed, log.append)
    with clock("score"):
        scores = _score(method, test_part)
    labels, mask = dataset.labels[test], dataset.mask[test]
    with clock("measure"):
        metrics = {
            policy: _measure(values, labels, mask, dataset.sources[test], dataset.classes)
            for policy, values in scores.items()
        }
    told = {
        "data": {
            "name": dataset.name,
            "synthetic": dataset.synthetic,
            "images": len(dataset),
            "patients": len(np.unique(dataset.patients)),
            "sources": sorted(set(dataset.sources.tolist())),
            "left_out": _left_out(dataset),
            "positive_patients": _positive_patients(dataset),
        },
        "split": {
            "digest": table.digest,
            "train": len(fit),
            "validation": len(held),
            "test": len(test),
            "without_text": int(len(everyone[0]) + len(everyone[1]) - len(fit) - len(held)),
            "train_patients": len(np.unique(dataset.patients[everyone[0]])),
            "test_patients": len(np.unique(dataset.patients[test])),
            "classes_not_in_every_fold": [dataset.classes[c] for c in table.uncovered],
        },
        "weights": method.weights,
        "training": _told(training),
        "diagnostics": method.diagnostics(),
        "metrics": metrics,
    }
    _, patients = np.unique(dataset.patients, return_inverse=True)
    _, sources = np.unique(dataset.sources, return_inverse=True)
    arrays: dict[str, np.ndarray] = {
        **scores,
        "labels": labels,
        "mask": mask,
        "rows": test.astype(np.int32),
        "patients": patients[test].astype(np.int32),
        "sources": sources[test].astype(np.int16),
    }
    return told, arrays


def _assert_plain(told: dict[str, Any]) -> None:
    """A record is JSON without NaN: what a method says of itself must be plain, finite values."""
    try:
        json.dumps(told, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MethodError(
            f"The record of the trial is not plain and finite ({error}); look at diagnostics()."
        ) from error


@torch.no_grad()
def _score(method: Method, part: Split) -> dict[str, np.ndarray]:
    """(N, C) float32 scores of each prompt policy.

    Raises:
        MethodError: a shape or value that cannot be ranked.
    """
    method.model.eval()
    classes = part.dataset.classes
    scores: dict[str, np.ndarray] = {}
    for policy in POLICIES:
        prompts = prompts_for(policy, classes)
        parts = [method.score(images, prompts).float().cpu().numpy() for images in part.images()]
        values = np.concatenate(parts)
        if values.shape != (len(part), len(classes)):
            raise MethodError(
                f"score() gave {values.shape} for {len(part)} images and {len(classes)} classes."
            )
        if not np.isfinite(values).all():
            raise MethodError(f"score() gave values that are not finite under policy '{policy}'.")
        scores[policy] = values
    return scores


def _measure(
    scores: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray,
    sources: np.ndarray,
    classes: tuple[str, ...],
) -> dict[str, Any]:
    """Per-class AUC within sources, pooled AUC and AP, with counts; and the group means."""
    rows: list[dict[str, Any]] = []
    for c, name in enumerate(classes):
        s, y, m = scores[:, c], labels[:, c], mask[:, c]
        rows.append(
            {
                "class": name,
                "n_pos": int((m & (y == 1)).sum()),
                "n_neg": int((m & (y == 0)).sum()),
                "auroc": stratified_auroc(s, y, sources, m),
                "auroc_pooled": auroc(s, y, m),
                "ap": average_precision(s, y, m),
            }
        )
    told: dict[str, Any] = {"classes": rows}
    for group, names in (("total", classes), ("base", BASE), ("rare", RARE)):
        mean = macro([row["auroc"] for row in rows if row["class"] in names])
        told[group] = {"auroc": mean.value, "defined": mean.defined, "classes": mean.total}
    return told


def _told(training: Training) -> dict[str, Any]:
    return {
        "epochs": training.epochs,
        "steps": training.steps,
        "kept_epoch": training.kept_epoch,
        "history": training.history,
    }


def _positive_patients(dataset: Dataset) -> dict[str, int]:
    """How many patients of the whole data set are positive for each class."""
    positive = (dataset.labels == 1) & dataset.mask
    return {
        name: len(np.unique(dataset.patients[positive[:, c]]))
        for c, name in enumerate(dataset.classes)
    }


def _left_out(dataset: Dataset) -> dict[str, Any]:
    """How many images were left out for which reason, and by name those that could not be read."""
    reasons: dict[str, int] = {}
    for reason in dataset.left_out.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    unreadable = [name for name, why in dataset.left_out.items() if why != "lateral view"]
    return {"reasons": reasons, "unreadable": unreadable}


@contextmanager
def _seeded(seed: tuple[int, ...], device: str) -> Iterator[None]:
    """torch's generator seeded inside the block and put back after it: no state leaks in or out."""
    devices = [torch.cuda.current_device()] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
        yield


class _Clock:
    """Seconds of each phase: `with clock("train"): ...`."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.phases[phase] = round(time.perf_counter() - started, 3)
