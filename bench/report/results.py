"""The finished records of a study as arrays: one entry a row, with AUC by run, fold and class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.classes import BASE, RARE
from bench.errors import ResultsError, UsageError
from bench.runs.record import read_records
from bench.runs.trial import trials_folder

GROUPS = ("total", "base", "rare")


@dataclass(frozen=True)
class RowResults:
    """All trials of one row of one study under one prompt policy."""

    method: str
    label: str
    title: str
    track: str
    classes: tuple[str, ...]
    runs: tuple[int, ...]
    auc: np.ndarray
    """(runs, folds, classes), NaN where a class is undefined or the trial is not there."""
    train_test: np.ndarray
    """(folds, 2) mean number of images outside and inside the test fold."""
    finished: int
    told: Mapping[str, Any]
    """The first record: what is said under the table comes from it."""

    @property
    def key(self) -> tuple[str, str]:
        """Method and label, as in a study's rows."""
        return (self.method, self.label)

    def members(self, group: str) -> np.ndarray:
        """(classes,) bool: which classes belong to total, base or rare."""
        names = {"total": self.classes, "base": BASE, "rare": RARE}[group]
        return np.array([name in names for name in self.classes])

    def by_run(self, group: str) -> tuple[np.ndarray, int, int]:
        """Group AUC of each run, how many classes are defined in every run, and how many there are.

        Of a class the mean over the folds where it is defined, then the mean over the classes that
        are defined in every run, so that runs average over the same classes.
        """
        members = self.members(group)
        by_class = _nanmean(self.auc[:, :, members], axis=1)
        defined = ~np.isnan(by_class).any(axis=0)
        values = by_class[:, defined].mean(axis=1) if defined.any() else np.array([])
        return values, int(defined.sum()), int(members.sum())

    def by_fold(self, group: str) -> np.ndarray:
        """(runs, folds) group AUC of each trial, NaN where no class of the group is defined."""
        return _nanmean(self.auc[:, :, self.members(group)], axis=2)


def load_results(results: Path, study: str, policy: str, min_patients: int = 1) -> list[RowResults]:
    """The rows of a study from its records, in the order of their names.

    Args:
        min_patients: classes with fewer positive patients in the whole data set are undefined.

    Records of another partition (data, folds, seed) than the most common one are left out: they
    are leftovers of an earlier study in the same folder.

    Raises:
        ResultsError: no finished trial.
        UsageError: no such prompt policy in the records.
    """
    records = list(read_records(trials_folder(results, study)))
    if not records:
        raise ResultsError(
            f"No finished trial in {results / study}. Run: bench run --method cxrcml --folds 5"
        )
    if policy not in records[0]["metrics"]:
        raise UsageError(f"No scores for prompts '{policy}'; there are {[*records[0]['metrics']]}.")
    partitions = Counter(_partition(record) for record in records)
    kept, _ = partitions.most_common(1)[0]
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        if _partition(record) == kept:
            rows.setdefault((record["spec"]["method"], record["spec"]["row"]), []).append(record)
    return [_row(found, policy, min_patients) for _, found in sorted(rows.items())]


def studies(results: Path) -> list[str]:
    """Studies that have trials below a results folder, by name."""
    return sorted(path.parent.name for path in results.glob("*/trials") if path.is_dir())


def _partition(record: Mapping[str, Any]) -> tuple[str, int, int]:
    spec = record["spec"]
    return (spec["fingerprint"], spec["folds"], spec["seed"])


def _row(records: list[dict[str, Any]], policy: str, min_patients: int) -> RowResults:
    first = records[0]
    spec = first["spec"]
    classes = tuple(spec["classes"])
    runs = tuple(sorted({record["spec"]["run"] for record in records}))
    auc = np.full((len(runs), spec["folds"], len(classes)), np.nan)
    sizes: list[list[tuple[int, int]]] = [[] for _ in range(spec["folds"])]
    for record in records:
        run, fold = runs.index(record["spec"]["run"]), record["spec"]["fold"]
        values = [entry["auroc"] for entry in record["metrics"][policy]["classes"]]
        auc[run, fold] = [np.nan if value is None else value for value in values]
        test = record["split"]["test"]
        sizes[fold].append((record["data"]["images"] - test, test))
    enough = first["data"]["positive_patients"]
    auc[:, :, [enough[name] < min_patients for name in classes]] = np.nan
    means = [np.mean(pairs, axis=0) if pairs else (np.nan, np.nan) for pairs in sizes]
    return RowResults(
        method=spec["method"],
        label=spec["row"],
        title=spec["title"],
        track=spec["track"],
        classes=classes,
        runs=runs,
        auc=auc,
        train_test=np.array(means, dtype=float),
        finished=len(records),
        told=first,
    )


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over the defined values; NaN, without a warning, where there are none."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    mean: np.ndarray = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean
