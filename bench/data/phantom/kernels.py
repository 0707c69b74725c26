"""The inner loops of drawing, compiled: one pass over the pixels where numpy makes a dozen.

They do the same float32 operations in the same order as the array expressions in their comments,
without contraction, so a picture is the same to the bit as one drawn by those.
"""

from __future__ import annotations

import math

import numba
import numpy as np

_f32 = np.float32


@numba.njit(cache=True, nogil=True)
def smoothstep_into(t: np.ndarray) -> None:
    """`t` (1-D float32) clipped to [0, 1] and eased: t * t * (3 - 2 t)."""
    for i in range(t.size):
        v = t[i]
        v = max(v, _f32(0.0))
        v = min(v, _f32(1.0))
        t[i] = (v * v) * (v * _f32(-2.0) + _f32(3.0))


@numba.njit(cache=True, nogil=True)
def _span(low: float, high: float, shift: float, zoom: float, size: int) -> tuple[int, int]:
    start = min(max(math.floor(((low - 0.5) * zoom + 0.5 + shift) * size), 0), size)
    stop = math.ceil(((high - 0.5) * zoom + 0.5 + shift) * size)
    return start, max(min(stop, size), start)


@numba.njit(cache=True, nogil=True)
def stroke_into(
    mask: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    points: np.ndarray,
    corner: tuple[int, int],
    frame: tuple[float, float, float, float, float],
    pen: tuple[float, float, float],
) -> None:
    """The largest mask of the segments between `points`, put into `mask`.

    Args:
        x: (S, S) or (1, S), and y: (S, 1), float32 coordinates of the canvas.
        points: (n, 2) float64.
        corner: top and left of `mask` on the canvas.
        frame: zoom, shift in x, shift in y, tilt, and the size of a pixel.
        pen: half the width at the start, its taper, and the softness of the edge.
    """
    zoom, shift_x, shift_y, tilt, px = frame
    half, taper, soft = pen
    size = y.shape[0]
    margin = half + 0.5 * soft
    count = points.shape[0] - 1
    slope = _f32(-1.0 / soft)
    for i in range(count):
        x0, y0, x1, y1 = points[i, 0], points[i, 1], points[i + 1, 0], points[i + 1, 1]
        left, right = min(x0, x1) - margin, max(x0, x1) + margin
        top, bottom = min(y0, y1) - margin, max(y0, y1) + margin
        lean = tilt * (0.5 * (top + bottom) - 0.5)
        pad = abs(tilt) * 0.5 * (bottom - top) + px
        r0, r1 = _span(top - px, bottom + px, shift_y, zoom, size)
        c0, c1 = _span(left - lean - pad, right - lean + pad, shift_x, zoom, size)
        dx, dy = x1 - x0, y1 - y0
        length = dx * dx + dy * dy + 1e-12
        along_x, along_y = _f32(dx / length), _f32(dy / length)
        dx32, dy32, x32, y32 = _f32(dx), _f32(dy), _f32(x0), _f32(y0)
        here = max(half * (1.0 + (taper - 1.0) * (i + 0.5) / count), 0.5 * px)
        offset = _f32(here / soft + 0.5)
        for r in range(r0, r1):
            v0 = y[r, 0] - y32
            v_part = v0 * along_y
            for c in range(c0, c1):
                u = x[r, c] - x32
                along = u * along_x + v_part
                along = max(along, _f32(0.0))
                along = min(along, _f32(1.0))
                u -= along * dx32
                v = v0 - along * dy32
                t = np.sqrt(u * u + v * v) * slope + offset
                t = max(t, _f32(0.0))
                t = min(t, _f32(1.0))
                s = (t * t) * (t * _f32(-2.0) + _f32(3.0))
                at = mask[r - corner[0], c - corner[1]]
                mask[r - corner[0], c - corner[1]] = max(at, s)


@numba.njit(cache=True, nogil=True)
def add_into(
    density: np.ndarray, lung: np.ndarray, mask: np.ndarray, amount: float, air: float, rest: float
) -> None:
    """density += mask * amount, of which the share `air` falls on lung and takes its air away.

    Args:
        density, lung: the part of the canvas under `mask`; all three (h, w).
        rest: the density of the air of a whole lung, inverted.
    """
    of = mask.dtype.type
    much, within, without, filled = of(amount), of(air), of(1.0 - air), of(rest)
    for r in range(mask.shape[0]):
        for c in range(mask.shape[1]):
            change = mask[r, c] * much
            if air != 0.0:
                inside = (change * lung[r, c]) * within
                change = change * without + inside
                lung[r, c] -= inside * filled
            density[r, c] += change
