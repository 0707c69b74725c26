"""The embedded default: `phantom[:n=2400,size=64,seed=0]`, drawn once and kept in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from bench.classes import CLASSES
from bench.data.build import clear_work, held, make_pixels
from bench.data.dataset import DataSpec, cache_folder
from bench.data.store import Rows, finish_store, is_finished
from bench.errors import UsageError

DEFAULTS = {"n": 2400, "size": 64, "seed": 0}


def prepare(spec: DataSpec, jobs: int = 1, tell: Callable[[str], None] | None = None) -> Path:
    """The finished store of a phantom, drawn by `jobs` processes.

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
    with held(target, tell):
        if not is_finished(target):
            _draw(target, options, jobs, tell)
            clear_work(target)
    return target


def _draw(
    target: Path, options: dict[str, int], jobs: int, tell: Callable[[str], None] | None
) -> None:
    from bench.data.phantom import draw_shot, make_cohort

    cohort = make_cohort(options["n"], options["seed"])
    count = len(cohort)
    pixels = make_pixels(
        target,
        [cohort.shot(row) for row in range(count)],
        draw_shot,
        options["size"],
        plan=target.name,
        jobs=jobs,
        tell=tell,
        prints=False,
    )
    finish_store(
        target,
        "phantom",
        Rows(
            classes=CLASSES,
            labels=cohort.labels,
            images=[f"phantom-{options['seed']}-{row:06d}" for row in range(count)],
            patients=cohort.patients,
            studies=cohort.studies,
            sources=["phantom"] * count,
            findings=cohort.findings,
            impressions=cohort.impressions,
            boxes=pixels.boxes,
            views=cohort.views,
        ),
        made_from={"reader": "phantom", "drawing": _drawing(), **options},
    )


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
