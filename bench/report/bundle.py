"""`bench export`: a study's results as one file that may leave the house. See docs/sharing.md.

Only what `bundle_schema` lists leaves, and each part is picked by name. Three rules make it hold:

- Names leave where they are public: the 40 classes, known data sets, the methods of this program
  with their settings and titles. Any other name gets a stand-in, unless `with_names`.
- Of real images a cell (a class in a test fold) with fewer than 5 patients who have the finding, or
  who have not, is withheld, and a class with fewer than 10 in the data altogether. Counts of
  images leave for a class only where none of its cells is withheld, or the counts of another run's
  folds would tell what is missing.
- Values of real images are rounded to 4 decimals. An average precision over five findings, given in
  full, can be solved for their ranks.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ResultsError
from bench.report.bundle_names import Names, code_of, label_of, settings_of, title_of
from bench.report.bundle_schema import (
    FORMAT,
    PACKAGES,
    POLICIES,
    SCHEMA,
    VERSION,
    canonical,
    digest_of,
    refuse_nonsense,
    refuse_unlike,
)
from bench.report.few import PATIENTS_A_CELL, enough_patients
from bench.report.options import Options
from bench.report.results import RowResults, load_results
from bench.report.tables import ordered_rows
from bench.runs.record import SCORES, read_scores, replacing
from bench.runs.study import declared_rows
from bench.runs.trial import identity_of

PATIENTS_A_CLASS, DECIMALS = 10, 4
_METRICS = ("auroc", "auroc_pooled", "ap")


def make_bundle(results: Path, study: str, names: Names) -> dict[str, Any]:
    """The bundle of a study's finished trials, those that its tables show.

    Raises:
        ResultsError: no finished trial, trials that were themselves imported, real images without
            the scores by which patients are counted, or a record that holds what none may.
    """
    declared = declared_rows(results, study)
    rows = ordered_rows(load_results(results, study, Options()), declared, study, "runs")
    first = rows[0].told
    records = {row.key: _records(row) for row in rows}
    every = [record for found in records.values() for _, record in found]
    protected = not all(record["data"]["synthetic"] is True for record in every)
    guard = _Guard(first, records if protected else {}, protected)
    bundle: dict[str, Any] = {
        "format": FORMAT,
        "schema": VERSION,
        "program": _program(),
        "study": "",
        "folds": first["spec"]["folds"],
        "seed": first["spec"]["seed"],
        "data": {
            "fingerprint": first["spec"]["fingerprint"],
            "name": names.of("data", first["data"]["name"]),
            "synthetic": not protected,
            "images": first["data"]["images"],
            "patients": first["data"]["patients"],
            "sources": [names.of("source", name) for name in first["data"]["sources"]],
            "classes": [
                {"class": names.of("class", name), "positive_patients": guard.patients(c)}
                for c, name in enumerate(first["spec"]["classes"])
            ],
        },
        "withheld_below": {
            "patients_a_cell": PATIENTS_A_CELL if protected else 0,
            "patients_a_class": PATIENTS_A_CLASS if protected else 0,
        },
        "decimals": DECIMALS if protected else None,
        "rows": [_row(row, records[row.key], names, guard) for row in rows],
    }
    bundle["study"] = _study(study, bundle, names)
    bundle["digest"] = digest_of(bundle)
    refuse_unlike(bundle)
    refuse_nonsense(bundle)
    return bundle


def _records(row: RowResults) -> list[tuple[Path, dict[str, Any]]]:
    found = []
    for _, folder in sorted(row.folders.items()):
        record = json.loads((folder / "record.json").read_text())
        if "origin" in record:
            raise ResultsError(
                f"{folder} was imported. Pass on the bundle it came in, or export where it was run."
            )
        found.append((folder, record))
    return found


class _Guard:
    """What of a study's numbers may leave."""

    def __init__(
        self,
        first: Mapping[str, Any],
        records: Mapping[Any, Sequence[tuple[Path, dict[str, Any]]]],
        protected: bool,
    ) -> None:
        self._protected = protected
        positive = [first["data"]["positive_patients"][name] for name in first["spec"]["classes"]]
        self._positive = np.array(positive, dtype=int)
        least = PATIENTS_A_CLASS if protected else 0
        self._told = (self._positive >= least) & (
            first["data"]["patients"] - self._positive >= least
        )
        self._cells: dict[str, np.ndarray] = {}
        for found in records.values():
            for folder, record in found:
                self._cells[record["id"]] = self._told & _large_enough(folder)
        counted = [self._told, *self._cells.values()]
        self._counted = np.logical_and.reduce(counted)

    def patients(self, c: int) -> int | None:
        """Patients of the data set who have a finding."""
        return int(self._positive[c]) if self._told[c] else None

    def count(self, value: int, c: int) -> int | None:
        """Images of a test fold with or without a finding."""
        return value if self._counted[c] else None

    def value(self, value: float | None, c: int, trial: str) -> float | None:
        """A metric of a cell."""
        if value is None or not self._cells.get(trial, self._told)[c]:
            return None
        return round(value, DECIMALS) if self._protected else value


def _large_enough(folder: Path) -> np.ndarray:
    """(C,) bool: at least 5 patients of the test fold have the finding, and 5 have not."""
    if not (folder / SCORES).exists():
        raise ResultsError(
            f"{folder} has no {SCORES}, by which the patients behind a number are counted. Export "
            "real data where they were run."
        )
    arrays = read_scores(folder)
    return enough_patients(arrays["labels"], arrays["mask"], arrays["patients"])


def _row(
    row: RowResults,
    records: Sequence[tuple[Path, dict[str, Any]]],
    names: Names,
    guard: _Guard,
) -> dict[str, Any]:
    spec, checkpoints = row.told["spec"], row.told.get("checkpoints") or {}
    config = settings_of(spec["config"], names)
    method = re.sub(r"[^\w.-]", "_", names.of("method", spec["method"]))
    label = label_of(spec["row"], names)
    return {
        "method": method,
        "label": label,
        "title": title_of(spec["title"], spec["row"], method, label, names),
        "code": code_of(spec["method_code"]),
        "track": spec["track"],
        "protocol": spec.get("protocol", 1),
        "prompts": spec["prompts"],
        "config": config,
        "settings_withheld": len(spec["config"]) - len(config),
        "weights": [
            {"sha256": file["sha256"], "name": names.of("weights", file["on_card"] or file["name"])}
            for file in checkpoints.get("files", ())
        ],
        "weights_seen_known": checkpoints.get("seen") is not None,
        "weights_seen": [names.of("data", name) for name in checkpoints.get("seen") or ()],
        "weights_seen_by": checkpoints.get("seen_by"),
        "trials": [_trial(record, guard) for _, record in records],
    }


def _trial(record: Mapping[str, Any], guard: _Guard) -> dict[str, Any]:
    split, made = record["split"], record.get("provenance", {})
    trial = hashlib.sha256(json.dumps(identity_of(record["spec"]), sort_keys=True).encode())
    metrics = {p: told["classes"] for p, told in record["metrics"].items() if p in POLICIES}
    counted = next(iter(metrics.values()))

    def column(entries: Sequence[Mapping[str, Any]], key: str) -> list[float | None]:
        return [guard.value(entry.get(key), c, record["id"]) for c, entry in enumerate(entries)]

    entry = {
        "id": trial.hexdigest()[:16],
        "run": record["spec"]["run"],
        "fold": record["spec"]["fold"],
        "record": record["digest"],
        "scores": record.get("scores_sha256"),
        "train": split["train"],
        "validation": split["validation"],
        "test": split["test"],
        "train_patients": split.get("train_patients"),
        "test_patients": split.get("test_patients"),
        "partition": split.get("digest"),
        "n_pos": [guard.count(cell["n_pos"], c) for c, cell in enumerate(counted)],
        "n_neg": [guard.count(cell["n_neg"], c) for c, cell in enumerate(counted)],
        "metrics": {
            policy: {key: column(entries, key) for key in _METRICS}
            for policy, entries in metrics.items()
        },
        **_made_with(made),
    }
    return entry | {"digest": digest_of(entry)}


def _made_with(made: Mapping[str, Any]) -> dict[str, Any]:
    """Versions and kind of device; what is not a version is left out."""
    trial_schema = SCHEMA["rows"][0]["trials"][0]  # type: ignore[index]

    def fitting(value: Any, holds: Callable[[Any], bool]) -> Any:
        return value if holds(value) else None

    packages, git = made.get("packages") or {}, made.get("git") or {}
    device = made.get("device")
    return {
        "python": fitting(made.get("python"), trial_schema["python"].holds),
        "device": None if device is None else "cpu" if device == "cpu" else "gpu",
        "packages": {
            name: fitting(packages.get(name), trial_schema["packages"][name].holds)
            for name in PACKAGES
        },
        "commit": fitting(git.get("commit"), trial_schema["commit"].holds),
    }


def _study(study: str, bundle: Mapping[str, Any], names: Names) -> str:
    """The study's name where names leave; else what it would be called, from what has left."""
    if names.with_names and SCHEMA["study"].holds(study):  # type: ignore[attr-defined]
        return study
    first = bundle["rows"][0]
    kind = "released" if first["track"] == "released" else first["config"].get("preset", "own")
    parts = [bundle["data"]["name"], kind]
    parts += [f"folds{bundle['folds']}"] if bundle["folds"] != 5 else []
    parts += [f"seed{bundle['seed']}"] if bundle["seed"] else []
    return re.sub(r"[^A-Za-z0-9._-]", "_", "-".join(parts))


def _program() -> str | None:
    try:
        return version("cxr-bench")
    except PackageNotFoundError:
        return None


def write_bundle(bundle: Mapping[str, Any], out: Path) -> Path:
    """Writes a bundle; same bundle, same bytes.

    Raises:
        ResultsError: the file cannot be written.
    """
    try:
        with replacing(out) as temporary:
            temporary.write_text(canonical(bundle) + "\n")
    except OSError as error:
        raise ResultsError(f"Cannot write {out}: {error.strerror or error}.") from error
    return out
