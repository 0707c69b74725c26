"""What a reader knows about a data set before a pixel is read: one row an image.

A reader is a module of `bench/data/readers` with a number `VERSION` and one function

    read(root: Path, options: Mapping[str, str]) -> Listing

that turns a publisher's tables, as they are downloaded, into a `Listing`. It opens no image and
writes nothing. `bench.data.prepare` does everything else for every reader: it keeps paths below
the root, leaves out lateral views, decodes, checks, and writes the store. A new source is such a
module and its entry in `bench.data.dataset.READERS`, which says what it is and which options it
takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

UNLABELLED = 255
"""The code of a label that the source does not give; it is masked and never read as absent."""

FRONTAL_VIEWS = frozenset({"PA", "AP", "FRONTAL", ""})
VIEWS = FRONTAL_VIEWS | {"LATERAL", "OTHER"}
"""The words for a view. FRONTAL: neither PA nor AP is said; "": nothing is said."""


@dataclass(frozen=True)
class Listing:
    """The rows of a data set in the order of the store, and what was noticed on the way.

    All sequences have one entry an image. Identifiers are text and as published: a patient's id
    is the same in all their rows and no one else's.
    """

    root: Path
    """Folder that the image paths start from; no path may lead out of it, links included."""
    images: Sequence[str]
    """Path below `root`, with forward slashes; it is also the image's name in the store."""
    patients: Sequence[str]
    studies: Sequence[str]
    views: Sequence[str]
    """One of `VIEWS`; only `FRONTAL_VIEWS` are used unless the user asks for all."""
    classes: tuple[str, ...]
    """Names as in `bench.classes.CLASSES` where the source has the same class."""
    labels: np.ndarray
    """(N, C) uint8: 1 present, 0 absent, `UNLABELLED`."""
    sources: Sequence[str] = ()
    """Hospital or collection; AUC is taken within each. Empty: all images are of one."""
    findings: Sequence[str] = ()
    impressions: Sequence[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Images that the reader does not use on purpose, with the reason in a few words that are the
    same for all such images ("not in this split"). Lateral views are not for the reader to drop."""
    problems: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What is wrong with the tables and was lived with: kind -> the rows or names concerned."""
    tables: tuple[Path, ...] = ()
    """Files that were read. When one of them changes, the data set is prepared again."""
    lines: Sequence[int] = ()
    """Line of `tables[0]` that each row comes from, for messages. May be left empty."""
    name: str = ""
    """Name of the data set; the reader's where it is empty."""

    def __len__(self) -> int:
        return len(self.images)
