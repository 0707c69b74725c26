"""What can be wrong with a data set that can nevertheless be used: found and listed by kind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.data.listing import UNLABELLED, VIEWS, Listing
from bench.data.paths import images_below
from bench.data.prints import Print, same_pictures
from bench.errors import DataError

NO_ROW = "image without a row"
TWO_LABELS = "study with unequal labels"
TWO_PATIENTS = "study of two patients"
TWICE = "same picture twice"
LEAK = "same picture under two patients"


def check_listing(listing: Listing, reader: str) -> None:
    """Refuses a listing that breaks its contract, which is the reader's mistake and not the data's.

    Raises:
        DataError: columns of unequal length, or labels or views that are no such thing.
    """
    n = len(listing)
    columns: dict[str, Sequence[str] | np.ndarray] = {
        "patients": listing.patients,
        "studies": listing.studies,
        "views": listing.views,
        "labels": listing.labels,
        "sources": listing.sources or [""] * n,
        "findings": listing.findings or [""] * n,
        "impressions": listing.impressions or [""] * n,
    }
    for name, column in columns.items():
        if len(column) != n:
            raise DataError(f"Reader {reader}: {n} images and {len(column)} {name}.")
    labels = listing.labels
    if labels.shape != (n, len(listing.classes)) or labels.dtype != np.uint8:
        raise DataError(f"Reader {reader}: labels are {labels.dtype} {labels.shape}.")
    if not np.isin(np.unique(labels), (0, 1, UNLABELLED)).all():
        raise DataError(f"Reader {reader}: labels are other than 0, 1 and {UNLABELLED}.")
    if len(set(listing.classes)) != len(listing.classes) or not listing.classes:
        raise DataError(f"Reader {reader}: no classes, or one twice.")
    if strange := set(listing.views) - VIEWS:
        raise DataError(f"Reader {reader}: unknown view '{min(strange)}'.")
    for name in ("patients", "studies"):
        if not all(isinstance(value, str) and value for value in columns[name]):
            raise DataError(f"Reader {reader}: {name} that are empty or not text.")


def table_problems(listing: Listing, rows: np.ndarray) -> dict[str, list[str]]:
    """Problems that the rows in use show without their pixels."""
    studies = np.asarray(listing.studies, object)[rows]
    patients = np.asarray(listing.patients, object)[rows]
    names, first, study = np.unique(studies.astype(str), return_index=True, return_inverse=True)
    unequal = (listing.labels[rows] != listing.labels[rows][first][study]).any(axis=1)
    shared = patients != patients[first][study]
    return {
        TWO_LABELS: names[np.unique(study[unequal])].tolist(),
        TWO_PATIENTS: names[np.unique(study[shared])].tolist(),
    }


def files_without_row(listing: Listing) -> list[str]:
    """Images below the root that no row and no reason to leave them out speaks of."""
    known = {
        os.path.normpath(name) for names in (listing.images, listing.left_out) for name in names
    }
    return sorted(n for n in images_below(Path(listing.root)) if os.path.normpath(n) not in known)


def picture_problems(
    images: Sequence[str], patients: Sequence[str], prints: Sequence[Print]
) -> dict[str, list[str]]:
    """Pictures that are there twice; under two patients they leak across folds."""
    found: dict[str, list[str]] = {TWICE: [], LEAK: []}
    for a, b, exactly in same_pictures(prints):
        leak = patients[a] != patients[b]
        if leak:
            found[LEAK].append(
                f"{images[a]} (patient {patients[a]}) {'=' if exactly else '~'} "
                f"{images[b]} (patient {patients[b]})"
            )
        elif exactly:
            found[TWICE].append(f"{images[a]} = {images[b]}")
    return found
