"""Image files of a listing: where they are, that they lie below its root, and their state."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from bench.data.listing import Listing
from bench.errors import DataError

State = tuple[str, int, int]
"""Path, size in bytes and time of the last change in ns; -1 and -1 where there is no file."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".dcm", ".dicom", ".tif", ".tiff")


def confined(listing: Listing) -> list[State]:
    """The real path of each row's image and its state, all below the root and each named once.

    Raises:
        DataError: a path leads out of the root, by ".." or by a link, cannot be that of a file, or
            two rows name one file.
    """
    root = os.path.realpath(listing.root)
    resolve = _resolver()
    states: list[State] = []
    named: dict[str, int] = {}
    twice: list[tuple[int, int]] = []
    for row, image in enumerate(listing.images):
        try:
            state = resolve(os.path.join(root, image))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{_where(listing, row)}: image {image!r} cannot be a file ({error}). Mend the "
                "name."
            ) from error
        if not state[0].startswith(root.rstrip(os.sep) + os.sep):
            raise DataError(
                f"{_where(listing, row)}: image '{image}' lies outside {root}. Links count for "
                "what they lead to; where one was meant, name that folder instead."
            )
        if state[0] in named:
            twice.append((named[state[0]], row))
        named.setdefault(state[0], row)
        states.append(state)
    if twice:
        first, again = twice[0]
        raise DataError(
            f"{_table(listing)} names {len(twice)} images twice, first '{listing.images[first]}'"
            f"{_line(listing, first)} and '{listing.images[again]}'{_line(listing, again)}. Keep "
            "one row an image."
        )
    return states


def states(paths: Iterable[str | Path]) -> list[State]:
    """The state of each path; a link's is that of the file it leads to."""
    found: list[State] = []
    for path in paths:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            found.append((str(path), -1, -1))
        else:
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return found


def images_below(root: Path) -> Iterator[str]:
    """Names, relative to `root`, of all files below it that look like images."""
    for folder, _, files in os.walk(root):
        below = os.path.relpath(folder, root)
        for name in files:
            if name.lower().endswith(SUFFIXES):
                path = name if below == os.curdir else os.path.join(below, name)
                yield path.replace(os.sep, "/")


def shown(names: Sequence[str], most: int = 5) -> str:
    """The first few of a list of names, and how many more there are.

    >>> shown(["a", "b", "c"], 2)
    'a; b; and 1 more'
    """
    more = len(names) - most
    return "; ".join(names[:most]) + (f"; and {more} more" if more > 0 else "")


class _Resolver:
    """Real paths with one look at each file: folders are resolved once."""

    def __init__(self) -> None:
        self._folder = lru_cache(maxsize=1 << 14)(os.path.realpath)

    def __call__(self, path: str) -> State:
        folder, name = os.path.split(os.path.normpath(path) if ".." not in path else path)
        if name in {"", ".", ".."}:
            return _followed(path)
        real = os.path.join(self._folder(folder), name)
        try:
            status = os.lstat(real)
        except (FileNotFoundError, NotADirectoryError):
            return real, -1, -1
        except OSError as error:
            if error.errno != errno.EACCES:
                raise
            return real, -1, -1
        if stat.S_ISLNK(status.st_mode):
            return _followed(real)
        return real, status.st_size, status.st_mtime_ns


def _followed(path: str) -> State:
    """The state of what a link leads to. Unlike `realpath`, a loop is an OSError."""
    real = os.path.realpath(path)
    try:
        status = os.stat(real)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
        return real, -1, -1
    return real, status.st_size, status.st_mtime_ns


def _resolver() -> _Resolver:
    return _Resolver()


def _table(listing: Listing) -> str:
    return str(listing.tables[0] if listing.tables else listing.root)


def _where(listing: Listing, row: int) -> str:
    return _table(listing) + (f" line {listing.lines[row]}" if len(listing.lines) else "")


def _line(listing: Listing, row: int) -> str:
    return f" (line {listing.lines[row]})" if len(listing.lines) else ""
