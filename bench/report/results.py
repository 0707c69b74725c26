"""The finished records of a study as arrays: one entry a row, a metric by run, fold and class."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ResultsError, UsageError
from bench.report.options import METRICS, Group, Options
from bench.runs.record import SCHEMA, digest, read_record
from bench.runs.trial import trials_folder


@dataclass(frozen=True)
class RowResults:
    """All trials of one row of one study under one prompt policy."""

    method: str
    label: str
    title: str
    classes: tuple[str, ...]
    runs: tuple[int, ...]
    values: np.ndarray
    """(runs, folds, classes) the metric, NaN where a class is undefined or the trial is not there;
    with one fold where a run has one value."""
    train_test: np.ndarray
    """(runs, folds, 2) images outside and inside the test fold; NaN where there is no trial."""
    positives: Mapping[str, int]
    """Positive images of each class in the test folds of the first run."""
    folders: Mapping[tuple[int, int], Path]
    """Of each finished trial, by run and fold."""
    told: Mapping[str, Any]
    """The first record: what is said under the table comes from it."""

    @property
    def key(self) -> tuple[str, str]:
        """Method and label, as in a study's rows."""
        return (self.method, self.label)

    @property
    def name(self) -> str:
        """What `--baseline` calls this row."""
        return f"{self.method}:{self.label}"

    def members(self, group: Group) -> np.ndarray:
        """(classes,) bool: which classes belong to a group."""
        return np.array([group.holds(name) for name in self.classes], dtype=bool)

    def by_class(self) -> np.ndarray:
        """(runs, classes) mean over the folds where the class is defined."""
        return nanmean(self.values, axis=1)

    def by_run(self, group: Group) -> tuple[np.ndarray, int, int]:
        """A group's metric in each run, how many classes are defined in every run, of how many.

        Of a class the mean over the folds where it is defined, then the mean over the classes that
        are defined in every run, so that runs average over the same classes.
        """
        members = self.members(group)
        by_class = self.by_class()[:, members]
        defined = ~np.isnan(by_class).any(axis=0)
        values = by_class[:, defined].mean(axis=1) if defined.any() else np.array([])
        return values, int(defined.sum()), int(members.sum())

    def by_fold(self, group: Group) -> np.ndarray:
        """(runs, folds) a group's metric in each trial, NaN where no class of it is defined."""
        return nanmean(self.values[:, :, self.members(group)], axis=2)


def load_results(results: Path, study: str, options: Options) -> list[RowResults]:
    """The rows of a study from its records, in the order of their names.

    Records of another partition (data, folds, seed) than the most common one are left out: they
    are leftovers of an earlier study in the same folder.

    Raises:
        ResultsError: no finished trial, or a metric that needs scores which are not there.
        UsageError: no such prompt policy in the records.
    """
    records = list(_records(trials_folder(results, study)))
    if not records:
        raise ResultsError(
            f"No finished trial in {results / study}. Run: bench run --method cxrcml --folds 5"
        )
    policies = records[0][1]["metrics"]
    if options.policy not in policies:
        raise UsageError(f"No scores for prompts '{options.policy}'; there are {[*policies]}.")
    partitions = Counter(_partition(record) for _, record in records)
    kept, _ = partitions.most_common(1)[0]
    rows: dict[tuple[str, str], list[tuple[Path, dict[str, Any]]]] = {}
    for folder, record in records:
        if _partition(record) == kept:
            key = (record["spec"]["method"], record["spec"]["row"])
            rows.setdefault(key, []).append((folder, record))
    return [_row(found, options) for _, found in sorted(rows.items())]


def studies(results: Path) -> list[str]:
    """Studies that have trials below a results folder, by name."""
    return sorted(path.parent.name for path in results.glob("*/trials") if path.is_dir())


def nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over the defined values; NaN, without a warning, where there are none."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    mean: np.ndarray = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def _records(trials: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Finished records with their folders, in the order of their names."""
    for path in sorted(trials.glob("*/run-*_fold-*/record.json")):
        folder = path.parent
        exported = not (folder / "scores.npz").exists()
        record = _exported(path) if exported else read_record(folder)
        if record is not None and record.get("status") == "done":
            yield folder, record


def _exported(path: Path) -> dict[str, Any] | None:
    """A record that was given away without its scores per image; its own digest has to fit."""
    try:
        record = json.loads(path.read_text())
        trusted = record["schema"] == SCHEMA and record["digest"] == digest(record)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if trusted else None


def _partition(record: Mapping[str, Any]) -> tuple[str, int, int]:
    spec = record["spec"]
    return (spec["fingerprint"], spec["folds"], spec["seed"])


def _row(found: list[tuple[Path, dict[str, Any]]], options: Options) -> RowResults:
    first = found[0][1]
    spec = first["spec"]
    classes = tuple(spec["classes"])
    runs = tuple(sorted({record["spec"]["run"] for _, record in found}))
    shape = (len(runs), spec["folds"])
    values = np.full((*shape, len(classes)), np.nan)
    train_test = np.full((*shape, 2), np.nan)
    positives = dict.fromkeys(classes, 0)
    for _, record in found:
        place = runs.index(record["spec"]["run"]), record["spec"]["fold"]
        entries = record["metrics"][options.policy]["classes"]
        values[place] = [_value(entry, options.metric) for entry in entries]
        test = record["split"]["test"]
        train_test[place] = record["data"]["images"] - test, test
        if place[0] == 0:
            for entry in entries:
                positives[entry["class"]] += entry["n_pos"]
    row = RowResults(
        method=spec["method"],
        label=spec["row"],
        title=spec["title"],
        classes=classes,
        runs=runs,
        values=values,
        train_test=train_test,
        positives=positives,
        folders={(r["spec"]["run"], r["spec"]["fold"]): folder for folder, r in found},
        told=first,
    )
    if METRICS[options.metric].cross_fitted:
        from bench.report.scores import cross_fitted

        row = replace(row, values=cross_fitted(row, options))
    few = first["data"]["positive_patients"]
    row.values[:, :, [few[name] < options.min_patients for name in classes]] = np.nan
    return row


def _value(entry: Mapping[str, Any], metric: str) -> float:
    """A class's metric as its record has it; NaN where undefined or not in the record."""
    value = entry.get("ap" if metric == "ap-ratio" else metric)
    if value is None:
        return float("nan")
    blind = entry["n_pos"] / (entry["n_pos"] + entry["n_neg"]) if metric == "ap-ratio" else 1.0
    return float(value / blind)
