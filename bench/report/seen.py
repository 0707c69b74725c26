"""What weights have seen before the test: the mark of rows that may have been trained on it.

Data sets go by several names; those of one line are the same patients. A data set and each of its
sources is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.report.results import RowResults

SEEN = " ‡"
UNKNOWN = " §"
_SAME: tuple[tuple[str, ...], ...] = (
    ("MIMIC-CXR", "mimic", "mimic-cxr-jpg", "mimic-cxr-lt", "cxr-lt", "cxr-lt-2023", "cxr-lt-2024"),
    ("CheXpert", "chexpert-small", "chexpert-plus"),
    ("NIH ChestX-ray14", "nih", "chestx-ray14", "chestx-ray8", "nih-cxr-lt"),
    ("PadChest", "padchest-gr", "bimcv-padchest"),
    ("Open-i", "iu-xray", "indiana"),
    ("VinDr-CXR", "vindr", "vinbigdata"),
    ("RSNA Pneumonia", "rsna"),
)


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


_KNOWN = {_folded(name): names[0] for names in _SAME for name in names}


def known_names() -> frozenset[str]:
    """Every name of the data sets that are known here."""
    return frozenset(name for names in _SAME for name in names)


def common_name(name: str) -> str:
    """The name that all names of a data set share; an unknown one is its own.

    >>> common_name("mimic-cxr-lt"), common_name("Chestx-ray14"), common_name("scans")
    ('MIMIC-CXR', 'NIH ChestX-ray14', 'scans')
    """
    return _KNOWN.get(_folded(name), name)


def mark_of(row: RowResults) -> str:
    """What stands behind a row's title: seen, not known, or nothing."""
    checkpoints = row.told.get("checkpoints")
    if checkpoints is None or row.told["data"]["synthetic"]:
        return ""
    if checkpoints["seen"] is None:
        return UNKNOWN
    return SEEN if _seen_here(row) else ""


def seen_notes(rows: Sequence[RowResults]) -> list[str]:
    """The footnotes of the marks, and which weights each row has."""
    notes = []
    for row in rows:
        checkpoints = row.told.get("checkpoints")
        if checkpoints is not None:
            files = ", ".join(
                f"{file['name']} (SHA-256 {file['sha256'][:12]})" for file in checkpoints["files"]
            )
            notes.append(f"{row.title}: weights {files}.")
    by_mark = {mark: [row for row in rows if mark_of(row) == mark] for mark in (SEEN, UNKNOWN)}
    if by_mark[SEEN]:
        told = "; ".join(
            f"{row.title} ({', '.join(_seen_here(row))}"
            + (", by its card" if row.told["checkpoints"]["seen_by"] == "card" else "")
            + ")"
            for row in by_mark[SEEN]
        )
        notes.append(
            f"{SEEN.strip()} its weights were pre-trained on these data, test images perhaps "
            f"included: not a zero-shot result. {told}."
        )
    if by_mark[UNKNOWN]:
        titles = "; ".join(row.title for row in by_mark[UNKNOWN])
        notes.append(
            f"{UNKNOWN.strip()} what its weights have seen is unknown here; look it up before "
            f"calling the result zero-shot. {titles}."
        )
    return notes


def _seen_here(row: RowResults) -> list[str]:
    """Names of the row's test data that its weights have seen."""
    data = row.told["data"]
    tested = {common_name(name) for name in (data["name"], *data["sources"])}
    seen = {common_name(name) for name in row.told["checkpoints"]["seen"]}
    return sorted(tested & seen)
