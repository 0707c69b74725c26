"""A contact sheet of a data set, for a look at what the methods see."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bench.data.dataset import Dataset, load_dataset
from bench.data.sheet import contact_sheet
from bench.errors import UsageError, unknown


def show(
    *, data: str, class_name: str | None, count: int, size: int, seed: int, out: Path | None
) -> tuple[Path, int]:
    """Writes a PNG of up to `count` images, drawn at random among those with the class.

    Returns:
        The file and how many images are on it.

    Raises:
        UsageError: no such class, no image of it, or a file that cannot be written.
    """
    if out is not None and not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}. Make it first.")
    # A phantom drawn for training is small; for looking it is drawn at the size of the tiles.
    spec = data
    if data.split(":")[0] == "phantom" and "size=" not in data:
        spec = data + ("," if ":" in data else ":") + f"size={size}"
    dataset = load_dataset(spec, size)
    rows = _rows(dataset, class_name)
    chosen = np.random.default_rng(seed).permutation(rows)[:count]
    path = out or Path(
        re.sub(r"[^A-Za-z0-9]+", "-", f"{dataset.name}-{class_name or 'all'}").strip("-") + ".png"
    )
    captions = [_caption(dataset, row, class_name) for row in chosen]
    pixels = np.asarray(dataset.pixels[np.sort(chosen)])[_rank(chosen)]
    try:
        contact_sheet(pixels, captions, path)
    except OSError as error:
        raise UsageError(
            f"Cannot write {path}: {error.strerror or error}. Name another file with --out."
        ) from error
    return path, len(chosen)


def _rows(dataset: Dataset, class_name: str | None) -> np.ndarray:
    if class_name is None:
        return np.arange(len(dataset))
    folded = {name.casefold(): index for index, name in enumerate(dataset.classes)}
    if class_name.casefold() not in folded:
        raise UsageError(unknown("class", class_name, dataset.classes))
    index = folded[class_name.casefold()]
    rows = np.flatnonzero((dataset.labels[:, index] == 1) & dataset.mask[:, index])
    if not len(rows):
        raise UsageError(f"{dataset.name} has no image with '{dataset.classes[index]}'.")
    return rows


def _rank(rows: np.ndarray) -> np.ndarray:
    """Where each row stands among the sorted ones, so that a memory map is read in order."""
    order = np.argsort(rows)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(rows))
    return rank


def _caption(dataset: Dataset, row: int, first: str | None) -> str:
    """The classes of an image, the one that was asked for before the others."""
    present = (dataset.labels[row] == 1) & dataset.mask[row]
    names = [dataset.classes[index] for index in np.flatnonzero(present)]
    if first is not None:
        names.sort(key=lambda name: name.casefold() != first.casefold())
    return ", ".join(names) or "no label"
