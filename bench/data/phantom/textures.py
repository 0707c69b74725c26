"""Tissue textures: band-limited noise and vessel trees, the same picture at every size.

Noise tiles are periodic over one frame and are built from one fixed spectrum, cut at the Nyquist
frequency of the size asked for. An image takes a tile at an offset of its own.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from bench.data.phantom.canvas import Box, Canvas, Point

_SPECTRUM = 128  # cycles per frame that are ever drawn
_BANDS = {
    # kind: (centre, width) of the pass band in cycles per frame, on a log axis
    "cloud": (4.0, 0.5),
    "patch": (9.0, 0.4),
    "net": (18.0, 0.25),
    "grain": (30.0, 0.35),
}
TREES = 6


@lru_cache(maxsize=32)
def _tile(kind: str, size: int) -> np.ndarray:
    """(2 size, 2 size) float32 noise of unit variance (before the cut at this size's Nyquist)."""
    rng = np.random.default_rng((sorted(_BANDS).index(kind), 40))
    n = 2 * _SPECTRUM
    spectrum = np.fft.rfft2(rng.standard_normal((n, n)))
    fy = np.fft.fftfreq(n, 1 / n)[:, None]
    fx = np.fft.rfftfreq(n, 1 / n)[None, :]
    radius = np.maximum(np.hypot(fy, fx), 0.5)
    centre, width = _BANDS[kind]
    spectrum *= np.exp(-0.5 * (np.log(radius / centre) / width) ** 2)
    scale = np.fft.irfft2(spectrum, (n, n)).std()
    keep = min(size // 2, _SPECTRUM)
    cut = np.zeros((size, size // 2 + 1), complex)
    cut[:keep, :keep] = spectrum[:keep, :keep]
    cut[size - keep + 1 :, :keep] = spectrum[n - keep + 1 :, :keep]
    one = np.fft.irfft2(cut, (size, size)) * (size / n) ** 2 / scale
    tile = np.tile(one, (2, 2)).astype(np.float32)
    tile.setflags(write=False)
    return tile


def noise(canvas: Canvas, box: Box, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Band-limited noise of unit variance under `box`, at an offset drawn from `rng`.

    The offset is drawn in frame units before it is rounded to pixels: sizes agree.
    """
    dy, dx = (int(rng.random() * canvas.size) for _ in range(2))
    rows, cols = box
    return _tile(kind, canvas.size)[
        rows.start + dy : rows.stop + dy, cols.start + dx : cols.stop + dx
    ]


def _branch(
    rng: np.random.Generator, start: Point, angle: float, length: float, width: float, depth: int
) -> list[tuple[list[Point], float]]:
    bend = rng.uniform(-0.35, 0.35)
    points = [start]
    for _ in range(4):
        x, y = points[-1]
        points.append((x + length / 4 * math.cos(angle), y + length / 4 * math.sin(angle)))
        angle += bend / 4
    strokes = [(points, width)]
    if depth:
        for spread in (rng.uniform(0.2, 0.6), -rng.uniform(0.2, 0.6)):
            shorter = length * rng.uniform(0.62, 0.85)
            at = points[int(rng.integers(2, 5))]
            strokes += _branch(rng, at, angle + spread, shorter, width * 0.66, depth - 1)
    return strokes


@lru_cache(maxsize=32)
def vessels(variant: int, size: int) -> np.ndarray:
    """(2 size, 2 size) float32 vessel tree of a left lung, its hilum at the centre of the array."""
    rng = np.random.default_rng((variant, 41))
    canvas = Canvas(2 * size, zoom=0.5)
    total = np.zeros((2 * size, 2 * size), np.float32)
    for angle in np.linspace(-1.35, 1.45, 9):
        start = (0.5, 0.5 + 0.05 * float(angle))
        tilt = float(angle) + rng.uniform(-0.12, 0.12)
        length = rng.uniform(0.09, 0.13)
        for points, width in _branch(rng, start, tilt, length, rng.uniform(0.012, 0.017), 3):
            box, mask = canvas.stroke(points, width, soft=0.007, taper=0.7)
            # Unlike a sign, a vessel thinner than a pixel fades as it would on a coarse detector.
            total[box] += mask * (min(1.0, width / 0.010) * min(1.0, width / canvas.px))
    np.minimum(total, 1.3, out=total)
    total.setflags(write=False)
    return total
