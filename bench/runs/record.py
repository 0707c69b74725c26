"""The record of a trial on disk: written once, atomically, `record.json` last.

    record.json   spec, metrics, training history, costs, provenance; `status` inside
    scores.npz    test scores of each prompt policy with labels, mask, patients and sources as codes
    external-NAME.npz    the same of other data that the model scored (`bench run --test-data`)
    log.jsonl     one line an epoch; the one file that grows, while a trial trains
    model.safetensors, model.json, mean.png, embeddings.npz    what `bench run --keep` asked for

A folder without a `record.json` whose status is "done" and whose arrays match their checksums does
not exist for anything that reads results.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ResultsError

SCHEMA = 1
SCORES = "scores.npz"
# Parts of a record that may differ between two runs of the same trial.
_CIRCUMSTANCES = ("provenance", "cost", "kept", "digest")
WEIGHTS, MODEL, MEAN = "model.safetensors", "model.json", "mean.png"
EMBEDDINGS = "embeddings.npz"
# Two writers of one trial may remove each other's temporary files; both cannot always be second.
_ATTEMPTS = 3

Writer = Callable[[Path], object]
"""Writes a file's content to a path."""


def write_record(
    folder: Path,
    record: Mapping[str, Any],
    *,
    scores: Mapping[str, np.ndarray] | None,
    log: Sequence[Mapping[str, Any]],
    external: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    kept: Mapping[str, Mapping[str, Writer]] | None = None,
) -> None:
    """Writes a trial's files under temporary names and renames them, the record last.

    Args:
        external: by the name of other data the arrays of its images.
        kept: by what `--keep` asked for what writes its files; of no file, where there is nothing.

    Raises:
        ResultsError: the folder cannot be written.
    """
    for attempt in range(_ATTEMPTS):
        try:
            _write(folder, record, scores, log, external or {}, kept or {})
            return
        except FileNotFoundError as error:  # another writer swept, or the folder was removed
            if attempt == _ATTEMPTS - 1:
                raise cannot_write(folder, error) from error
        except OSError as error:
            raise cannot_write(folder, error) from error


def _write(
    folder: Path,
    record: Mapping[str, Any],
    scores: Mapping[str, np.ndarray] | None,
    log: Sequence[Mapping[str, Any]],
    external: Mapping[str, Mapping[str, np.ndarray]],
    kept: Mapping[str, Mapping[str, Writer]],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    full = dict(record) | {"schema": SCHEMA}
    if scores is not None:
        full["scores_sha256"] = _write_arrays(folder / SCORES, scores)
    if external:
        full["external_sha256"] = {
            name: _write_arrays(folder / external_file(name), arrays)
            for name, arrays in external.items()
        }
    if kept:
        full["kept"] = {
            what: {file: _written(folder / file, write) for file, write in files.items()}
            for what, files in kept.items()
        }
    with replacing(folder / "log.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in log))
    full["digest"] = digest(full)
    text = json.dumps(full, indent=1, allow_nan=False)
    with replacing(folder / "record.json") as temporary:
        temporary.write_text(text)
    _sweep(folder, full)


def cannot_write(folder: Path, error: OSError) -> ResultsError:
    """The error of a results folder that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ResultsError(
        f"Cannot write results to {folder}: {error.strerror or error}. "
        f"{'Free some space' if full else 'Make it writable'} and run again, or give another "
        "folder with --results DIR. Finished trials are kept."
    )


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a trial, finished or failed; None when there is none that can be trusted."""
    try:
        record = json.loads((folder / "record.json").read_text())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return None
    try:
        if record["digest"] != digest(record):
            return None
        # An imported record never had scores beside it.
        apart = record["status"] != "done" or "origin" in record
        if not apart and not _arrays_fit(folder, record):
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


def read_scores(folder: Path, file: str = SCORES) -> dict[str, np.ndarray]:
    """The arrays of a finished trial's `scores.npz`, or of another of its files."""
    with np.load(folder / file, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def not_kept(folder: Path, record: Mapping[str, Any], wanted: Sequence[str]) -> list[str]:
    """What of the things to be kept (`bench run --keep`) a finished trial has not beside it."""
    kept = record.get("kept", {})
    return [
        what
        for what in wanted
        if what not in kept or not all((folder / file).is_file() for file in kept[what])
    ]


def external_file(name: str) -> str:
    """The file of a trial's scores on other data.

    >>> external_file("nih")
    'external-nih.npz'
    """
    return f"external-{name}.npz"


def digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of what a record says, leaving out where and how fast it was made."""
    told = {key: value for key, value in record.items() if key not in _CIRCUMSTANCES}
    return hashlib.sha256(json.dumps(told, sort_keys=True, allow_nan=False).encode()).hexdigest()


class replacing:  # reads as a verb at its call sites
    """A temporary path in the target's folder that takes the target's name when the block ends."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> Path:
        handle, name = tempfile.mkstemp(
            prefix=f".partial-{self._target.name}-", dir=self._target.parent
        )
        os.close(handle)
        self._temporary = Path(name)
        return self._temporary

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                with self._temporary.open("rb") as file:
                    os.fsync(file.fileno())
                os.replace(self._temporary, self._target)
        finally:  # a full disk may show as late as in fsync
            self._temporary.unlink(missing_ok=True)


def _sweep(folder: Path, record: Mapping[str, Any]) -> None:
    """Removes what a killed writer left and what an earlier trial scored or kept besides.

    A second run on the same study may be writing the same trial. Its temporary files go too, and it
    writes them again; what the record names is never removed.
    """
    named = {external_file(name) for name in record.get("external_sha256", {})}
    named |= {file for files in record.get("kept", {}).values() for file in files}
    for pattern in (".partial-*", external_file("*"), WEIGHTS, MODEL, MEAN, EMBEDDINGS):
        for path in folder.glob(pattern):
            if path.name not in named:
                path.unlink(missing_ok=True)


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Writes the arrays and returns the file's checksum."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    return _written(path, write)


def _written(path: Path, write: Writer) -> str:
    """Has a file written and returns its checksum."""
    with replacing(path) as temporary:
        write(temporary)
        return sha256_of(temporary)


def _arrays_fit(folder: Path, record: Mapping[str, Any]) -> bool:
    expected = {SCORES: record["scores_sha256"]} | {
        external_file(name): sha256 for name, sha256 in record.get("external_sha256", {}).items()
    }
    return all(sha256_of(folder / file) == sha256 for file, sha256 in expected.items())


def sha256_of(path: Path) -> str:
    """The checksum of a file in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
