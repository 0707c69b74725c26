"""The prepared form of a data set: memory-mapped pixels, labels, rows, and a manifest written last.

    pixels.npy      (N, S, S) uint8
    labels.npy      (N, C) uint8, 255 = the source does not say
    rows.csv        image, patient, study, source, findings, impression, box
    rows.npz        the same rows and their views, packed to open at once
    left_out.csv    what is not in it: image, why, and whether that was for want of a good file
    problems.json   what was found and lived with, by kind
    manifest.json   what it was made from, counts, checksums; exists = finished

Everything is written in the store's own folder. A folder without a manifest is no store.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.columns import pack, unpack
from bench.data.dataset import Dataset
from bench.data.listing import UNLABELLED
from bench.errors import DataError

SCHEMA = 2
TEXT = ("image", "patient", "study", "source", "findings", "impression")
BOX = ("top", "left", "height", "width")
CONTENT = ("pixels.npy", "labels.npy", "rows.csv")
"""The files that make the fingerprint: all that can change a score."""
_SAID = frozenset(
    {
        "schema", "name", "classes", "images", "patients", "studies", "made_from", "left_out",
        "unreadable", "problems", "checksums", "fingerprint",
    }
)  # fmt: skip
OTHERS = ("rows.npz", "left_out.csv", "problems.json")


@dataclass
class Rows:
    """The table of a store while it is made, one entry an image."""

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
    views: Sequence[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Left out on purpose: image name -> reason."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Left out because there is no image that could be used: image name -> reason."""
    problems: Mapping[str, Sequence[str]] = field(default_factory=dict)


def finish_store(folder: Path, name: str, rows: Rows, *, made_from: Mapping[str, Any]) -> None:
    """Writes the table and, last, the manifest of a store whose `pixels.npy` is complete."""
    import pandas as pd

    texts = (
        rows.images, rows.patients, rows.studies, rows.sources, rows.findings, rows.impressions,
    )  # fmt: skip
    columns = {
        key: [_plain_lines(text) for text in values]
        for key, values in zip(TEXT, texts, strict=True)
    }
    table: dict[str, Any] = columns | {key: rows.boxes[:, i] for i, key in enumerate(BOX)}
    pd.DataFrame(table).to_csv(folder / "rows.csv", index=False)
    views = rows.views or [""] * len(rows.images)
    np.savez(folder / "rows.npz", boxes=rows.boxes, **pack(columns | {"view": views}))  # type: ignore[arg-type]
    np.save(folder / "labels.npy", rows.labels)
    with (folder / "left_out.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "reason", "unreadable"))
        writer.writerows((image, why, 0) for image, why in rows.left_out.items())
        writer.writerows((image, why, 1) for image, why in rows.unreadable.items())
    problems = {kind: list(found) for kind, found in rows.problems.items() if len(found)}
    (folder / "problems.json").write_text(json.dumps(problems, indent=1), encoding="utf-8")
    checksums = {file: sha256(folder / file) for file in (*CONTENT, *OTHERS)}
    manifest = {
        "schema": SCHEMA,
        "name": name,
        "classes": list(rows.classes),
        "images": len(rows.images),
        "patients": len(set(rows.patients)),
        "studies": len(set(rows.studies)),
        "made_from": dict(made_from),
        "left_out": dict(Counter(rows.left_out.values())),
        "unreadable": len(rows.unreadable),
        "problems": {kind: len(found) for kind, found in problems.items()},
        "checksums": checksums,
        "fingerprint": fingerprint(rows.classes, checksums),
    }
    unfinished = folder / "manifest.json.new"
    unfinished.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    os.replace(unfinished, folder / "manifest.json")


def fingerprint(classes: Sequence[str], checksums: Mapping[str, str]) -> str:
    """SHA-256 of the classes and of the files in `CONTENT`."""
    content = [list(classes), {file: checksums[file] for file in CONTENT}]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _plain_lines(text: str) -> str:
    """`text` with one kind of line end: a lone carriage return would be read back as a new row."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def is_finished(folder: Path) -> bool:
    """Whether `folder` holds a complete store of the current schema."""
    return read_manifest(folder) is not None


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What the manifest of a finished store says; None where there is none, or a spoilt one."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        return None
    made_from = manifest.get("made_from")
    whole = manifest.keys() >= _SAID and isinstance(made_from, dict) and "reader" in made_from
    return manifest if whole else None


def open_store(folder: Path) -> Dataset:
    """The data set of a finished store; pixels stay on disk until they are asked for.

    Raises:
        DataError: there is no finished store, or its parts do not fit together.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError(f"No prepared data set at {folder}. Run the command again to prepare it.")
    try:
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        coded = np.load(folder / "labels.npy")
        arrays = packed_rows(folder)
        boxes = arrays["boxes"]
        text = {key: unpack(arrays, key) for key in (*TEXT, "view")}
        left_out, unreadable = read_left_out(folder)
    except Exception as error:  # a spoilt zip or array raises almost anything
        raise DataError(
            f"The prepared data set at {folder} is damaged ({error}). Delete the folder and run "
            "the command again."
        ) from error
    n, classes = manifest["images"], tuple(manifest["classes"])
    lengths = {len(pixels), len(coded), len(boxes), *(len(values) for values in text.values())}
    if not (lengths == {n} and coded.shape == (n, len(classes)) and pixels.ndim == 3):
        raise DataError(
            f"The prepared data set at {folder} is damaged: {len(pixels)} images, "
            f"{len(text['image'])} rows, labels {coded.shape}. Delete the folder and run the "
            "command again."
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
        left_out=left_out | unreadable,
        unreadable=unreadable,
        views=np.asarray(text["view"]),
    )


def packed_rows(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of `rows.npz`: the boxes, and columns for `bench.data.columns.unpack`."""
    # Opened here, since numpy leaves a spoilt file open.
    with (folder / "rows.npz").open("rb") as file, np.load(file) as packed:
        return {name: packed[name] for name in packed.files}


def read_left_out(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """What was left out on purpose, and what could not be used."""
    found: tuple[dict[str, str], dict[str, str]] = ({}, {})
    with (folder / "left_out.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        next(reader)
        for image, reason, unreadable in reader:
            found[int(unreadable)][image] = reason
    return found


def sha256(path: Path) -> str:
    """The checksum of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
