"""One trial from its spec to its record: split, build, train, score, measure, write."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bench.data import Dataset
from bench.errors import BenchError, MethodError, TrialError
from bench.protocol.batches import Split
from bench.protocol.captions import meta_captions
from bench.protocol.folds import patient_folds
from bench.protocol.method import find_method
from bench.protocol.prompts import HEADLINE
from bench.protocol.trainer import Training, train
from bench.protocol.weights import Checkpoint, load_checkpoint
from bench.runs.clock import Clock
from bench.runs.costs import Meter
from bench.runs.external import Examiner
from bench.runs.keep import Keeper
from bench.runs.loggers import Logs
from bench.runs.measure import measure, told_of, told_of_weights
from bench.runs.provenance import provenance
from bench.runs.record import Writer, write_record
from bench.runs.resume import ResumeFile
from bench.runs.scoring import Encodings, arrays_beside, score
from bench.runs.trial import TrialSpec

VALID_FRACTION = 0.1


@dataclass(frozen=True)
class Outcome:
    """What the study is told when a trial ends; everything else is in the record."""

    status: str
    seconds: float
    total: float | None
    rare: float | None
    error: str | None
    note: str | None = None
    """What the user should know although the trial went on."""
    unlogged: str | None = None
    """Why a logger that was asked for does not have it all."""


class Ran(NamedTuple):
    """What a trial came to: what its record says, and its arrays."""

    told: dict[str, Any]
    scores: dict[str, np.ndarray]
    external: dict[str, dict[str, np.ndarray]]
    """Those of external data, by name."""
    kept: dict[str, dict[str, Writer]]
    """By what `--keep` asked for, its files."""


def perform(
    spec: TrialSpec,
    dataset: Dataset,
    device: str,
    results: Path,
    external: Sequence[Dataset] = (),
    loggers: Sequence[str] = (),
) -> Outcome:
    """Runs a trial and writes its record, finished or failed.

    Args:
        external: the data sets that `spec.external` speaks of.
        loggers: names of `bench.runs.loggers.NAMES`; they change nothing of the trial.

    A trial whose own code or loss fails is recorded as failed and reported in the outcome; an
    error of the results folder is raised, since no other trial could be kept either.
    """
    logs = Logs(spec, results, loggers)
    clock = Clock()
    meter = Meter(device)
    resume = ResumeFile(spec, results, device, clock.spent)
    record: dict[str, Any] = {"status": "failed", "id": spec.id, "spec": spec.as_dict()}
    ran: Ran | None = None
    error: str | None = None
    verdict = False
    try:
        with _seeded(spec.trial_seed, device):
            examiner = Examiner(spec, dataset, external, torch.device(device))
            ran = _run(examiner, logs.epoch, clock, resume)
        _assert_plain(ran.told)
        record |= {"status": "done", **ran.told}
    except Exception as failure:  # an adapter is anybody's code and may raise anything
        verdict = isinstance(failure, TrialError | MethodError)
        if isinstance(failure, BenchError) and not verdict:
            raise
        ran = None
        error = f"{type(failure).__name__}: {failure}"
        record |= {"error": error, "traceback": traceback.format_exc()}
    record |= {
        "cost": {
            **resume.cost(),
            **meter.read(),
        },
        "provenance": provenance(device),
    }
    logs.end(record)
    write_record(
        spec.folder(results),
        record,
        scores=None if ran is None else ran.scores,
        log=logs.entries,
        external=None if ran is None else ran.external,
        kept=None if ran is None else ran.kept,
    )
    # A verdict of the trial's own stays the same however often its end is repeated.
    if ran is not None or verdict:
        resume.discard()
    summary = record.get("metrics", {}).get(HEADLINE, {})
    return Outcome(
        status=record["status"],
        seconds=record["cost"]["seconds"],
        total=summary.get("total", {}).get("auroc"),
        rare=summary.get("rare", {}).get("auroc"),
        error=error,
        note=resume.started_over,
        unlogged=logs.failure,
    )


def _run(
    examiner: Examiner, log: Callable[[dict[str, Any]], None], clock: Clock, resume: ResumeFile
) -> Ran:
    spec, dataset, device = examiner.spec, examiner.dataset, examiner.device
    found = find_method(spec.method_reference)
    method = found.cls(found.cls.Config.from_dict(spec.config), _checkpoints(spec))
    table = patient_folds(
        dataset.labels,
        dataset.patients,
        n_folds=spec.folds,
        seed=spec.partition_seed,
        mask=dataset.mask,
    )
    captions = meta_captions(dataset.labels, dataset.mask, dataset.classes)
    texts = dataset.reports if method.config.text == "reports" else captions
    outside, held_out, test = table.train_valid_test(spec.fold, VALID_FRACTION)
    fit, held = _rows_to_train_on(spec, texts, outside, held_out)

    def part(rows: np.ndarray) -> Split:
        frame = method.frame if method.config.preprocessing == "own" else None
        return Split(dataset, rows, captions, texts, method.config.image_size, device, frame)

    with clock("build"):
        method.model = method.build(
            dataset.classes, tuple(texts[row] for row in (*fit, *held)), device
        )
    if spec.weights and method.weights == "random":
        raise MethodError(
            f"{found.name} was given weights and loaded none. Its build() has to read "
            "self.checkpoints and to say in self.weights what it loaded."
        )
    if spec.track == "released" and not method.complete:
        raise MethodError(
            f"--track released scores weights as they are, and these are not all of {found.name} "
            f"({method.weights}): the rest would be random. Give a file of the whole model, or "
            "train from these (without --track)."
        )
    examiner.refuse_fixed_classes(method)
    keeper = Keeper(spec, part, train=outside, test=test)
    keeper.as_built(method)
    resume.built(method)
    frozen = _encodings.of(method, spec) if spec.track == "released" else None
    training = Training()
    if spec.track == "trained":
        with clock("train"):
            training = train(method, part(fit), part(held), spec.trial_seed, log, resume)
    with clock("score"):
        scores = score(method, part(test), dataset.classes, frozen)
    labels, mask = dataset.labels[test], dataset.mask[test]
    with clock("measure"):
        metrics = {
            policy: measure(values, labels, mask, dataset.sources[test], dataset.classes)
            for policy, values in scores.items()
        }
    told = {
        "data": told_of(dataset),
        "split": {
            "digest": table.digest,
            "train": len(fit),
            "validation": len(held),
            "test": len(test),
            "without_text": int(len(outside) + len(held_out) - len(fit) - len(held))
            if spec.track == "trained"
            else 0,
            "train_patients": len(np.unique(dataset.patients[outside])),
            "test_patients": len(np.unique(dataset.patients[test])),
            "classes_not_in_every_fold": [dataset.classes[c] for c in table.uncovered],
        },
        "weights": method.weights,
        "training": _told(training),
        "diagnostics": method.diagnostics(),
        "metrics": metrics,
    }
    if spec.weights:
        told["checkpoints"] = told_of_weights(spec, found.cls.card)
    arrays: dict[str, dict[str, np.ndarray]] = {}
    if spec.external:
        with clock("external"):
            read = [texts[row] for row in (*fit, *held)]
            told["external"], arrays = examiner.examine(method, read, frozen)
    beside = arrays_beside(dataset, test, labels, mask)
    return Ran(told, scores | beside, arrays, keeper.as_trained(method))


def _rows_to_train_on(
    spec: TrialSpec, texts: tuple[str, ...], outside: np.ndarray, held_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The training and validation images that are trained on: none of a released row.

    An image without a text cannot be contrasted; it is still scored when it is in the test fold.
    """
    if spec.track == "released":
        return outside[:0], held_out[:0]
    with_text = np.array([bool(text) for text in texts])
    fit, held = (rows[with_text[rows]] for rows in (outside, held_out))
    if len(fit) < 2:
        raise MethodError(
            f"Only {len(fit)} of {len(outside)} training images of fold {spec.fold} have a "
            f"text to train on (text={spec.config['text']}). Try --set text=meta."
        )
    return fit, held


def _checkpoints(spec: TrialSpec) -> tuple[Checkpoint, ...]:
    """The weights of the spec, read and compared with their digests."""
    read = tuple(_read_once(reference) for reference in spec.weights_references)
    for checkpoint, digest in zip(read, spec.weights, strict=True):
        if checkpoint.digest != digest:
            raise MethodError(
                f"{checkpoint.reference} has changed since the study was planned: its SHA-256 is "
                f"{checkpoint.digest[:12]}..., not {digest[:12]}... Run again to plan it anew."
            )
    return read


# One is kept: the trials of a row come one after the other and read the same weights.
_read_once = lru_cache(maxsize=1)(load_checkpoint)
# Of the released row that was scored last.
_encodings = Encodings()


def _assert_plain(told: dict[str, Any]) -> None:
    """A record is JSON without NaN: what a method says of itself must be plain, finite values."""
    try:
        json.dumps(told, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MethodError(
            f"The record of the trial is not plain and finite ({error}); look at diagnostics()."
        ) from error


def _told(training: Training) -> dict[str, Any]:
    return {
        "epochs": training.epochs,
        "steps": training.steps,
        "kept_epoch": training.kept_epoch,
        "history": training.history,
    }


@contextmanager
def _seeded(seed: tuple[int, ...], device: str) -> Iterator[None]:
    """torch's generator seeded inside the block and put back after it: no state leaks in or out."""
    devices = [torch.cuda.current_device()] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
        yield
