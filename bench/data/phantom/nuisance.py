"""Structures that belong to no class: mimics on the patient, markers on the film."""

from __future__ import annotations

import numpy as np

from bench.data.phantom.anatomy import Outline
from bench.data.phantom.canvas import Canvas, bezier


def draw_mimics(canvas: Canvas, outline: Outline, rng: np.random.Generator) -> None:
    """Nipples, calcified rib cartilage and a skin fold, each in some patients only."""
    a = outline.anatomy
    draws = rng.random(12)
    if draws[0] < 0.15:
        for side in (-1, 1):
            x, y = a.midline + side * (0.22 + 0.04 * draws[1]), 0.60 + 0.06 * float(draws[2])
            box, mask = canvas.ellipse(x, y, 0.011, 0.011, soft=0.012)
            canvas.add(box, mask, 0.05)
    if draws[3] < 0.2:
        for side in (-1, 1):
            for i in range(3):
                x, y = outline.border(side, 0.42 + 0.075 * i, 0.03 + 0.02 * float(draws[4 + i]))
                box, mask = canvas.stroke([(x, y), (x + side * 0.03, y - 0.02)], 0.012, 0.012)
                canvas.add(box, mask, 0.04)
    if draws[7] < 0.08:
        side = -1 if draws[8] < 0.5 else 1
        x, y = outline.at(side, 0.7, 0.35)
        line = bezier((x, y), (x + side * 0.02, y + 0.12), (x - side * 0.03, y + 0.26))
        box, mask = canvas.stroke(line, 0.02, soft=0.03)
        canvas.add(box, mask, 0.05)


def draw_markers(canvas: Canvas, portable: bool, rng: np.random.Generator) -> None:
    """The side marker in a corner, and now and then a button or a crease of cloth."""
    draws = rng.random(8)
    px = 1.0 / canvas.size
    side = 1 if draws[0] < 0.6 else -1
    x, y = 0.5 + side * (0.40 + 0.05 * draws[1]), 0.05 + 0.05 * draws[2]
    tall, wide = 0.045, 0.022
    letter = [(x, y), (x, y + tall), (x + wide, y + tall)]
    if side < 0:
        letter = [(x, y + tall), (x, y), (x + wide, y + 0.25 * tall), (x, y + 0.5 * tall),
                  (x + wide, y + tall)]  # fmt: skip
    box, mask = canvas.stroke([(float(p), float(q)) for p, q in letter], max(0.007, px))
    canvas.add(box, mask, 0.45)
    if draws[3] < 0.06:
        box, mask = canvas.ellipse(0.3 + 0.4 * float(draws[4]), 0.2 + 0.6 * float(draws[5]),
                                   0.013, 0.013)  # fmt: skip
        canvas.add(box, mask, 0.10)
    if portable and draws[6] < 0.15:
        y = 0.75 + 0.2 * float(draws[7])
        box, mask = canvas.stroke([(0.1, y), (0.9, y + 0.03)], 0.012, soft=0.02)
        canvas.add(box, mask, 0.03)
