"""The record of a trial on disk: written once, atomically, `record.json` last.

    record.json   spec, metrics, training history, costs, provenance; `status` inside
    scores.npz    test scores of each prompt policy with labels, mask, patients and sources as codes
    log.jsonl     one line an epoch

A folder without a `record.json` whose status is "done" and whose `scores.npz` matches its checksum
does not exist for anything that reads results.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ResultsError

SCHEMA = 1
# Parts of a record that may differ between two runs of the same trial.
_CIRCUMSTANCES = ("provenance", "cost", "digest")


def write_record(
    folder: Path,
    record: Mapping[str, Any],
    *,
    scores: Mapping[str, np.ndarray] | None,
    log: Iterable[Mapping[str, Any]],
) -> None:
    """Writes a trial's files under temporary names and renames them, the record last.

    Raises:
        ResultsError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        full = dict(record) | {"schema": SCHEMA}
        if scores is not None:
            with _replacing(folder / "scores.npz") as temporary:
                with temporary.open("wb") as file:
                    np.savez(file, allow_pickle=False, **scores)
                full["scores_sha256"] = _sha256(temporary)
        with _replacing(folder / "log.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in log))
        full["digest"] = digest(full)
        text = json.dumps(full, indent=1, allow_nan=False)
        with _replacing(folder / "record.json") as temporary:
            temporary.write_text(text)
    except OSError as error:
        raise ResultsError(
            f"Cannot write the trial to {folder}: {error.strerror or error}. "
            "Give a folder that can be written with --results DIR."
        ) from error


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a trial, finished or failed; None when there is none that can be trusted."""
    try:
        record = json.loads((folder / "record.json").read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return None
    try:
        if record["digest"] != digest(record):
            return None
        if record["status"] == "done" and _sha256(folder / "scores.npz") != record["scores_sha256"]:
            return None
    except (KeyError, OSError, ValueError, TypeError):
        return None
    return record if isinstance(record.get("spec"), dict) else None


def read_records(trials: Path) -> Iterator[dict[str, Any]]:
    """Every finished record below a study's trials folder, in the order of their names."""
    for path in sorted(trials.glob("*/run-*_fold-*/record.json")):
        record = read_record(path.parent)
        if record is not None and record["status"] == "done":
            yield record


def read_scores(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a finished trial's `scores.npz`."""
    with np.load(folder / "scores.npz", allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of what a record says, leaving out where and how fast it was made."""
    told = {key: value for key, value in record.items() if key not in _CIRCUMSTANCES}
    return hashlib.sha256(json.dumps(told, sort_keys=True, allow_nan=False).encode()).hexdigest()


class _replacing:  # reads as a verb at its call sites
    """A temporary path in the target's folder that takes the target's name when the block ends."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> Path:
        handle, name = tempfile.mkstemp(prefix=".partial-", dir=self._target.parent)
        os.close(handle)
        self._temporary = Path(name)
        return self._temporary

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            with self._temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(self._temporary, self._target)
        else:
            self._temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Removes what a killed writer left; the study's lock says that nobody else writes here."""
    for path in folder.glob(".partial-*"):
        path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
