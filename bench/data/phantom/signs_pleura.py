"""Signs of the pleural space, the diaphragm and gas outside the lung."""

from __future__ import annotations

import numpy as np

from bench.data.phantom.anatomy import Outline
from bench.data.phantom.canvas import Canvas, bezier, smoothstep
from bench.data.phantom.sign import Layer, Sign, between
from bench.data.phantom.signs_lung import half
from bench.data.phantom.textures import noise
from bench.data.phantom.traits import Trait

Rng = np.random.Generator
_FLUID = 0.74  # density of a hemithorax full of fluid
_EMPTY = 0.19  # and of one full of air


def _fill(canvas: Canvas, outline: Outline, side: int, level: float, rise: float) -> None:
    """Fluid below `level` that climbs the wall by `rise`; the lung under it is gone."""
    a = outline.anatomy
    box = half(canvas, outline, side)
    climb = np.abs(canvas.x[box] - a.midline)
    climb -= 0.35 * a.half_width
    climb *= 1.0 / (0.65 * a.half_width)
    np.maximum(climb, 0.0, out=climb)
    climb *= climb * climb
    climb *= rise
    climb += canvas.y[box[0]] - level
    climb *= 1.0 / canvas.edge(0.016)
    climb += 0.5
    fluid = smoothstep(climb)
    fluid *= canvas.lung[box]
    canvas.blend(box, fluid * np.float32(0.9), _FLUID)
    canvas.lung[box] -= fluid


def effusion(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Fluid at the base with a meniscus: from a blunted angle to half a white lung."""
    a = outline.anatomy
    sides = [(trait.side, trait.grade)]
    if rng.random() < 0.35:
        sides.append((-trait.side, 0.6 * trait.grade))
    for side, grade in sides:
        top = a.dome_left if side > 0 else a.dome_right
        level = top + a.dome_depth * 0.60 - between(0.0, 0.26, grade**1.8)
        _fill(canvas, outline, side, level, between(0.035, 0.11, grade))


def _collapse(canvas: Canvas, outline: Outline, side: int, share: float, line: float) -> None:
    """Air around a shrunken lung: a dark rim without vessels inside a thin white line."""
    a = outline.anatomy
    box = half(canvas, outline, side)
    y = canvas.y[box[0], 0]
    drop = 0.45 * share
    fade = np.clip((a.dome_right + 0.05 - y) / 0.5, 0.25, 1.0)
    edge = outline.lateral(y - drop) * (1.0 - share * fade)
    slope = np.gradient(edge, y) if y.size > 1 else np.zeros_like(edge)
    steep = 1.0 / np.sqrt(1.0 + np.minimum(slope, 8.0) ** 2)
    distance = np.abs(canvas.x[box] - a.midline)
    distance -= edge.astype(np.float32)[:, None]
    distance *= steep.astype(np.float32)[:, None]
    rim = np.abs(distance)
    rim *= -1.0 / canvas.edge(0.004)
    rim += max(0.0035, 0.5 * canvas.px) / canvas.edge(0.004) + 0.5
    distance *= 1.0 / canvas.edge(0.006)
    outside = smoothstep(distance)
    lung = canvas.lung[box]
    outside *= lung
    here = canvas.density[box]
    here += (_EMPTY - here) * (outside * np.float32(0.55 + share))
    # The shrunken lung is a little denser than the other.
    here += (lung - outside) * np.float32(0.03)
    here += smoothstep(rim) * (lung * np.float32(line))


def pneumothorax(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """The visceral pleural line with empty, dark space beyond it, widest at the apex."""
    share = between(0.05, 0.38, trait.grade**1.6)
    _collapse(canvas, outline, trait.side, share, rng.uniform(0.06, 0.16))


def hydropneumothorax(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A ruler-straight air-fluid level across one side, with a pleural line above it."""
    side, a = trait.side, outline.anatomy
    _collapse(canvas, outline, side, between(0.12, 0.40, trait.grade), rng.uniform(0.08, 0.16))
    top = a.dome_left if side > 0 else a.dome_right
    level = top + 0.02 - between(0.0, 0.20, rng.random())
    _fill(canvas, outline, side, level, 0.0)
    inner, outer = outline.border(side, level, 0.01), outline.wall(side, level, 0.005)
    box, mask = canvas.stroke([inner, outer], 0.006)
    canvas.add(box, mask, 0.07)


def thickening(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A peel along the lateral wall, or a cap on the apex."""
    side, a = trait.side, outline.anatomy
    amount, width = between(0.20, 0.32, trait.grade), between(0.030, 0.052, rng.random())
    start = a.apex + 0.035 if rng.random() < 0.5 else a.apex + 0.20
    peel = [outline.wall(side, start + 0.045 * i, 0.3 * width) for i in range(8)]
    box, mask = canvas.stroke(peel, width, soft=0.012, taper=0.6)
    canvas.add(box, mask, amount, air=0.9)
    if start < a.apex + 0.1:
        cap = [outline.at(side, across, 0.035) for across in (0.15, 0.4, 0.65, 0.9)]
        box, mask = canvas.stroke(cap, width, soft=0.014)
        canvas.add(box, mask, amount, air=0.9)


def plaques(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Calcified plaques: on the dome, on the wall, and a holly leaf seen face on."""
    amount = between(0.22, 0.38, trait.grade)
    for side in (-1, 1):
        start = rng.uniform(0.13, 0.18)
        dome = [outline.floor(side, start + 0.025 * i, 0.005) for i in range(5)]
        box, mask = canvas.stroke(dome, 0.013, soft=0.005)
        canvas.add(box, mask, amount)
        y = rng.uniform(0.42, 0.52)
        wall = [outline.wall(side, y + 0.03 * i, 0.010) for i in range(4)]
        box, mask = canvas.stroke(wall, 0.013, soft=0.005)
        canvas.add(box, mask, amount)
    x, y = outline.at(trait.side, rng.uniform(0.45, 0.65), rng.uniform(0.5, 0.75))
    box, mask = canvas.ellipse(x, y, 0.065, 0.045, soft=0.03, angle=rng.uniform(-0.6, 0.6))
    leaf = noise(canvas, box, "net", rng) * 0.9
    leaf += 0.2 + 1.6 * (mask - 0.5)
    leaf *= 1.6
    canvas.add(box, smoothstep(leaf) * mask, amount)


def pneumomediastinum(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Dark streaks along heart and great vessels, the lifted pleura a fine white line outside."""
    a = outline.anatomy
    dark, line = between(0.12, 0.22, trait.grade), between(0.10, 0.20, trait.grade)
    for side, stop in ((1, a.heart_y + 0.04), (-1, a.hilum_y + 0.10)):
        ys = np.linspace(0.17, stop, 9).tolist()
        gap = between(0.010, 0.018, rng.random())
        box, mask = canvas.stroke([outline.border(side, y, 0.001) for y in ys], gap, soft=0.006)
        canvas.add(box, mask, -dark)
        box, mask = canvas.stroke([outline.border(side, y, 0.8 * gap) for y in ys], 0.004)
        canvas.add(box, mask, line)
    for offset in (-0.055, -0.03, 0.035, 0.06):
        x = a.midline + offset + rng.uniform(-0.005, 0.005)
        box, mask = canvas.stroke([(x * 0.96 + 0.02, 0.0), (x, 0.20)], 0.008, soft=0.006)
        canvas.add(box, mask, -0.8 * dark)


def pneumoperitoneum(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A dark crescent under a dome, the diaphragm a thin line above it."""
    sides = (-1, 1) if rng.random() < 0.4 else (-1 if trait.side < 0 else 1,)
    thick = between(0.010, 0.032, trait.grade)
    reach = between(0.10, 0.14, rng.random())
    for side in sides:
        centre = 0.44 * outline.anatomy.half_width
        for part in (0.35, 0.75, 1.0):
            xs = [centre + reach * part * (i - 3) / 3 for i in range(7)]
            line = [outline.floor(side, x, -0.014 - 0.55 * thick * (1.6 - part)) for x in xs]
            box, mask = canvas.stroke(line, 0.6 * thick, soft=0.008)
            canvas.density[box] -= mask * np.float32(between(0.09, 0.15, trait.grade))
        rim = [outline.floor(side, centre + reach * (i - 3) / 3, 0.0) for i in range(7)]
        box, mask = canvas.stroke(rim, 0.006)
        canvas.add(box, mask, 0.10)


def subcutaneous(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Dark streaks through the chest wall and neck, and the fan of the chest muscle."""
    a = outline.anatomy
    amount = between(0.11, 0.22, trait.grade)
    sides = (-1, 1) if rng.random() < 0.5 else (trait.side,)
    for side in sides:
        for i in range(9):
            y = 0.22 + 0.05 * i + rng.uniform(-0.015, 0.015)
            x, _ = outline.wall(side, y, -rng.uniform(0.02, 0.055))
            line = bezier((x, y), (x + side * 0.012, y + 0.03), (x - side * 0.004, y + 0.075), 3)
            box, mask = canvas.stroke(line, rng.uniform(0.006, 0.013), soft=0.006, taper=0.5)
            canvas.add(box, mask, -amount)
        for i in range(5):
            start = (a.midline + side * 0.36, 0.23 + 0.015 * i)
            stop = (a.midline + side * 0.15, 0.17 + 0.055 * i + rng.uniform(-0.01, 0.01))
            box, mask = canvas.stroke([start, stop], 0.006, soft=0.006, taper=0.6)
            canvas.add(box, mask, -0.55 * amount)
        for i in range(3):
            x = a.midline + side * (0.07 + 0.022 * i)
            box, mask = canvas.stroke([(x, 0.0), (x + side * 0.03, 0.13)], 0.009, soft=0.006)
            canvas.add(box, mask, -amount)


PLEURA_SIGNS: dict[str, Sign] = {
    "Hydropneumothorax": Sign(Layer.PLEURA, hydropneumothorax),
    "Pleural Effusion": Sign(Layer.PLEURA, effusion),
    "Pleural Other": Sign(Layer.PLEURA, plaques),
    "Pleural Thickening": Sign(Layer.PLEURA, thickening),
    "Pneumomediastinum": Sign(Layer.MEDIASTINUM, pneumomediastinum),
    "Pneumoperitoneum": Sign(Layer.MEDIASTINUM, pneumoperitoneum),
    "Pneumothorax": Sign(Layer.PLEURA, pneumothorax),
    "Subcutaneous Emphysema": Sign(Layer.BONE, subcutaneous),
}
