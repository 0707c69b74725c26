"""From a reader's listing to a store: paths kept below the root, views chosen, pixels made, checks.

In the cache a store's folder is named after the request and the state of all files, so a store of
one state of the files is never overwritten by that of another.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import decode
from bench.data.build import Pixels, Tell, clear_work, held, make_pixels
from bench.data.checks import (
    NO_ROW,
    check_listing,
    files_without_row,
    picture_problems,
    table_problems,
)
from bench.data.dataset import Dataset, DataSpec, Reader, cache_folder
from bench.data.found import digest, finished_store, request_of, stem, watched_state
from bench.data.listing import FRONTAL_VIEWS, Listing
from bench.data.paths import confined, shown, states
from bench.data.polarity import odd_pictures
from bench.data.store import Rows, finish_store, is_finished
from bench.errors import DataError, UsageError

LATERAL = "lateral view"


def prepare_files(
    reader: Reader,
    spec: DataSpec,
    size: int,
    *,
    cropped: bool = False,
    out: Path | None = None,
    jobs: int = 1,
    tell: Tell | None = None,
) -> Path:
    """The folder of the finished store of a source's files, made if it is not there.

    Args:
        size: side of the stored squares in pixels.
        cropped: keep the central square of a picture instead of the whole.
        out: the store's folder; by default one in the cache.
        jobs: processes that decode.
        tell: takes lines of progress.

    Raises:
        UsageError: an option that cannot be meant, or `out` holds something else.
        DataError: the tables or all of the images cannot be used, or nothing can be written.
    """
    root = Path(str(spec.path)).expanduser()
    if not root.exists():
        raise DataError(
            f"No {reader.root} at {root}. Name the one you have: --root PATH, or "
            f"--data {reader.name}:PATH."
        )
    if spec.options.get("views", "frontal") not in {"frontal", "all"}:
        raise UsageError(f"views={spec.options['views']} is neither 'frontal' nor 'all'.")
    if not 16 <= size <= 2048:
        raise UsageError(f"A side of {size} pixels: it is 16 to 2048.")
    request = request_of(reader, spec, size, cropped)
    finished = finished_store(request, reader, out)
    if finished is not None:
        return finished
    if tell:
        tell(f"Reading the tables of {reader.name} in {root} ...")
    module: Any = import_module(reader.module)
    listing: Listing = module.read(root, spec.options)
    check_listing(listing, reader.name)
    files = confined(listing)
    rows = _of_views(listing, spec, reader)
    state = digest([request, states(listing.tables), files])
    target = out or cache_folder() / f"{stem(request)}-{state[:12]}"
    with held(target, tell):
        if not is_finished(target):
            if tell:
                tell(f"Preparing {len(rows)} images at {size} pixels in {target} ...")
            pixels = make_pixels(
                target,
                [files[row][0] for row in rows],
                partial(read_file, cropped=cropped),
                size,
                plan=state,
                jobs=jobs,
                tell=tell,
            )
            _finish(target, listing, rows, pixels, request, reader)
            clear_work(target)
    return target


def refuse_unreadable(dataset: Dataset, spec: DataSpec) -> None:
    """Refuses a data set that lacks images which its tables name.

    Raises:
        DataError: the message names the first few and their reasons.
    """
    bad = [f"{name}: {why}" for name, why in dataset.unreadable.items()]
    if bad:
        raise DataError(
            f"{len(bad)} of {len(dataset) + len(bad)} images below {spec.path or spec.reader} "
            f"cannot be read: {shown(bad)}. Mend them, or leave them out with --skip-unreadable "
            "(the record lists them)."
        )


def read_file(
    path: str, size: int, notes: list[str], *, cropped: bool
) -> tuple[np.ndarray, decode.Box]:
    """`read_square` as `make_pixels` wants it."""
    return decode.read_square(Path(path), size, notes, cropped=cropped)


def _of_views(listing: Listing, spec: DataSpec, reader: Reader) -> np.ndarray:
    """The rows of the views that are asked for."""
    table = listing.tables[0] if listing.tables else listing.root
    if not len(listing):
        raise DataError(f"{table}: no image left, for it has a header and no rows.")
    if spec.options.get("views", "frontal") == "all":
        return np.arange(len(listing))
    rows = np.flatnonzero([view in FRONTAL_VIEWS for view in listing.views])
    if not len(rows):
        raise DataError(
            f"{table}: no image left, for all {len(listing)} are lateral views. To use them: "
            f"--data {reader.name}:PATH,views=all."
        )
    return rows


def _finish(
    target: Path,
    listing: Listing,
    rows: np.ndarray,
    pixels: Pixels,
    request: Mapping[str, Any],
    reader: Reader,
) -> None:
    """The table, the checks and the manifest of a store whose pixels are made."""
    names = [listing.images[row] for row in rows]
    unreadable = {names[i]: why for i, why in sorted(pixels.reasons.items())}
    if not pixels.kept.any():
        clear_work(target)  # what was missing may be a program, which the next run should try
        raise DataError(
            f"None of the {len(names)} images below {listing.root} can be read. The first is "
            f"{shown([f'{name}: {why}' for name, why in unreadable.items()], 1)}."
        )
    used = rows[pixels.kept]

    def column(values: Sequence[str]) -> list[str]:
        return [values[row] for row in used] if len(values) else [""] * len(used)

    chosen = set(rows.tolist())
    lateral = (image for row, image in enumerate(listing.images) if row not in chosen)
    images, patients = column(listing.images), column(listing.patients)
    problems: dict[str, Sequence[str]] = {
        **listing.problems,
        **table_problems(listing, used),
        **picture_problems(images, patients, pixels.prints),
        **_odd(images, column(listing.views), pixels),
        NO_ROW: files_without_row(listing),
        **{f"converted: {note}": [names[i] for i in at] for note, at in pixels.notes.items()},
    }
    left_out = dict(listing.left_out) | dict.fromkeys(lateral, LATERAL)
    watched = [*listing.images, *listing.left_out] if reader.watched else unreadable
    finish_store(
        target,
        listing.name or reader.name,
        Rows(
            classes=listing.classes,
            labels=listing.labels[used],
            images=images,
            patients=patients,
            studies=column(listing.studies),
            sources=column(listing.sources),
            findings=column(listing.findings),
            impressions=column(listing.impressions),
            boxes=pixels.boxes,
            views=column(listing.views),
            left_out=left_out,
            unreadable=unreadable,
            problems=problems,
        ),
        made_from={
            **request,
            "tables": states(os.path.abspath(table) for table in listing.tables),
            "images": str(listing.root),
            "pillow": decode.pillow(),
            "watched": watched_state(listing.root, watched),
        },
    )


def _odd(images: Sequence[str], views: Sequence[str], pixels: Pixels) -> dict[str, list[str]]:
    """Frontal pictures that look wrong, by name."""
    frontal = [row for row, view in enumerate(views) if view in FRONTAL_VIEWS]
    odd = odd_pictures([pixels.prints[row] for row in frontal])
    return {kind: [images[frontal[i]] for i in places] for kind, places in odd.items()}
