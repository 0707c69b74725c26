"""A data set as every method and every statistic sees it, and the front door that opens one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """The part of `left_out` that was wanted and had no usable image."""
    views: np.ndarray | None = None
    """(N,) str: PA, AP, FRONTAL, LATERAL, OTHER or "" (not said)."""

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
        """A spec from `reader[:path][,key=value...]`, or the folder of a prepared store.

        Raises:
            UsageError: an unknown reader, or a path that it does not take or lacks.
        """
        name, _, rest = text.partition(":")
        if name not in _readers() and is_store(text):
            return cls(STORE, text, {})
        if name not in _readers() and os.path.isdir(os.path.expanduser(text)):
            raise UsageError(
                f"{text} is a folder, but no prepared data set, or one whose preparation was not "
                "finished: run bench data prepare again. A folder of your own is csv:PATH."
            )
        reader = find_reader(name)
        parts = rest.split(",") if rest else []
        options: dict[str, str] = {}
        while parts and "=" in parts[-1] and parts[-1].split("=", 1)[0] in reader.options:
            key, _, value = parts.pop().partition("=")
            options[key] = value
        path = ",".join(parts) or None
        if path is not None and not reader.takes_path:
            raise UsageError(
                f"'{name}' takes key=value options, not '{path}'. "
                f"Known options: {', '.join(sorted(reader.options)) or 'none'}."
            )
        if path is None and reader.takes_path and (reader.watched or name == STORE):
            raise UsageError(f"'{name}' needs a path: {name}:PATH.")
        return cls(name, path, dict(reversed(options.items())))


@dataclass(frozen=True)
class Reader:
    """One source of data: what it is called, what it is, and how it becomes a store."""

    name: str
    about: str
    takes_path: bool
    options: tuple[str, ...]
    module: str
    """With a path: module with `VERSION` and `read` (see `bench.data.listing`). Without one:
    module with `prepare(spec, jobs, tell) -> Path of a finished store`."""
    root: str = "folder"
    """What the path is that it takes."""
    watched: bool = False
    """The user's own folder, whose images may change; a published set stays as it was read."""


STORE = "store"
READERS: tuple[Reader, ...] = (
    Reader(
        "phantom",
        "embedded default: procedural chest X-rays with the long tail of CXR-LT (synthetic)",
        takes_path=False,
        options=("n", "size", "seed"),
        module="bench.data.readers.phantom",
    ),
    Reader(
        "mimic-cxr-lt",
        "CXR-LT 2024 or 2023 labels on MIMIC-CXR-JPG images (PhysioNet licence needed)",
        takes_path=True,
        options=("views", "labels", "reports", "year", "task", "split"),
        module="bench.data.readers.mimic_cxr_lt",
    ),
    Reader(
        "cxr-lt-2026",
        "CXR-LT 2026: 30 classes, or 6 unseen ones, on PadChest and NIH images",
        takes_path=True,
        options=("views", "labels", "task", "split"),
        module="bench.data.readers.cxr_lt_2026",
    ),
    Reader(
        "openi",
        "Indiana University / Open-i: X-rays with English reports, coded by hand (open)",
        takes_path=True,
        options=("views", "reports"),
        module="bench.data.readers.openi",
    ),
    Reader(
        "nih",
        "NIH ChestX-ray14: 14 text-mined labels (open)",
        takes_path=True,
        options=("views", "labels", "split"),
        module="bench.data.readers.nih",
    ),
    Reader(
        "chexpert",
        "CheXpert v1.0, full or small: 14 labels, uncertain ones masked (registration)",
        takes_path=True,
        options=("views", "labels", "split"),
        module="bench.data.readers.chexpert",
    ),
    Reader(
        "padchest",
        "PadChest: 38 of our classes from the labels of Spanish reports (registration)",
        takes_path=True,
        options=("views", "labels", "task", "by"),
        module="bench.data.readers.padchest",
    ),
    Reader(
        "vindr",
        "VinDr-CXR: majority of three radiologists, DICOM (PhysioNet licence needed)",
        takes_path=True,
        options=("views", "labels", "split"),
        module="bench.data.readers.vindr",
    ),
    Reader(
        "csv",
        "a folder with labels.csv: image, patient_id, optional view, source, reports, and classes",
        takes_path=True,
        options=("views", "columns"),
        module="bench.data.readers.csv_folder",
        root="label file",
        watched=True,
    ),
    Reader(
        STORE,
        "a folder that bench data prepare made",
        takes_path=True,
        options=(),
        module="bench.data.store",
    ),
)


def _readers() -> dict[str, Reader]:
    return {reader.name: reader for reader in READERS}


def find_reader(name: str) -> Reader:
    """The reader of that name.

    Raises:
        UsageError: there is none.
    """
    readers = _readers()
    if name not in readers:
        raise UsageError(
            unknown("data set", name, readers) + " See: bench data list. "
            "A folder of your own is csv:PATH."
        )
    return readers[name]


def is_store(text: str) -> bool:
    """Whether `text` is the path of a folder with the manifest of a store."""
    return os.path.isfile(os.path.join(os.path.expanduser(text), "manifest.json"))


def load_dataset(spec: str, size: int = 112, *, skip_unreadable: bool = False) -> Dataset:
    """The data set named by `spec`, prepared on first use and opened from its store afterwards.

    Args:
        spec: `phantom`, `phantom:n=240,size=64,seed=1`, `csv:PATH,views=all`, another reader's
            `name:PATH`, or the folder of a prepared store.
        size: side in pixels at which files are stored. The phantom is drawn at its own `size`
            option (64), since drawing it larger only costs time.
        skip_unreadable: leave out missing or unreadable images (they are listed in
            `Dataset.left_out`) instead of refusing the data set.

    Raises:
        UsageError: unknown reader or option.
        DataError: files or labels are not what they should be.
    """
    return prepare_dataset(spec, size, skip_unreadable=skip_unreadable)[1]


def prepare_dataset(
    spec: str,
    size: int,
    *,
    skip_unreadable: bool = False,
    jobs: int = 1,
    tell: Callable[[str], None] | None = None,
) -> tuple[Path, Dataset]:
    """As `load_dataset`, with the folder of the store, for other processes to open.

    Args:
        jobs: processes that prepare; more than one needs a guarded main module (see
            `bench.data.build.make_pixels`).
        tell: takes lines of progress.
    """
    from importlib import import_module

    from bench.data.found import latest_store
    from bench.data.prepare import prepare_files, refuse_unreadable
    from bench.data.store import open_store

    parsed = DataSpec.parse(spec)
    reader = find_reader(parsed.reader)
    if reader.name == STORE:
        store = Path(str(parsed.path)).expanduser()
        return store, open_store(store)
    if not reader.takes_path:
        module: Any = import_module(reader.module)
        store = module.prepare(parsed, jobs, tell)
    elif parsed.path is None:
        store = latest_store(reader, parsed, size)
    else:
        store = prepare_files(reader, parsed, size, jobs=jobs, tell=tell)
    dataset = open_store(store)
    if not skip_unreadable:
        refuse_unreadable(dataset, parsed)
    return store, dataset


def cache_folder() -> Path:
    """Where prepared stores live: $CXR_BENCH_CACHE, else cxr-bench in the user's cache folder."""
    explicit = os.environ.get("CXR_BENCH_CACHE")
    if explicit:
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxr-bench"
