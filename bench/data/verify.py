"""A store checked again: files unchanged, no image black, and still what its source says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.data import decode
from bench.data.dataset import Dataset
from bench.data.found import CROPPED
from bench.data.listing import UNLABELLED
from bench.data.paths import shown, states
from bench.data.store import BOX, TEXT, fingerprint, open_store, read_manifest, sha256
from bench.errors import BenchError, DataError

_BLOCK = 1024  # rows read at a time: 50 MB at 224 pixels
_AGAIN = 64  # images that are decoded again


class Check(NamedTuple):
    """One thing that was looked at; `wrong` says what is not right, or is empty."""

    what: str
    wrong: str = ""


def verify_store(store: Path) -> Iterator[Check]:
    """Every check of the store in turn, the cheap ones first.

    Raises:
        DataError: there is no finished store.
    """
    manifest = read_manifest(store)
    if manifest is None:
        raise DataError(
            f"No prepared data set at {store}. Make one: bench data prepare NAME --root DIR"
        )
    changed = [
        name
        for name, checksum in manifest["checksums"].items()
        if not (store / name).is_file() or sha256(store / name) != checksum
    ]
    yield Check("the files are as they were written", shown(changed))
    same = fingerprint(manifest["classes"], manifest["checksums"]) == manifest["fingerprint"]
    yield Check("the fingerprint is that of the files", "" if same else "it is another")
    try:
        dataset = open_store(store)
    except DataError as error:
        yield Check("the parts fit together", str(error))
        return
    yield Check("the parts fit together")
    yield Check("the manifest counts what is there", _miscounted(manifest, dataset))
    yield Check("rows.csv and rows.npz say the same", _unlike_table(store, dataset))
    yield Check("labels are 0, 1 or not given", _strange_labels(store))
    yield from _pixels(dataset, drawn=dataset.synthetic)
    if "tables" in manifest["made_from"]:
        yield from _source(dataset, manifest["made_from"])


def _miscounted(manifest: dict[str, Any], dataset: Dataset) -> str:
    there = {
        "patients": len(np.unique(dataset.patients)),
        "studies": len(np.unique(dataset.studies)),
        "unreadable": len(dataset.unreadable),
        "left_out": len(dataset.left_out) - len(dataset.unreadable),
    }
    said = manifest | {"left_out": sum(manifest["left_out"].values())}
    return shown([f"{said[key]} {key}, not {n}" for key, n in there.items() if said[key] != n])


def _unlike_table(store: Path, dataset: Dataset) -> str:
    try:
        return _unlike_columns(store, dataset)
    except (OSError, ValueError, KeyError) as error:
        return f"rows.csv cannot be compared ({error})"


def _unlike_columns(store: Path, dataset: Dataset) -> str:
    import pandas as pd

    table = pd.read_csv(store / "rows.csv", dtype=str, keep_default_na=False)
    columns: tuple[Sequence[str], ...] = (
        dataset.images, dataset.patients.tolist(), dataset.studies.tolist(),
        dataset.sources.tolist(), dataset.findings,
        dataset.impressions,
    )  # fmt: skip
    unlike = [
        name for name, values in zip(TEXT, columns, strict=True)
        if table[name].tolist() != list(values)
    ]  # fmt: skip
    if (table[list(BOX)].astype(int).to_numpy() != dataset.boxes).any():
        unlike.append("box")
    return shown(unlike)


def _strange_labels(store: Path) -> str:
    values = set(np.unique(np.load(store / "labels.npy")).tolist()) - {0, 1, UNLABELLED}
    return shown([str(value) for value in sorted(values)])


def _pixels(dataset: Dataset, *, drawn: bool) -> Iterator[Check]:
    """No constant image, and nothing outside the boxes."""
    constant: list[str] = []
    outside: list[str] = []
    for start in range(0, len(dataset), _BLOCK):
        block = np.asarray(dataset.pixels[start : start + _BLOCK])
        for row, square in enumerate(block, start):
            top, left, height, width = (int(value) for value in dataset.boxes[row])
            picture = square[top : top + height, left : left + width]
            if picture.size == 0 or (int(picture.max()) - int(picture.min()) <= 2 and not drawn):
                constant.append(dataset.images[row])
            if int(np.count_nonzero(square)) != int(np.count_nonzero(picture)):
                outside.append(dataset.images[row])
    yield Check(f"none of the {len(dataset)} images is constant", shown(constant))
    yield Check("squares are black beside their image", shown(outside))


def _source(dataset: Dataset, made_from: dict[str, Any]) -> Iterator[Check]:
    """The tables, and some images decoded again, where the source is still there."""
    root = Path(made_from["images"])
    if not root.is_dir():
        yield Check(f"(the source, {root}, is not here: not compared with it)")
        return
    now = [list(state) for state in states(path for path, _, _ in made_from["tables"])]
    changed = [old[0] for old, new in zip(made_from["tables"], now, strict=True) if old != new]
    yield Check("the source's tables are as they were read", shown(changed))
    if made_from["pillow"] != decode.pillow():
        yield Check(f"(made with Pillow {made_from['pillow']}: images not decoded again)")
        return
    cropped = made_from.get(CROPPED, False)
    rows = np.unique(np.linspace(0, len(dataset) - 1, _AGAIN).round().astype(int))
    unlike = [dataset.images[row] for row in rows if not _same(dataset, int(row), root, cropped)]
    yield Check(f"{len(rows)} images decoded again are the same", shown(unlike))


def _same(dataset: Dataset, row: int, root: Path, cropped: bool) -> bool:
    try:
        square, box = decode.read_square(root / dataset.images[row], dataset.size, cropped=cropped)
    except BenchError:
        return False
    return box == tuple(dataset.boxes[row]) and np.array_equal(square, dataset.pixels[row])


def failures(checks: Iterator[Check], say: Callable[[str], None]) -> int:
    """Says each check as it is done and returns how many failed."""
    failed = 0
    for check in checks:
        say(f"FAIL  {check.what}: {check.wrong}" if check.wrong else f"ok    {check.what}")
        failed += bool(check.wrong)
    return failed
