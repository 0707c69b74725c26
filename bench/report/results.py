"""The finished records of a study as arrays: one entry a row, a metric by run, fold and class."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ResultsError, UsageError
from bench.report.external import on_external
from bench.report.options import METRICS, Group, Options
from bench.runs.record import SCHEMA, SCORES, digest, external_file, read_record
from bench.runs.record_form import fault
from bench.runs.trial import identity_of, place_of, trials_folder

Found = tuple[Path, dict[str, Any]]


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
    """(runs, folds, 2) images outside and inside the test fold; NaN where there is no trial, or no
    such parts (external data)."""
    positives: Mapping[str, int | None]
    """Positive images of each class in the test folds of the first run; None where a bundle
    withheld them."""
    folders: Mapping[tuple[int, int], Path]
    """Of each finished trial, by run and fold."""
    told: Mapping[str, Any]
    """The first record: what is said under the table comes from it."""
    left_out: int
    """Finished trials that were made by other code, settings or on another partition."""
    without_policy: tuple[str, ...] = ()
    """Titles of the study's other rows, which have no scores under these prompts."""

    @property
    def complete(self) -> tuple[int, ...]:
        """Runs of which every fold is there."""
        folds = range(self.train_test.shape[1])
        return tuple(r for r in self.runs if all((r, fold) in self.folders for fold in folds))

    @property
    def key(self) -> tuple[str, str]:
        """Method and label, as in a study's rows."""
        return (self.method, self.label)

    @property
    def track(self) -> str:
        """`trained`, or `released` where published weights are scored as they are."""
        return str(self.told["spec"]["track"])

    @property
    def declared(self) -> tuple[str, str]:
        """Method and label of the study file's row that this is one of, whatever weights a trained
        row started from; a released row is none of them."""
        if self.track == "released" or not self.told["spec"].get("weights"):
            return self.key
        return (self.method, self.label.partition(",")[2] or "default")

    @property
    def name(self) -> str:
        """What `--baseline` calls this row."""
        return f"{self.method}:{self.label}"

    @property
    def external(self) -> Mapping[str, Any] | None:
        """What is told of external data where the values are of these, not of test folds."""
        return self.told.get("on")

    @property
    def scores_file(self) -> str:
        """The file of each trial that holds the scores behind the values."""
        return SCORES if self.external is None else external_file(self.external["name"])

    def members(self, group: Group) -> np.ndarray:
        """(classes,) bool: which classes belong to a group."""
        unseen = () if self.external is None else self.external["unseen"]
        holds = [group.holds(name, unseen=name in unseen) for name in self.classes]
        return np.array(holds, dtype=bool)

    def by_class(self) -> np.ndarray:
        """(runs, classes) mean over the folds where the class is defined.

        Of the complete runs; of all there are where none is complete.
        """
        whole = [self.runs.index(run) for run in self.complete or self.runs]
        return nanmean(self.values[whole], axis=1)

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

    Left out are records of another partition (data, folds, seed) than most, and of a row those of
    another version (settings, code, prompts) than most, the newer one where it is a draw: they
    are leftovers of earlier work in the same folder, and a mean over both would be of nothing.

    Raises:
        ResultsError: no finished trial, or a metric that needs scores which are not there.
        UsageError: no such prompt policy or external data in the records.
    """
    records = list(_records(trials_folder(results, study)))
    if not records:
        raise ResultsError(
            f"No finished trial in {results / study}. Run: bench run --method cxrcml --folds 5"
        )
    if options.on is not None:
        records = on_external(records, options.on, study)
    with_policy = [found for found in records if options.policy in found[1]["metrics"]]
    if not with_policy:
        policies = sorted({policy for _, record in records for policy in record["metrics"]})
        raise UsageError(f"No scores for prompts '{options.policy}'; there are {policies}.")
    titles = [{record["spec"]["title"] for _, record in found} for found in (records, with_policy)]
    without = tuple(sorted(titles[0] - titles[1]))
    records = with_policy
    partitions = Counter(_partition(record) for _, record in records)
    kept, _ = partitions.most_common(1)[0]
    rows: dict[tuple[str, str], list[Found]] = {}
    for folder, record in records:
        if _partition(record) == kept:
            key = (record["spec"]["method"], record["spec"]["row"])
            rows.setdefault(key, []).append((folder, record))
    digests = _digests([record for found in rows.values() for _, record in found])
    kept_rows = ((_one_version(found, digests), len(found)) for _, found in sorted(rows.items()))
    rows_found = [_row(found, of_all - len(found), options) for found, of_all in kept_rows if found]
    return [replace(row, without_policy=without) for row in _told_apart(rows_found)]


def _told_apart(rows: list[RowResults]) -> list[RowResults]:
    """Rows of one title (two files of weights for one method, say) get their labels behind it."""
    counted = Counter(row.title for row in rows)
    return [
        replace(row, title=f"{row.title} [{row.label}]") if counted[row.title] > 1 else row
        for row in rows
    ]


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
    """Finished records with their folders, in the order of their names.

    A record in a folder that is not its own (a copy somebody kept) is not a trial of the study.
    """
    for path in sorted(trials.glob("*/run-*_fold-*/record.json")):
        folder = path.parent
        exported = not (folder / "scores.npz").exists()
        record = exported_record(path) if exported else read_record(folder)
        if record is None or record.get("status") != "done":
            continue
        if (why := fault(record)) is not None:
            raise ResultsError(
                f"{path} is a finished record without what a table needs ({why}). Move the folder "
                "away and run the trial again."
            )
        if folder == trials / place_of(record["spec"]):
            yield folder, record


def exported_record(path: Path) -> dict[str, Any] | None:
    """A record that was given away without its scores per image; its own digest has to fit."""
    try:
        record = json.loads(path.read_text())
        trusted = record["schema"] == SCHEMA and record["digest"] == digest(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if trusted else None


def _partition(record: Mapping[str, Any]) -> tuple[Any, ...]:
    spec = record["spec"]
    of_external = (record["on"]["fingerprint"], *spec["classes"]) if "on" in record else ()
    return (spec["fingerprint"], spec["folds"], spec["seed"], *of_external)


def _digests(records: Iterable[Mapping[str, Any]]) -> dict[int, str | None]:
    """Of each run the fold table that most of its trials were made with."""
    by_run: dict[int, Counter[str | None]] = {}
    for record in records:
        by_run.setdefault(record["spec"]["run"], Counter())[record["split"].get("digest")] += 1
    return {run: counted.most_common(1)[0][0] for run, counted in by_run.items()}


def _one_version(found: list[Found], digests: Mapping[int, str | None]) -> list[Found]:
    """The records that were made by one version of a row, on the common partition."""
    versions: dict[str, list[Found]] = {}
    for folder, record in found:
        if record["split"].get("digest") == digests[record["spec"]["run"]]:
            of_trial = {"run": None, "fold": None}
            version = json.dumps(identity_of(record["spec"]) | of_trial, sort_keys=True)
            versions.setdefault(version, []).append((folder, record))

    def newest(members: list[Found]) -> str:
        return max(str(r.get("provenance", {}).get("finished", "")) for _, r in members)

    return max(versions.values(), key=lambda members: (len(members), newest(members)), default=[])


def _row(found: list[Found], left_out: int, options: Options) -> RowResults:
    first = found[0][1]
    spec = first["spec"]
    classes = tuple(spec["classes"])
    runs = tuple(sorted({record["spec"]["run"] for _, record in found}))
    shape = (len(runs), spec["folds"])
    values = np.full((*shape, len(classes)), np.nan)
    train_test = np.full((*shape, 2), np.nan)
    positives: dict[str, int | None] = dict.fromkeys(classes, 0)
    for _, record in found:
        place = runs.index(record["spec"]["run"]), record["spec"]["fold"]
        entries = record["metrics"][options.policy]["classes"]
        values[place] = [_value(entry, options.metric) for entry in entries]
        test = record["split"]["test"]
        if "on" not in record:
            train_test[place] = record["data"]["images"] - test, test
        # External data are the same for every fold's model; test folds add up to the data.
        if place[0] == 0 and (place[1] == first["spec"]["fold"] or "on" not in first):
            for entry in entries:
                before, here = positives[entry["class"]], entry["n_pos"]
                known = before is not None and here is not None
                positives[entry["class"]] = before + here if known else None
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
        left_out=left_out,
    )
    if METRICS[options.metric].cross_fitted:
        from bench.report.scores import cross_fitted

        row = replace(row, values=cross_fitted(row, options))
    few = first["data"]["positive_patients"]
    row.values[:, :, [(few[name] or 0) < options.min_patients for name in classes]] = np.nan
    return row


def _value(entry: Mapping[str, Any], metric: str) -> float:
    """A class's metric as its record has it; NaN where undefined or not in the record."""
    value = entry.get("ap" if metric == "ap-ratio" else metric)
    if value is None or (metric == "ap-ratio" and entry["n_pos"] is None):
        return float("nan")
    blind = entry["n_pos"] / (entry["n_pos"] + entry["n_neg"]) if metric == "ap-ratio" else 1.0
    return float(value / blind)
