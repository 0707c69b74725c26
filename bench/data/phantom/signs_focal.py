"""Signs of focal lesions and of the lung's vessels."""

from __future__ import annotations

import math

import numpy as np

from bench.data.phantom.anatomy import Anatomy, Outline
from bench.data.phantom.canvas import Canvas, bezier, smoothstep
from bench.data.phantom.sign import Layer, Sign, between
from bench.data.phantom.signs_lung import half, ring
from bench.data.phantom.traits import Trait

Rng = np.random.Generator


def nodule(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A small round shadow of soft tissue."""
    at = outline.at(trait.side, rng.uniform(0.3, 0.75), rng.uniform(0.2, 0.85))
    radius = between(0.020, 0.038, rng.random())
    box, mask = canvas.ellipse(*at, radius, radius, soft=0.012)
    canvas.add(box, mask, between(0.18, 0.34, trait.grade), air=0.9)


def mass(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A large lobulated shadow with spicules."""
    x, y = outline.at(trait.side, rng.uniform(0.25, 0.7), rng.uniform(0.2, 0.75))
    radius = between(0.060, 0.100, rng.random())
    amount = between(0.20, 0.36, trait.grade)
    parts = [canvas.ellipse(x, y, radius, 0.9 * radius, soft=0.016)]
    for i in range(4):
        angle = 0.5 * math.pi * (i + rng.random())
        at = (x + 0.7 * radius * math.cos(angle), y + 0.7 * radius * math.sin(angle))
        lobe = radius * rng.uniform(0.45, 0.6)
        parts.append(canvas.ellipse(*at, lobe, lobe, soft=0.016))
    canvas.add(*canvas.union(parts), amount, air=0.9)
    for i in range(7):
        angle = 2 * math.pi * (i + rng.random()) / 7
        cos, sin = math.cos(angle), math.sin(angle)
        near, far = 0.95 * radius, radius * rng.uniform(1.4, 1.8)
        line = [(x + near * cos, y + near * sin), (x + far * cos, y + far * sin)]
        canvas.add(*canvas.stroke(line, 0.005, taper=0.5), 0.4 * amount, air=1.0)


def lesion(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A thick-walled cavity in the mid or lower lung."""
    at = outline.at(trait.side, rng.uniform(0.3, 0.7), rng.uniform(0.4, 0.85))
    radius = between(0.04, 0.065, rng.random())
    ring(canvas, at, radius, 0.45 * radius, between(0.18, 0.32, trait.grade))


def granuloma(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """One to four specks of calcium, sharp and very dense."""
    at = outline.at(trait.side, rng.uniform(0.3, 0.75), rng.uniform(0.2, 0.75))
    for i in range(int(rng.integers(2, 6))):
        radius = rng.uniform(0.009, 0.015)
        spread = 0.035 if i else 0.0
        x, y = at[0] + spread * rng.normal(), at[1] + spread * rng.normal()
        box, mask = canvas.ellipse(x, y, radius, radius, soft=0.004)
        canvas.add(box, mask, between(0.32, 0.55, trait.grade))


def adenopathy(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Potato nodes at both hila and beside the trachea."""
    a = outline.anatomy
    nodes = []
    for side in (-1, 1):
        for i in range(4):
            y = a.hilum_y - 0.055 + 0.045 * i + rng.uniform(-0.01, 0.01)
            x, y = outline.border(side, y, rng.uniform(0.012, 0.045))
            radius = rng.uniform(0.026, 0.042)
            nodes.append(canvas.ellipse(x, y, radius, radius, soft=0.014))
    x, y = outline.border(-1, a.knob_y + 0.03, 0.006)
    nodes.append(canvas.ellipse(x, y, 0.026, 0.045, soft=0.014))
    canvas.add(*canvas.union(nodes), between(0.08, 0.23, trait.grade), air=0.95)


def infarction(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Hampton's hump: a wedge on the lateral pleura whose rounded tip looks to the hilum."""
    side = trait.side
    x, y = outline.wall(side, rng.uniform(0.56, 0.66), 0.002)
    size = between(0.065, 0.10, rng.random())
    box, mask = canvas.ellipse(x, y, 1.25 * size, 0.72 * size, soft=0.016, angle=-0.35 * side)
    amount = between(0.24, 0.38, trait.grade)
    canvas.add(box, mask, amount, air=1.0)
    for turn in (-0.25, 0.15):
        line = [(x - side * 1.15 * size, y - 0.02), (x - side * 2.1 * size, y - 0.05 + 0.1 * turn)]
        box, mask = canvas.stroke(line, 0.006)
        canvas.add(box, mask, 0.35 * amount, air=1.0)


def round_atelectasis(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A round shadow on thick pleura with vessels that curve into it like a comet's tail."""
    side = trait.side
    radius = between(0.045, 0.065, rng.random())
    x, y = outline.wall(side, rng.uniform(0.60, 0.68), 0.9 * radius)
    amount = between(0.16, 0.32, trait.grade)
    box, mask = canvas.ellipse(x, y, radius, radius, soft=0.012)
    canvas.add(box, mask, amount, air=0.95)
    hilum = outline.border(side, outline.anatomy.hilum_y + 0.05, 0.02)
    tail = []
    for i in range(4):
        start = (x - side * 0.5 * radius, y - 0.8 * radius + 0.55 * radius * i)
        bow = (0.5 * (start[0] + hilum[0]), max(start[1], hilum[1]) - 0.01 - 0.045 * (1 - i))
        end = (0.35 * start[0] + 0.65 * hilum[0], 0.35 * start[1] + 0.65 * hilum[1])
        tail.append(canvas.stroke(bezier(start, bow, end), 0.016, soft=0.012, taper=0.3))
    canvas.add(*canvas.union(tail), 0.6 * amount, air=1.0)
    wall = [outline.wall(side, y + 0.03 * i, 0.004) for i in range(-3, 4)]
    box, mask = canvas.stroke(wall, 0.016, soft=0.008)
    canvas.add(box, mask, 0.8 * amount)


def embolism(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Westermark: one lung is emptied beyond a swollen artery that stops short."""
    side, a = trait.side, outline.anatomy
    box = half(canvas, outline, side)
    far = np.clip((np.abs(canvas.x[box] - a.midline) - 0.13) / 0.08, 0.0, 1.0)
    canvas.add(box, canvas.lung[box] * far, -between(0.07, 0.14, trait.grade))
    x, y = outline.border(side, a.hilum_y + 0.02, 0.0)
    line = bezier((x, y - 0.03), (x + side * 0.05, y), (x + side * 0.055, y + 0.085), 4)
    box, mask = canvas.stroke(line, 0.042, soft=0.010, taper=0.8)
    canvas.add(box, mask, between(0.14, 0.24, trait.grade), air=1.0)


def hypertension(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Fat central arteries that taper at once: commas at both hila, pruned beyond."""
    amount = between(0.08, 0.19, trait.grade)
    for side in (-1, 1):
        x, y = outline.border(side, outline.anatomy.hilum_y - 0.01, 0.0)
        line = bezier((x, y - 0.02), (x + side * 0.075, y - 0.01), (x + side * 0.06, y + 0.13), 5)
        box, mask = canvas.stroke(line, 0.058, soft=0.022, taper=0.35)
        canvas.add(box, mask, amount, air=1.0)


def _swell_artery(a: Anatomy, trait: Trait) -> None:
    a.artery += between(0.020, 0.05, trait.grade)
    a.heart_right += between(0.01, 0.025, trait.grade)
    a.vessels *= 0.6


def fissure(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A thick white line where lobes meet: level on the right, slanted on the left."""
    side, a = trait.side, outline.anatomy
    y = a.hilum_y + rng.uniform(0.02, 0.07)
    inner, outer = outline.border(side, y, 0.02), outline.wall(side, y, 0.0)
    drop = rng.uniform(-0.015, 0.02) if side < 0 else rng.uniform(0.08, 0.13)
    bow = (0.5 * (inner[0] + outer[0]), y + 0.5 * drop - 0.015)
    box, mask = canvas.stroke(bezier(inner, bow, (outer[0], y + drop)), 0.015, soft=0.006)
    amount = between(0.24, 0.40, trait.grade)
    canvas.add(box, mask, amount, air=1.0)
    if rng.random() < 0.5:  # fluid caught between the lobes is a spindle
        angle = math.atan2(drop, side * (outer[0] - inner[0])) * side
        box, mask = canvas.ellipse(*bow, 0.055, 0.016, soft=0.012, angle=angle)
        canvas.add(box, mask, amount, air=1.0)


def azygos(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """The arc of the azygos fissure across the right apex, ending in the vein's teardrop."""
    a = outline.anatomy
    top = outline.at(-1, rng.uniform(0.55, 0.8), 0.045)
    end = outline.border(-1, a.knob_y + 0.065, 0.020)
    bow = (top[0] - 0.055, 0.75 * end[1] + 0.25 * top[1])
    line = bezier(top, bow, end, 8)
    amount = between(0.24, 0.38, trait.grade)
    box, mask = canvas.stroke(line, 0.008, soft=0.005)
    canvas.add(box, mask, amount)
    box, mask = canvas.ellipse(end[0], end[1] + 0.006, 0.014, 0.021, soft=0.008)
    canvas.add(box, mask, amount, air=0.9)
    lobe = [top, (top[0] - 0.02, bow[1]), end, outline.border(-1, a.apex + 0.05)]
    box, mask = canvas.polygon(lobe, soft=0.02)
    canvas.add(box, mask, 0.06, air=1.0)


def clear(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Normal: clean, dark lung down to sharp angles."""
    for side in (-1, 1):
        box = half(canvas, outline, side)
        low = smoothstep((canvas.y[box[0]] - 0.35) / np.float32(0.2))
        canvas.add(box, canvas.lung[box] * low, -0.015)


def _breathe_in(a: Anatomy, trait: Trait) -> None:
    a.dome_right += 0.012
    a.dome_left += 0.012
    a.heart_left = min(a.heart_left, 0.17)
    a.fat *= 0.85


FOCAL_SIGNS: dict[str, Sign] = {
    "Adenopathy": Sign(Layer.OPACITY, adenopathy),
    "Azygos Lobe": Sign(Layer.PLEURA, azygos),
    "Fissure": Sign(Layer.PLEURA, fissure),
    "Granuloma": Sign(Layer.OPACITY, granuloma),
    "Infarction": Sign(Layer.OPACITY, infarction),
    "Lung Lesion": Sign(Layer.OPACITY, lesion),
    "Mass": Sign(Layer.OPACITY, mass),
    "Nodule": Sign(Layer.OPACITY, nodule),
    "Normal": Sign(Layer.TISSUE, clear, _breathe_in),
    "Pulmonary Embolism": Sign(Layer.TISSUE, embolism),
    "Pulmonary Hypertension": Sign(Layer.OPACITY, hypertension, _swell_artery),
    "Round(ed) Atelectasis": Sign(Layer.OPACITY, round_atelectasis),
}
