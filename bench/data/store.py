"""The prepared form of a data set: memory-mapped pixels, labels, rows, and a manifest written last.

    pixels.npy      (N, S, S) uint8
    labels.npy      (N, C) uint8, 255 = the source does not say
    rows.csv        image, patient, study, source, findings, impression, box
    manifest.json   what it was made from, checksums, what was left out; exists = finished

A store is written under a temporary name and renamed, so a killed preparation leaves no store.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.dataset import Dataset
from bench.errors import DataError

SCHEMA = 1
UNLABELLED = 255
_TEXT = ("image", "patient", "study", "source", "findings", "impression")
_BOX = ("top", "left", "height", "width")
_FILES = ("pixels.npy", "labels.npy", "rows.csv")


@dataclass
class Rows:
    """The table of a store while a reader fills it, one entry an image."""

    classes: tuple[str, ...]
    labels: np.ndarray
    """(N, C) uint8: 0, 1 or `UNLABELLED`."""
    images: Sequence[str]
    patients: Sequence[str]
    studies: Sequence[str]
    sources: Sequence[str]
    findings: Sequence[str]
    impressions: Sequence[str]
    boxes: np.ndarray
    left_out: dict[str, str] = field(default_factory=dict)


@contextmanager
def new_store(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that becomes `target` when the block ends well.

    Raises:
        DataError: the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise DataError(
            f"Cannot write prepared data to {target.parent}: {error.strerror}. "
            "Set CXR_BENCH_CACHE to a folder with room."
        ) from error
    try:
        yield temporary
        _put(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary: Path, target: Path) -> None:
    """Renames a finished store to `target`, in place of what is there without being a store."""
    try:
        os.rename(temporary, target)
        return
    except OSError:
        # Another process finished the same store first; theirs is as good as ours.
        if is_finished(target):
            return
    aside = temporary.with_name(temporary.name + "-replaced")
    try:
        # Moved away first: deleting takes time, in which another process could put its store here.
        os.rename(target, aside)
        os.rename(temporary, target)
    except OSError as error:
        if not is_finished(target):
            raise DataError(
                f"Cannot put prepared data at {target}: {error.strerror}. Delete what is there and "
                "run the command again."
            ) from error
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def finish_store(folder: Path, name: str, rows: Rows, *, made_from: Mapping[str, Any]) -> None:
    """Writes the table and, last, the manifest of a store whose `pixels.npy` is complete."""
    import pandas as pd

    columns: dict[str, Any] = dict(
        zip(
            _TEXT,
            (
                rows.images,
                rows.patients,
                rows.studies,
                rows.sources,
                rows.findings,
                rows.impressions,
            ),
            strict=True,
        )
    )
    columns = {key: [_plain_lines(text) for text in texts] for key, texts in columns.items()}
    columns |= {key: rows.boxes[:, i] for i, key in enumerate(_BOX)}
    pd.DataFrame(columns).to_csv(folder / "rows.csv", index=False)
    np.save(folder / "labels.npy", rows.labels)
    checksums = {file: _sha256(folder / file) for file in _FILES}
    manifest = {
        "schema": SCHEMA,
        "name": name,
        "classes": list(rows.classes),
        "images": len(rows.images),
        "patients": len(set(rows.patients)),
        "made_from": dict(made_from),
        "left_out": rows.left_out,
        "checksums": checksums,
        "fingerprint": hashlib.sha256(
            json.dumps([list(rows.classes), checksums], sort_keys=True).encode()
        ).hexdigest(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def _plain_lines(text: str) -> str:
    """`text` with one kind of line end: a lone carriage return would be read back as a new row."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_finished(folder: Path) -> bool:
    """Whether `folder` holds a complete store of the current schema."""
    return _manifest(folder) is not None


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError):
        return None
    usable = isinstance(manifest, dict) and manifest.get("schema") == SCHEMA
    return manifest if usable else None


def open_store(folder: Path) -> Dataset:
    """The data set of a finished store; pixels stay on disk until they are asked for.

    Raises:
        DataError: there is no finished store, or its parts do not fit together.
    """
    import pandas as pd

    manifest = _manifest(folder)
    if manifest is None:
        raise DataError(f"No prepared data set at {folder}. Run the command again to prepare it.")
    try:
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        coded = np.load(folder / "labels.npy")
        table = pd.read_csv(folder / "rows.csv", dtype=str, keep_default_na=False)
        boxes = table[list(_BOX)].to_numpy().astype(np.int16)
        text = {key: table[key].tolist() for key in _TEXT}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"The prepared data set at {folder} is damaged ({error}). Delete the folder and run "
            "the command again."
        ) from error
    n, classes = manifest["images"], tuple(manifest["classes"])
    if not (len(pixels) == len(table) == n and coded.shape == (n, len(classes))):
        raise DataError(
            f"The prepared data set at {folder} is damaged: {len(pixels)} images, {len(table)} "
            f"rows, labels {coded.shape}. Delete the folder and run the command again."
        )
    return Dataset(
        name=manifest["name"],
        classes=classes,
        pixels=pixels,
        boxes=boxes,
        labels=(coded == 1).astype(np.uint8),
        mask=coded != UNLABELLED,
        images=tuple(text["image"]),
        patients=np.asarray(text["patient"]),
        studies=np.asarray(text["study"]),
        sources=np.asarray(text["source"]),
        findings=tuple(text["findings"]),
        impressions=tuple(text["impression"]),
        fingerprint=manifest["fingerprint"],
        synthetic=manifest["made_from"]["reader"] == "phantom",
        left_out=manifest["left_out"],
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
