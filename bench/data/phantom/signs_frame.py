"""Signs of heart, aorta, skeleton and diaphragm hiatus."""

from __future__ import annotations

import numpy as np

from bench.data.phantom.anatomy import Anatomy, Outline
from bench.data.phantom.body import rib_line
from bench.data.phantom.canvas import Canvas, bezier, smoothstep
from bench.data.phantom.sign import Layer, Sign, between, nothing
from bench.data.phantom.traits import Trait

Rng = np.random.Generator


def _enlarge_heart(a: Anatomy, trait: Trait) -> None:
    """Cardiomegaly: a heart wider than half the thorax."""
    a.heart_left += between(0.020, 0.095, trait.grade)
    a.heart_right += between(0.004, 0.030, trait.grade)
    a.heart_top -= between(0.0, 0.03, trait.grade)


def _widen_mediastinum(a: Anatomy, trait: Trait) -> None:
    """Enlarged cardiomediastinum: a broad band above the heart on both sides."""
    a.mediastinum += between(0.010, 0.038, trait.grade)
    a.right_bulge += between(0.004, 0.018, trait.grade)


def _unfold_aorta(a: Anatomy, trait: Trait) -> None:
    a.knob += between(0.012, 0.030, trait.grade)
    a.knob_y -= between(0.0, 0.02, trait.grade)
    a.unfolding += between(0.025, 0.055, trait.grade)
    a.right_bulge += between(0.008, 0.030, trait.grade)


def tortuous(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """The descending aorta swings out to the left and shows its edge through the heart."""
    a = outline.anatomy
    start = outline.border(1, a.knob_y + 0.06, -0.012)
    bow = (a.midline + between(0.11, 0.15, trait.grade), a.knob_y + 0.24)
    end = (a.midline + 0.03, 0.74)
    box, mask = canvas.stroke(bezier(start, bow, end, 8), 0.030, soft=0.014)
    canvas.add(box, mask, between(0.06, 0.11, trait.grade))


def calcification(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """An eggshell of calcium on the aortic knob and flecks down the descending aorta."""
    a = outline.anatomy
    amount = between(0.14, 0.40, trait.grade)
    first = a.knob_y - rng.uniform(0.030, 0.045)
    shell = [outline.border(1, first + 0.013 * i, -0.006) for i in range(6)]
    box, mask = canvas.stroke(shell, 0.008, soft=0.003)
    canvas.add(box, mask, amount)
    for i in range(int(rng.integers(1, 5))):
        y = a.knob_y + 0.07 + 0.05 * i
        x = a.midline + 0.055 + a.unfolding + rng.uniform(-0.006, 0.006)
        box, mask = canvas.stroke([(x, y), (x - 0.003, y + rng.uniform(0.012, 0.03))], 0.006)
        canvas.add(box, mask, 0.8 * amount)


def hernia(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A round pouch behind the heart with gas over a flat fluid level."""
    a = outline.anatomy
    rx = between(0.056, 0.092, trait.grade)
    ry = 0.85 * rx
    x = a.midline + rng.uniform(0.0, 0.05)
    y = a.dome_left - ry + rng.uniform(0.0, 0.02)
    box, mask = canvas.ellipse(x, y, rx, ry, soft=0.010)
    canvas.add(box, mask, 0.10)
    box, gas = canvas.ellipse(x, y - 0.004, 0.86 * rx, 0.84 * ry, soft=0.008)
    level = y + rng.uniform(-0.25, 0.2) * ry
    gas *= smoothstep((level - canvas.y[box[0]]) / canvas.edge(0.006) + 0.5)
    canvas.add(box, gas, -between(0.18, 0.34, trait.grade))


def _stoop(a: Anatomy, trait: Trait) -> None:
    bend = between(0.15, 0.85, trait.grade)
    a.rib_slope += 0.9 * bend
    a.rib_spacing *= 1.0 - 0.16 * bend
    a.apex += 0.035 * bend
    a.dome_right -= 0.035 * bend
    a.dome_left -= 0.035 * bend
    a.clavicle_y -= 0.055 * bend
    a.clavicle_tilt -= 0.03 * bend
    a.half_width += 0.008 * bend


def kyphosis(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """The bowed head covers the apices and the vertebrae stack up, end on, into a dense column."""
    a = outline.anatomy
    amount = between(0.03, 0.13, trait.grade)
    box, mask = canvas.ellipse(a.midline + rng.uniform(-0.02, 0.02), 0.01, 0.15, 0.15, soft=0.03)
    canvas.add(box, mask, amount)
    box, mask = canvas.ellipse(a.midline, 0.33, 0.055, 0.17, soft=0.03)
    canvas.add(box, mask, 0.8 * amount)
    for i in range(9):
        y = 0.20 + 0.032 * i
        line = bezier((a.midline - 0.05, y), (a.midline, y - 0.022), (a.midline + 0.05, y), 3)
        box, mask = canvas.stroke(line, 0.007, soft=0.004)
        canvas.add(box, mask, 0.8 * amount)


def rib_fracture(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Neighbouring lateral ribs with a gap, a step and a knob of callus."""
    side, a = trait.side, outline.anatomy
    first = int(rng.integers(3, 6))
    amount = between(0.16, 0.30, trait.grade)
    for number in range(first, first + int(rng.integers(2, 5))):
        u = a.half_width * rng.uniform(0.68, 0.82)
        y = rib_line(a, number, u)
        x = a.midline + side * u
        slant = 2.0 * a.rib_slope * (u - 0.09)
        step = between(0.010, 0.020, trait.grade)
        far = (x + side * 0.045, y + 0.045 * slant + step)
        box, mask = canvas.stroke([(x + side * 0.004, y + step), far], 0.019, soft=0.005)
        canvas.add(box, mask, amount)
        box, mask = canvas.ellipse(x, y, 0.015, 0.017, soft=0.008)
        canvas.add(box, mask, 0.8 * amount)
        box, mask = canvas.stroke([(x - side * 0.004, y + 0.022), (x, y - 0.022)], 0.006)
        canvas.add(box, mask, -0.9 * amount)


def _break_clavicle(a: Anatomy, trait: Trait) -> None:
    a.broken_clavicles = (*a.broken_clavicles, (trait.side, between(0.028, 0.050, trait.grade)))


def clavicle_fracture(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """The lateral half of a clavicle hangs below the medial one, with a splinter between."""
    a = outline.anatomy
    x = a.midline + trait.side * 0.20
    y = a.clavicle_y + 0.02 - 0.4 * a.clavicle_tilt
    drop = between(0.028, 0.050, trait.grade)
    box, mask = canvas.stroke([(x, y - 0.012), (x + trait.side * 0.012, y + drop)], 0.012)
    canvas.add(box, mask, 0.20)
    box, mask = canvas.ellipse(x, y + 0.3 * drop, 0.035, 0.032, soft=0.03)
    canvas.add(box, mask, 0.14)


def fracture(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A broken humeral neck, or a vertebra pressed to a dense wedge."""
    side, a = trait.side, outline.anatomy
    amount = between(0.18, 0.32, trait.grade)
    x, y = a.midline + side * 0.43, a.clavicle_y + 0.085
    box, mask = canvas.stroke([(x - 0.045, y + 0.012), (x + 0.045, y - 0.012)], 0.009)
    canvas.add(box, mask, -amount)
    box, mask = canvas.stroke([(x - 0.05, y + 0.028), (x + 0.04, y + 0.008)], 0.014, soft=0.006)
    canvas.add(box, mask, amount)
    if rng.random() < 0.5:
        y = rng.uniform(0.50, 0.68)
        for gap in (0.0, 0.018):
            line = [(a.midline - 0.05, y + gap), (a.midline + 0.05, y + gap - 0.008)]
            box, mask = canvas.stroke(line, 0.008, soft=0.004)
            canvas.add(box, mask, 0.8 * amount)


FRAME_SIGNS: dict[str, Sign] = {
    "Calcification of the Aorta": Sign(Layer.MEDIASTINUM, calcification),
    "Cardiomegaly": Sign(Layer.TISSUE, nothing, _enlarge_heart),
    "Clavicle Fracture": Sign(Layer.BONE, clavicle_fracture, _break_clavicle),
    "Enlarged Cardiomediastinum": Sign(Layer.TISSUE, nothing, _widen_mediastinum),
    "Fracture": Sign(Layer.BONE, fracture),
    "Hernia": Sign(Layer.MEDIASTINUM, hernia),
    "Kyphosis": Sign(Layer.BONE, kyphosis, _stoop),
    "Rib Fracture": Sign(Layer.BONE, rib_fracture),
    "Tortuous Aorta": Sign(Layer.MEDIASTINUM, tortuous, _unfold_aorta),
}
