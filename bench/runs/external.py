"""External validation: other data that every model of a study scores beside its test fold.

Of such data the models are asked for the classes that the training data label too (shared) and, by
prompts alone, for those that the user names and the training data do not label (unseen). Every
image with a label of one of them is scored by every fold's model, and nothing of the data but their
pictures reaches a method.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bench.classes import spelled
from bench.data.dataset import Dataset, prepare_dataset
from bench.errors import MethodError, UsageError, unknown
from bench.protocol.batches import EVALUATION_BATCH, Split
from bench.protocol.method import Method
from bench.protocol.prompts import prompts_digest
from bench.runs.measure import measure, told_of
from bench.runs.scoring import Encodings, arrays_beside, score
from bench.runs.trial import ExternalSet, TrialSpec

_AT_ONCE = 32 * EVALUATION_BATCH  # images in memory beside the training data


class Opened(NamedTuple):
    """An external set with the folder of its store."""

    store: Path
    spec: ExternalSet


def open_external(
    asked: Sequence[str],
    wanted: Sequence[str],
    dataset: Dataset,
    size: int,
    say: Callable[[str], None],
    *,
    skip_unreadable: bool = False,
    jobs: int = 1,
) -> list[Opened]:
    """The external sets of a study, by name.

    Args:
        asked: what `--test-data` said, each.
        wanted: what `--classes` named: to be asked although `dataset` does not label it.
        dataset: the training data.
        size: side in pixels at which files are stored.

    Raises:
        UsageError: data or classes that cannot be meant, or images smaller than trained on.
        DataError: the data cannot be used.
    """
    if wanted and not asked:
        raise UsageError("--classes names classes of external data; give these with --test-data.")
    found: dict[str, Opened] = {}
    known: list[str] = []
    for data in asked:
        say(f"Opening {data} ...")
        store, other = prepare_dataset(
            data, size, skip_unreadable=skip_unreadable, jobs=jobs, tell=say
        )
        name = name_of_set(other, data)
        if name in found:
            raise UsageError(f"--test-data: two sets are called {name}. Give one at a time.")
        _refuse_unfit(data, other, dataset, size)
        spec = _spec(name, data, other, wanted, dataset)
        known += [c for c in _labelled(other) if c not in known]
        found[name] = Opened(store, spec)
        say(_said(spec, other, dataset, wanted))
    for name in wanted:
        if name not in known:
            raise UsageError(unknown("class of --test-data", name, known))
    return [found[name] for name in sorted(found)]


def name_of_set(dataset: Dataset, data: str) -> str:
    """What a data set is called in file names: its name, and the options of a phantom."""
    parts = [dataset.name]
    if data.startswith("phantom:"):
        parts += data.removeprefix("phantom:").replace("=", "").split(",")
    return re.sub(r"[^A-Za-z0-9._-]", "_", "-".join(parts))


def _refuse_unfit(data: str, other: Dataset, dataset: Dataset, size: int) -> None:
    if other.fingerprint == dataset.fingerprint:
        raise UsageError(
            f"--test-data {data} is what is trained on; its test folds are scored anyway."
        )
    needed = min(size, dataset.size)
    if other.size < needed:
        raise UsageError(
            f"--test-data {data} is stored at {other.size} pixels, and the models are trained at "
            f"{needed}. Prepare or draw it at {needed} or more (size={needed})."
        )


def _spec(
    name: str, data: str, other: Dataset, wanted: Sequence[str], dataset: Dataset
) -> ExternalSet:
    trained = _labelled(dataset)
    there = _labelled(other)
    shared = tuple(c for c in dataset.classes if c in trained and c in there)
    unseen = tuple(c for c in there if c in wanted and c not in trained)
    if not shared and not unseen:
        raise UsageError(
            f"--test-data {data} labels no class that {dataset.name} labels. It labels "
            f"{', '.join(there[:8]) or 'nothing'}; name what to ask by prompts with --classes."
        )
    digest = prompts_digest((*shared, *unseen))
    return ExternalSet(name, data, other.fingerprint, shared, unseen, digest)


def _labelled(dataset: Dataset) -> list[str]:
    """Classes of which any image of the data set has a label, in its order."""
    return [name for c, name in enumerate(dataset.classes) if dataset.mask[:, c].any()]


def _said(spec: ExternalSet, other: Dataset, dataset: Dataset, wanted: Sequence[str]) -> str:
    """Counts, what is asked, and what of the data's classes is not."""
    rows = rows_asked(spec, other)
    patients = len(np.unique(other.patients[rows]))
    told = f"Also scored: {spec.name}, {len(rows)} images of {patients} patients; "
    told += f"{len(spec.shared)} classes shared with {dataset.name}"
    if spec.unseen:
        told += f"; unseen, asked by prompts: {', '.join(spec.unseen)}"
    not_unseen = [name for name in wanted if name in spec.shared]
    if not_unseen:
        told += f"; named and not unseen, since {dataset.name} labels them: {', '.join(not_unseen)}"
    left = [name for name in _labelled(other) if name not in spec.classes]
    if left:
        more = ", ..." if len(left) > 6 else ""
        told += f"; not asked (--classes): {', '.join(left[:6])}{more}"
    both = _ids_in_both(other, dataset)
    if both and not other.synthetic:
        told += f"; {both} patient ids are in both data sets: see that they are not the same people"
    return f"{told}."


def rows_asked(spec: ExternalSet, other: Dataset) -> np.ndarray:
    """Rows of the images with a label of any class that is asked."""
    columns = [other.classes.index(name) for name in spec.classes]
    rows: np.ndarray = np.flatnonzero(other.mask[:, columns].any(axis=1))
    return rows


@dataclass(frozen=True)
class Examiner:
    """Asks a trial's model about its external sets."""

    spec: TrialSpec
    dataset: Dataset
    """The training data."""
    others: Sequence[Dataset]
    """The external sets of the spec, in any order."""
    device: torch.device

    def refuse_fixed_classes(self, method: Method) -> None:
        """Tries unseen classes on two images before anything is trained for them.

        Raises:
            MethodError: the method cannot be asked for them.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        for external, other in self._pairs():
            if not external.unseen:
                continue
            rows = rows_asked(external, other)[:2]
            try:
                with torch.random.fork_rng(devices=devices):
                    score(method, self._part(method, other, rows), external.classes)
            except Exception as error:  # an adapter is anybody's code and may raise anything
                raise MethodError(
                    f"{self.spec.method} cannot be asked for classes that were not trained on "
                    f"({', '.join(external.unseen)}). Its classes or its words are fixed in "
                    "training; leave out --classes, or take a method or weights that read any "
                    f"text. It said: {type(error).__name__}: {error}"
                ) from error

    def examine(
        self, method: Method, texts: Sequence[str], frozen: Encodings | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
        """By the name of each set what the record says of it, and its arrays.

        Args:
            texts: what the model was trained on, for the words of unseen classes in it.
            frozen: where encoded images are kept of a model that nothing trains.

        Raises:
            MethodError: scores that cannot be ranked.
        """
        told: dict[str, Any] = {}
        arrays: dict[str, dict[str, np.ndarray]] = {}
        for external, other in self._pairs():
            rows = rows_asked(external, other)
            columns = [other.classes.index(name) for name in external.classes]
            labels, mask = other.labels[rows][:, columns], other.mask[rows][:, columns]
            scores = self._scores(method, other, rows, external.classes, frozen)
            beside = arrays_beside(other, rows, labels, mask)
            arrays[external.name] = scores | beside
            told[external.name] = self._told(external, other, scores, beside, texts)
        return told, arrays

    def _pairs(self) -> list[tuple[ExternalSet, Dataset]]:
        by_fingerprint = {other.fingerprint: other for other in self.others}
        return [(external, by_fingerprint[external.fingerprint]) for external in self.spec.external]

    def _part(self, method: Method, other: Dataset, rows: np.ndarray) -> Split:
        nothing = ("",) * len(other)
        # At the side the model was trained at, which small training data hold below image_size.
        side = min(method.config.image_size, self.dataset.size)
        frame = method.frame if method.config.preprocessing == "own" else None
        return Split(other, rows, nothing, nothing, side, self.device, frame)

    def _scores(
        self,
        method: Method,
        other: Dataset,
        rows: np.ndarray,
        classes: Sequence[str],
        frozen: Encodings | None,
    ) -> dict[str, np.ndarray]:
        starts = range(0, len(rows), _AT_ONCE)
        blocks = (self._part(method, other, rows[start : start + _AT_ONCE]) for start in starts)
        parts = [score(method, block, classes, frozen) for block in blocks]
        return {policy: np.concatenate([part[policy] for part in parts]) for policy in parts[0]}

    def _told(
        self,
        external: ExternalSet,
        other: Dataset,
        scores: dict[str, np.ndarray],
        beside: dict[str, np.ndarray],
        texts: Sequence[str],
    ) -> dict[str, Any]:
        sources, shared = other.sources[beside["rows"]], len(external.shared)

        def measured(policy: str, columns: slice) -> dict[str, Any]:
            values, labels, mask = (
                part[:, columns] for part in (scores[policy], beside["labels"], beside["mask"])
            )
            return measure(values, labels, mask, sources, external.classes[columns])

        unseen = {policy: measured(policy, slice(shared, None)) for policy in scores}
        return {
            "data": told_of(other),
            "scored": len(sources),
            "scored_patients": len(np.unique(beside["patients"])),
            "patient_ids_in_both": _ids_in_both(other, self.dataset),
            "unseen_in_texts": {name: _naming(name, texts) for name in external.unseen},
            "metrics": {policy: measured(policy, slice(shared)) for policy in scores},
            "unseen_metrics": {
                policy: {key: told[key] for key in ("classes", "total")}
                for policy, told in unseen.items()
            },
        }


def _ids_in_both(other: Dataset, dataset: Dataset) -> int:
    """Patient ids that two data sets share, which are the same people only if both say so."""
    return len(np.intersect1d(dataset.patients, other.patients))


def _naming(name: str, texts: Sequence[str]) -> int:
    """How many texts hold the name of a class as it is asked for, in any case."""
    words = re.compile(rf"\b{re.escape(spelled(name))}\b", re.IGNORECASE)
    return sum(words.search(text) is not None for text in texts)
