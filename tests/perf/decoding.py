"""From a JPEG to the store, and from the store to a batch: what it costs, as ratios of one run.

    python -m tests.perf.decoding                    # two minutes
    python -m tests.perf.decoding --images 4 --rounds 2

Images are generated at the size and weight of MIMIC-CXR-JPG (2544 x 3056, quality 95). Times of one
core are processor seconds, the best of several rounds; the yardstick is what CheXzero's
data_process.py@5c341db does to an image: full decode to RGB and Lanczos.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from bench.data.build import make_pixels
from bench.data.decode import Box, read_square
from bench.data.phantom import make_cohort, render
from bench.data.prepare import read_file

SIZE = 224
WIDTH, HEIGHT = 2544, 3056
STORED = 512  # images that go into the store


def film(row: int) -> Image.Image:
    """A phantom at full size with structure at every scale and the grain of a detector."""
    rng = np.random.default_rng(row)
    drawn = Image.fromarray(render(make_cohort(60, 0), [row], 512)[0])
    pixels = np.asarray(drawn.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
    for cells in (24, 96, 384):
        grain = rng.standard_normal((cells, cells)).astype(np.float32)
        coarse = Image.fromarray(grain).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        pixels = pixels + np.asarray(coarse) * (60 / cells**0.5)
    pixels = pixels + rng.standard_normal(pixels.shape).astype(np.float32) * 3
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def chexzero(path: Path) -> np.ndarray:
    """The yardstick: full decode to RGB, Lanczos on the longer side, a black square."""
    with Image.open(path) as image:
        colour = image.convert("RGB")
    scale = SIZE / max(colour.size)
    small = colour.resize([round(side * scale) for side in colour.size], Image.Resampling.LANCZOS)
    square = Image.new("RGB", (SIZE, SIZE))
    square.paste(small, ((SIZE - small.width) // 2, (SIZE - small.height) // 2))
    return np.asarray(square)


def exact(path: Path, size: tuple[int, int]) -> np.ndarray:
    """What a full decode and antialiased bicubic give at `size`."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize(size, Image.Resampling.BICUBIC), np.float32)


def psnr(path: Path) -> float:
    square, (top, left, height, width) = read_square(path, SIZE)
    got = square[top : top + height, left : left + width].astype(np.float32)
    return float(10 * np.log10(255**2 / ((got - exact(path, (width, height))) ** 2).mean()))


def cost(work: Callable[[Path], object], paths: list[Path], rounds: int) -> float:
    """Processor milliseconds an image, the best round."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for path in paths:
            work(path)
        best = min(best, time.process_time() - start)
    return best / len(paths) * 1000


class Rate(NamedTuple):
    """A preparation of many images: images a second of wall clock, and processor ms an image."""

    wall: float
    processor: float


def into_store(folder: Path, paths: list[Path], jobs: int) -> Rate:
    """The whole preparation with `jobs` processes, less what starting them costs."""
    items = [str(path) for path in paths] * (STORED // len(paths))
    start, spent = time.perf_counter(), _processor()
    make_pixels(folder / f"idle{jobs}", items, nothing, SIZE, plan="", jobs=jobs, prints=False)
    idle, idle_spent = time.perf_counter() - start, _processor() - spent
    start, spent = time.perf_counter(), _processor()
    make_pixels(folder / f"jobs{jobs}", items, read_file, SIZE, plan="", jobs=jobs)
    seconds = time.perf_counter() - start - idle
    processor = _processor() - spent - idle_spent
    return Rate(len(items) / max(seconds, 1e-9), processor / len(items) * 1000)


def _processor() -> float:
    """Processor seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def nothing(path: str, size: int, notes: list[str]) -> tuple[np.ndarray, Box]:
    """A picture that costs nothing to read."""
    return np.zeros((1, 1), np.uint8), (0, 0, 1, 1)


def batches(folder: Path, images: int, rounds: int) -> float:
    """Images a second of one core in random batches of 32 out of a store that is in page cache."""
    file = folder / "pixels.npy"
    pixels = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=(images, SIZE, SIZE))
    for start in range(0, images, 1000):
        pixels[start : start + 1000] = start % 251
    pixels.flush()
    pixels = np.load(file, mmap_mode="r")
    pixels.max()
    rng = np.random.default_rng(0)
    batch = np.empty((32, SIZE, SIZE), np.uint8)
    best = float("inf")
    for _ in range(rounds):
        rows = rng.integers(0, images, (400, 32))
        start_s = time.process_time()
        for some in rows:
            np.take(pixels, some, axis=0, out=batch, mode="clip")
        best = min(best, time.process_time() - start_s)
    return 400 * 32 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{row}.jpg" for row in range(given.images)]
        for row, path in enumerate(paths):
            film(row).save(path, quality=95)
        weight = np.mean([path.stat().st_size for path in paths]) / 1e6
        print(f"{given.images} JPEGs of {WIDTH} x {HEIGHT}, quality 95, {weight:.2f} MB each")
        yardstick = cost(chexzero, paths, given.rounds)
        ours = cost(lambda path: read_square(path, SIZE), paths, given.rounds)
        print(f"RGB and Lanczos (CheXzero)  {yardstick:6.1f} ms an image and core   1.00")
        print(
            f"read_square                 {ours:6.1f} ms an image and core   {yardstick / ours:.2f}"
        )
        fidelity = [psnr(path) for path in paths]
        print(f"against full decode and bicubic: {min(fidelity):.1f} to {max(fidelity):.1f} dB")
        one, many = (into_store(folder, paths, jobs) for jobs in (1, given.jobs))
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        print(
            f"into a store: {one.processor:.1f} ms an image with 1 process, {many.processor:.1f} "
            f"with {given.jobs}; {one.wall:.0f} and {many.wall:.0f} images/s of wall clock "
            f"({load:.1f} processes a core were waiting)"
        )
        rate = batches(folder, 8000, given.rounds)
        print(f"random batches of 32 from 8,000 x {SIZE} x {SIZE}: {rate:,.0f} images/s and core")


if __name__ == "__main__":
    main()
