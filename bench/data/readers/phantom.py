"""The embedded default: `phantom[:n=2400,size=64,seed=0]`, drawn once and kept in the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from bench.classes import CLASSES
from bench.data.dataset import DataSpec, cache_folder
from bench.data.store import Rows, finish_store, is_finished, new_store
from bench.errors import UsageError

DEFAULTS = {"n": 2400, "size": 64, "seed": 0}
_BLOCK = 256


def prepare(spec: DataSpec, size: int, skip_unreadable: bool) -> Path:
    """The finished store of a phantom; `size` of the spec wins over the size asked for.

    Raises:
        UsageError: an option is not a number or out of range.
    """
    options = {key: _integer(key, spec.options.get(key, value)) for key, value in DEFAULTS.items()}
    n, side, seed = options["n"], options["size"], options["seed"]
    if n < 60 or side < 32 or seed < 0:
        raise UsageError(
            f"phantom:n={n},size={side},seed={seed}: n is at least 60, size at least 32 and seed "
            "at least 0."
        )
    target = cache_folder() / f"phantom-n{n}-size{side}-seed{seed}-{_drawing()}"
    if is_finished(target):
        return target
    from bench.data.phantom import make_cohort, render

    cohort = make_cohort(n, seed)
    count = len(cohort.patients)
    with new_store(target) as folder:
        pixels = np.lib.format.open_memmap(
            folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(count, side, side)
        )
        for start in range(0, count, _BLOCK):
            rows = range(start, min(start + _BLOCK, count))
            pixels[start : start + _BLOCK] = render(cohort, rows, side)
        pixels.flush()
        finish_store(
            folder,
            "phantom",
            Rows(
                classes=CLASSES,
                labels=cohort.labels,
                images=[f"phantom-{seed}-{row:06d}" for row in range(count)],
                patients=cohort.patients,
                studies=cohort.studies,
                sources=["phantom"] * count,
                findings=cohort.findings,
                impressions=cohort.impressions,
                boxes=np.tile(np.array([0, 0, side, side], np.int16), (count, 1)),
            ),
            made_from={"reader": "phantom", "drawing": _drawing(), **options},
        )
    return target


def _drawing() -> str:
    """Twelve hex digits of the generator's source: a changed drawing never meets an old store."""
    folder = Path(__file__).parent.parent / "phantom"
    sources = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    return hashlib.sha256(sources).hexdigest()[:12]


def _integer(key: str, value: str | int) -> int:
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"phantom:{key}={value} is not a whole number.") from None
