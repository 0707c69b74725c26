"""What a person wants to know of a store: counts, what was left out and why, what was found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.data.dataset import Dataset
from bench.data.paths import shown
from bench.data.store import open_store, read_manifest
from bench.errors import DataError

_SHOWN = 3


def summary_of(store: Path) -> dict[str, Any]:
    """What `bench data prepare --json` says of a finished store: counts, and no name of an image.

    Raises:
        DataError: there is no finished store.
    """
    manifest, dataset = _finished(store)
    problems = json.loads((store / "problems.json").read_text(encoding="utf-8"))
    return {
        "store": str(store),
        "name": dataset.name,
        "images": len(dataset),
        "patients": manifest["patients"],
        "studies": manifest["studies"],
        "classes": list(dataset.classes),
        "labelled": int(dataset.mask.any(axis=0).sum()),
        "pixels": dataset.size,
        "synthetic": dataset.synthetic,
        "fingerprint": dataset.fingerprint,
        "left_out": dict(manifest["left_out"]),
        "unreadable": len(dataset.unreadable),
        "problems": {kind: len(found) for kind, found in problems.items()},
    }


def summary_lines(store: Path) -> Iterator[str]:
    """The lines that `bench data prepare` and `verify` print of a finished store.

    Raises:
        DataError: there is no finished store.
    """
    manifest, dataset = _finished(store)
    labelled = int(dataset.mask.any(axis=0).sum())
    yield (
        f"{dataset.name}: {len(dataset)} images of {manifest['patients']} patients in "
        f"{manifest['studies']} studies, {len(dataset.classes)} classes ({labelled} labelled), "
        f"{dataset.size} pixels a side{', synthetic' if dataset.synthetic else ''}"
    )
    for reason, count in manifest["left_out"].items():
        yield f"  left out: {count} images, {reason}"
    if dataset.unreadable:
        named = [f"{name}: {why}" for name, why in dataset.unreadable.items()]
        yield f"  left out: {len(named)} images that cannot be used: {shown(named, _SHOWN)}"
    problems = json.loads((store / "problems.json").read_text(encoding="utf-8"))
    for kind, found in problems.items():
        yield f"  {kind}: {len(found)}: {shown(found, _SHOWN)}"
    if dataset.unreadable or problems or manifest["left_out"]:
        yield f"  in full: {store / 'left_out.csv'}, {store / 'problems.json'}"


def _finished(store: Path) -> tuple[dict[str, Any], Dataset]:
    """The manifest of a finished store and what it holds."""
    manifest = read_manifest(store)
    if manifest is None:
        raise DataError(f"No prepared data set at {store}.")
    return manifest, open_store(store)
