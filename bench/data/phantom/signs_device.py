"""Support devices: tubes, lines, wires and boxes, drawn over everything else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.data.phantom.anatomy import Outline
from bench.data.phantom.canvas import Canvas, Point, arc, bezier
from bench.data.phantom.sign import Layer, Sign, between
from bench.data.phantom.traits import Trait

Rng = np.random.Generator


def _line(canvas: Canvas, points: list[Point], width: float, amount: float) -> None:
    box, mask = canvas.stroke(points, width, soft=0.003)
    canvas.add(box, mask, amount)


def _tracheal_tube(canvas: Canvas, outline: Outline, rng: Rng, amount: float) -> None:
    a = outline.anatomy
    tip = a.knob_y + rng.uniform(-0.04, 0.03)
    for wall in (-0.009, 0.009):
        x = a.midline + wall
        _line(canvas, [(x + 0.01, -0.02), (x + 0.004, 0.1), (x, tip)], 0.004, amount)
    _line(canvas, [(a.midline + 0.012, -0.02), (a.midline + 0.002, tip)], 0.004, 0.6 * amount)


def _gastric_tube(canvas: Canvas, outline: Outline, rng: Rng, amount: float) -> None:
    a = outline.anatomy
    x = a.midline
    end = outline.floor(1, rng.uniform(0.12, 0.20), -0.07)
    path = [(x + 0.015, -0.02), (x + 0.012, 0.3), (x + 0.008, 0.6), (x + 0.03, a.dome_left + 0.03)]
    _line(canvas, path, 0.007, amount)
    _line(canvas, bezier(path[-1], (x + 0.06, a.dome_left + 0.11), end, 4), 0.007, amount)


def _central_line(canvas: Canvas, outline: Outline, rng: Rng, amount: float) -> None:
    a = outline.anatomy
    tip = outline.border(-1, rng.uniform(0.38, 0.48), -0.018)
    corner = outline.border(-1, 0.20, -0.012)
    if rng.random() < 0.5:  # internal jugular vein
        start: Point = (a.midline - 0.10, -0.02)
        path = bezier(start, (a.midline - 0.085, 0.10), corner, 3)
    else:  # subclavian or peripheral
        start = (a.midline - 0.47, rng.uniform(0.22, 0.45))
        path = bezier(start, (a.midline - 0.30, a.clavicle_y - 0.02), corner, 5)
    _line(canvas, [*path, tip], 0.006, amount)


def _pacemaker(canvas: Canvas, outline: Outline, rng: Rng, amount: float) -> None:
    a = outline.anatomy
    x, y = a.midline + rng.uniform(0.25, 0.31), a.clavicle_y + rng.uniform(0.07, 0.11)
    box, mask = canvas.ellipse(x, y, 0.045, 0.038, soft=0.005, angle=0.3)
    canvas.add(box, mask, 1.3 * amount)
    vein = (a.midline + 0.06, a.clavicle_y + 0.05)
    entry = outline.border(-1, a.clavicle_y + 0.15, -0.02)
    for tip in (outline.border(-1, 0.56, -0.03), outline.border(1, a.heart_y + 0.03, -0.045)):
        path = [*bezier((x, y), (x - 0.05, y - 0.09), vein, 3), entry]
        low = (0.5 * (entry[0] + tip[0]) - 0.02, max(entry[1], tip[1]) + 0.03)
        _line(canvas, path + bezier(entry, low, tip, 5)[1:], 0.006, amount)


def _sternal_wires(canvas: Canvas, outline: Outline, rng: Rng, amount: float) -> None:
    x = outline.anatomy.midline + rng.uniform(-0.012, 0.012)
    for i in range(int(rng.integers(4, 7))):
        loop = arc(x, 0.26 + 0.075 * i, 0.016, 0.010, 0.05, 0.95, 7)
        _line(canvas, loop, 0.005, 1.2 * amount)


def _chest_tube(canvas: Canvas, outline: Outline, rng: Rng, amount: float) -> None:
    side = -1 if rng.random() < 0.5 else 1
    start = outline.wall(side, 0.66, -0.10)
    entry = outline.wall(side, 0.58, 0.01)
    tip = outline.at(side, rng.uniform(0.3, 0.6), rng.uniform(0.08, 0.3))
    bow = (entry[0] - side * 0.04, 0.5 * (entry[1] + tip[1]) + 0.06)
    path = [start, *bezier(entry, bow, tip, 5)]
    _line(canvas, path, 0.014, 0.6 * amount)
    _line(canvas, path, 0.004, 0.6 * amount)


def _electrodes(canvas: Canvas, outline: Outline, rng: Rng, amount: float) -> None:
    a = outline.anatomy
    for side in (-1, 1):
        for y in (0.24, 0.70):
            x = a.midline + side * rng.uniform(0.20, 0.33)
            y = y + rng.uniform(-0.03, 0.03)
            box, mask = canvas.ellipse(x, y, 0.012, 0.012, soft=0.004)
            canvas.add(box, mask, amount)
            end = (a.midline + side * 0.46, 1.02)
            path = bezier((x, y), (x + side * 0.12, y + 0.15), end, 6)
            _line(canvas, path, 0.003, 0.5 * amount)


def _port(canvas: Canvas, outline: Outline, rng: Rng, amount: float) -> None:
    a = outline.anatomy
    x, y = a.midline - rng.uniform(0.22, 0.27), a.clavicle_y + 0.10
    box, mask = canvas.ellipse(x, y, 0.024, 0.024, soft=0.004)
    canvas.add(box, mask, amount)
    corner = outline.border(-1, 0.22, -0.015)
    path = bezier((x, y), (x + 0.06, a.clavicle_y - 0.06), corner, 5)
    _line(canvas, [*path, outline.border(-1, 0.44, -0.018)], 0.006, amount)


_KINDS: tuple[tuple[Callable[[Canvas, Outline, Rng, float], None], float], ...] = (
    (_tracheal_tube, 0.16),
    (_gastric_tube, 0.15),
    (_central_line, 0.26),
    (_pacemaker, 0.11),
    (_sternal_wires, 0.12),
    (_chest_tube, 0.07),
    (_electrodes, 0.08),
    (_port, 0.05),
)


def devices(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """One to four devices, as a ward or a cardiac surgeon would leave them."""
    count = 1 + int(rng.binomial(3, between(0.1, 0.55, trait.grade)))
    shares = [share for _, share in _KINDS]
    for index in rng.choice(len(_KINDS), size=count, replace=False, p=shares):
        _KINDS[int(index)][0](canvas, outline, rng, rng.uniform(0.16, 0.34))


DEVICE_SIGNS: dict[str, Sign] = {"Support Devices": Sign(Layer.DEVICE, devices)}
