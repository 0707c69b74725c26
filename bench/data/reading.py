"""What several readers do with the options and the rows of a publisher's tables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.data.listing import UNLABELLED, Listing
from bench.errors import DataError, UsageError, unknown

_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+|\d+\.\d+")


def choice(options: Mapping[str, str], key: str, allowed: Sequence[str], default: str) -> str:
    """The option's value, or the default.

    Raises:
        UsageError: it is none of those allowed.
    """
    value = options.get(key, default)
    if value not in allowed:
        raise UsageError(unknown(f"value of {key}=", value, allowed))
    return value


def place(options: Mapping[str, str], key: str, default: Path) -> Path:
    """The folder or file that an option names, or the default.

    Raises:
        UsageError: the option names nothing that exists.
    """
    if key not in options:
        return default
    path = Path(options[key]).expanduser()
    if not path.exists():
        raise UsageError(f"{key}={options[key]}: there is no such folder or file.")
    return path


def refuse_rounded(ids: Sequence[str], column: str, path: Path) -> None:
    """Refuses identifiers that a spreadsheet or a float column has rounded, as 3.24e+38.

    Raises:
        DataError: one of them is written as a rounded number, so that patients run together.
    """
    for row, value in enumerate(ids):
        if _NUMBER.fullmatch(value):
            raise DataError(
                f"{path} line {row + 2}: {column} is '{value}', a number that was rounded; "
                "different patients would become one. Take the publisher's own file, and never "
                "save it from a spreadsheet."
            )


def from_findings(
    found: Sequence[Iterable[str]], meaning: Mapping[str, Sequence[str]], classes: Sequence[str]
) -> np.ndarray:
    """(N, C) uint8 labels of rows that each name their findings: named is 1, all else is 0.

    Args:
        meaning: finding -> the classes it means; findings not in it are passed over.
    """
    labels = np.zeros((len(found), len(classes)), np.uint8)
    column = {name: index for index, name in enumerate(classes)}
    for row, names in enumerate(found):
        for name in names:
            for meant in meaning.get(name, ()):
                labels[row, column[meant]] = 1
    return labels


class Distinct(NamedTuple):
    """The rows that stay when each image has one."""

    rows: list[int]
    """Indices of the rows kept, in their order."""
    labels: np.ndarray
    """(N, C) uint8 of all rows; what the repeats of a kept row say otherwise is masked."""
    left_out: dict[str, str]
    problems: dict[str, list[str]]


def distinct(images: Sequence[str], patients: Sequence[str], labels: np.ndarray) -> Distinct:
    """One row an image where tables repeat some.

    A repeat that says the same is passed over. Where two rows contradict each other, the labels
    they disagree on are masked; an image given to two patients is left out, since either could
    put it into the wrong fold. All of it is listed.
    """
    first: dict[str, int] = {}
    labels = labels.copy()
    left_out: dict[str, str] = {}
    same: list[str] = []
    unequal: list[str] = []
    for row, image in enumerate(images):
        kept = first.setdefault(image, row)
        if kept == row:
            continue
        if patients[kept] != patients[row]:
            left_out[image] = "given to two patients"
        elif (labels[kept] != labels[row]).any():
            labels[kept, labels[kept] != labels[row]] = UNLABELLED
            unequal.append(image)
        else:
            same.append(image)
    rows = [row for image, row in first.items() if image not in left_out]
    problems = {"row given twice": same, "rows of one image with unequal labels": unequal}
    return Distinct(rows, labels, left_out, listed(problems))


def listed(problems: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The problems there are: kinds without a row are dropped, names are given once."""
    return {kind: list(dict.fromkeys(names)) for kind, names in problems.items() if names}


def assemble(
    root: Path,
    classes: tuple[str, ...],
    labels: np.ndarray,
    *,
    images: Sequence[str],
    patients: Sequence[str],
    studies: Sequence[str],
    views: Sequence[str],
    sources: Sequence[str] = (),
    omit: Sequence[str] = (),
    findings: Sequence[str] = (),
    impressions: Sequence[str] = (),
    problems: Mapping[str, Sequence[str]],
    tables: Sequence[Path],
) -> Listing:
    """A listing of the rows of a table, each image once and without those to omit.

    Args:
        omit: why a row is not used, or "" where it is; empty when all are used.
    """
    unique = distinct(images, patients, labels)
    reasons = omit or [""] * len(images)
    rows = [row for row in unique.rows if not reasons[row]]

    def kept(values: Sequence[str]) -> list[str]:
        return [values[row] for row in rows] if values else []

    return Listing(
        root=root,
        images=kept(images),
        patients=kept(patients),
        studies=kept(studies),
        views=kept(views),
        classes=classes,
        labels=unique.labels[rows],
        sources=kept(sources),
        findings=kept(findings),
        impressions=kept(impressions),
        left_out=unique.left_out
        | {images[row]: reasons[row] for row in unique.rows if reasons[row]},
        problems=unique.problems | listed(problems),
        tables=tuple(tables),
    )


def unknown_views(views: Sequence[str], options: Mapping[str, str]) -> list[str]:
    """ "view not given" for the rows without a view, where only frontal images are asked for."""
    if options.get("views", "frontal") != "frontal":
        return [""] * len(views)
    return ["" if view else "view not given" for view in views]


def folders_of_files(root: Path, folders: Iterable[str]) -> dict[str, str]:
    """File name -> its path below `root`, for the files of the folders that are there.

    A name in two folders is that of the first. Nothing but the folders' lists is read.
    """
    where: dict[str, str] = {}
    for folder in folders:
        if (root / folder).is_dir():
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    where.setdefault(entry.name, path)
    return where
