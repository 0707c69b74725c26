"""Compiled drawing gives the pixels of the array expressions that it stands for, to the bit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from bench.data.phantom.canvas import AIR, Canvas, smoothstep
from bench.data.phantom.kernels import add_into


def _eased(t: np.ndarray) -> np.ndarray:
    t = np.minimum(np.maximum(t, 0.0), 1.0)
    return (t * t) * (t * -2.0 + 3.0)


def _stroked(
    canvas: Canvas, points: list[tuple[float, float]], width: float, soft: float, taper: float
) -> np.ndarray:
    """The mask on the whole canvas, from distances to every segment in numpy."""
    soft = canvas.edge(soft)
    half = max(0.5 * width, 0.5 * canvas.px)
    margin = half + 0.5 * soft
    mask = np.zeros((canvas.size, canvas.size), np.float32)
    count = len(points) - 1
    for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
        part = canvas.box(
            min(x0, x1) - margin, min(y0, y1) - margin, max(x0, x1) + margin, max(y0, y1) + margin
        )
        u, v = canvas.x[part] - x0, canvas.y[part[0]] - y0
        dx, dy = x1 - x0, y1 - y0
        length = dx * dx + dy * dy + 1e-12
        along = np.clip(u * (dx / length) + v * (dy / length), np.float32(0), np.float32(1))
        u, v = u - along * dx, v - along * dy
        here = max(half * (1.0 + (taper - 1.0) * (i + 0.5) / count), 0.5 * canvas.px)
        near = _eased(np.sqrt(u * u + v * v) * (-1.0 / soft) + (here / soft + 0.5))
        mask[part] = np.maximum(mask[part], near)
    return mask


@pytest.mark.parametrize("size", [32, 64, 224])
def test_a_stroke_is_the_same_to_the_bit(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(20):
        zoom, tilt, right, down = rng.normal([1, 0, 0, 0], [0.03, 0.02, 0.02, 0.02]).tolist()
        canvas = Canvas(size, zoom, (right, down), tilt)
        points = [tuple(point) for point in rng.uniform(-0.1, 1.1, (4, 2)).tolist()]
        width, soft, taper = rng.uniform([0.002, 0, 0.4], [0.06, 0.03, 1.0]).tolist()
        box, mask = canvas.stroke(points, width, soft, taper)
        whole = np.zeros((size, size), np.float32)
        whole[box] = mask
        assert (whole == _stroked(canvas, points, width, soft, taper)).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_easing_is_the_same_to_the_bit(kind: type) -> None:
    values = np.random.default_rng(0).uniform(-0.5, 1.5, (50, 60)).astype(kind)
    expected = _eased(values.copy())
    assert (smoothstep(values.copy()) == expected).all()


@pytest.mark.parametrize("air", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_adding_is_the_same_to_the_bit(kind: type, air: float) -> None:
    rng = np.random.default_rng(1)
    density, lung = (rng.random((40, 30)).astype(np.float32) for _ in range(2))
    mask = rng.random((40, 30)).astype(kind)
    change = mask * 0.13
    lung_after = lung.copy()
    if air:
        inside = change * lung * air
        change = change * (1.0 - air) + inside
        lung_after -= inside * (1.0 / AIR)
    expected = density.copy()
    expected += change
    add_into(density, lung, mask, 0.13, air, 1.0 / AIR)
    assert (density == expected).all()
    assert (lung == lung_after).all()
