"""A data set as every method and every statistic sees it, and the front door that opens one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError, unknown

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Dataset:
    """One row an image: pixels, labels with their mask, patient, study, source and report text."""

    name: str
    classes: tuple[str, ...]
    pixels: np.ndarray
    """(N, S, S) uint8, one channel, the image centred on a black square; usually memory-mapped."""
    boxes: np.ndarray
    """(N, 4) int16: top, left, height and width of the image inside its square."""
    labels: np.ndarray
    """(N, C) uint8, 1 = present; read only where `mask` is set."""
    mask: np.ndarray
    """(N, C) bool, True where the source says anything about the class."""
    images: tuple[str, ...]
    patients: np.ndarray
    studies: np.ndarray
    sources: np.ndarray
    """(N,) str: the hospital or collection an image comes from; AUC is taken within each."""
    findings: tuple[str, ...]
    impressions: tuple[str, ...]
    fingerprint: str
    """SHA-256 of the content; two data sets with the same one give the same scores."""
    synthetic: bool
    left_out: Mapping[str, str]
    """What was not used and why: image name -> reason."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Side of the stored square in pixels."""
        return int(self.pixels.shape[-1])

    @property
    def reports(self) -> tuple[str, ...]:
        """Report text a method trains on: the impression, or the findings where there is none."""
        return tuple(i or f for i, f in zip(self.impressions, self.findings, strict=True))


@dataclass(frozen=True)
class DataSpec:
    """What `--data` says, parsed: a reader, an optional path and its options.

    >>> DataSpec.parse("phantom:n=240,size=64")
    DataSpec(reader='phantom', path=None, options={'n': '240', 'size': '64'})
    >>> DataSpec.parse("csv:scans/2024,views=all").options
    {'views': 'all'}
    """

    reader: str
    path: str | None
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> DataSpec:
        """A spec from `reader[:path][,key=value...]`; unknown readers are refused by name."""
        reader, _, rest = text.partition(":")
        readers = _readers()
        if reader not in readers:
            raise UsageError(
                unknown("data set", reader, readers) + " See: bench data list. "
                "A folder of your own is csv:PATH."
            )
        parts = rest.split(",") if rest else []
        options: dict[str, str] = {}
        while parts and "=" in parts[-1] and parts[-1].split("=", 1)[0] in readers[reader].options:
            key, _, value = parts.pop().partition("=")
            options[key] = value
        path = ",".join(parts) or None
        if path is not None and not readers[reader].takes_path:
            raise UsageError(
                f"'{reader}' takes key=value options, not '{path}'. "
                f"Known options: {', '.join(sorted(readers[reader].options)) or 'none'}."
            )
        if path is None and readers[reader].takes_path:
            raise UsageError(f"'{reader}' needs a path: {reader}:PATH.")
        return cls(reader, path, dict(reversed(options.items())))


@dataclass(frozen=True)
class Reader:
    """One source of data: what it is called, what it is, and how it becomes a store."""

    name: str
    about: str
    takes_path: bool
    options: tuple[str, ...]
    module: str
    """Module with `prepare(spec, size, skip_unreadable) -> Path of a finished store`."""


READERS: tuple[Reader, ...] = (
    Reader(
        "phantom",
        "embedded default: procedural chest X-rays with the long tail of CXR-LT (synthetic)",
        takes_path=False,
        options=("n", "size", "seed"),
        module="bench.data.readers.phantom",
    ),
    Reader(
        "csv",
        "a folder with labels.csv: image, patient_id, optional view, source, reports, and classes",
        takes_path=True,
        options=("views",),
        module="bench.data.readers.csv_folder",
    ),
)


def _readers() -> dict[str, Reader]:
    return {reader.name: reader for reader in READERS}


def load_dataset(spec: str, size: int = 112, *, skip_unreadable: bool = False) -> Dataset:
    """The data set named by `spec`, prepared on first use and opened from its store afterwards.

    Args:
        spec: `phantom`, `phantom:n=240,size=64,seed=1`, `csv:PATH` or `csv:PATH,views=all`.
        size: side in pixels at which files are stored. The phantom is drawn at its own `size`
            option (64), since drawing it larger only costs time.
        skip_unreadable: leave out missing or unreadable images (they are listed in
            `Dataset.left_out`) instead of refusing the data set.

    Raises:
        UsageError: unknown reader or option.
        DataError: files or labels are not what they should be.
    """
    return prepare_dataset(spec, size, skip_unreadable=skip_unreadable)[1]


def prepare_dataset(spec: str, size: int, *, skip_unreadable: bool = False) -> tuple[Path, Dataset]:
    """As `load_dataset`, with the folder of the store, for other processes to open."""
    from importlib import import_module

    from bench.data.store import open_store

    parsed = DataSpec.parse(spec)
    module: Any = import_module(_readers()[parsed.reader].module)
    store: Path = module.prepare(parsed, size, skip_unreadable)
    return store, open_store(store)


def cache_folder() -> Path:
    """Where prepared stores live: $CXR_BENCH_CACHE, else cxr-bench in the user's cache folder."""
    import os

    explicit = os.environ.get("CXR_BENCH_CACHE")
    if explicit:
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxr-bench"
