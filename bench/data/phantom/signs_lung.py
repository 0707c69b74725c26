"""Signs inside the lung: opacities, volume loss, interstitial and airspace disease."""

from __future__ import annotations

import math

import numpy as np

from bench.data.phantom.anatomy import Anatomy, Outline
from bench.data.phantom.canvas import Box, Canvas, Point, bezier, smoothstep
from bench.data.phantom.sign import Layer, Sign, between
from bench.data.phantom.textures import noise
from bench.data.phantom.traits import Trait

Rng = np.random.Generator


def half(canvas: Canvas, outline: Outline, side: int) -> Box:
    """The box of one lung."""
    a = outline.anatomy
    x0, x1 = sorted((a.midline, a.midline + side * (a.half_width + 0.02)))
    return canvas.box(x0, a.apex - 0.02, x1, 0.9)


def _patch(canvas: Canvas, at: Point, rx: float, ry: float, amount: float, rng: Rng) -> None:
    """A fluffy airspace opacity: a soft blob with a ragged inside."""
    box, mask = canvas.ellipse(*at, rx, ry, soft=1.6 * min(rx, ry), angle=rng.uniform(-0.6, 0.6))
    ragged = noise(canvas, box, "net", rng) * 0.30
    ragged += noise(canvas, box, "patch", rng) * 0.45
    ragged += 1.0
    np.maximum(ragged, 0.0, out=ragged)
    canvas.add(box, mask * ragged, amount, air=0.9)


def _bronchograms(canvas: Canvas, start: Point, aim: float, length: float, amount: float) -> None:
    """Dark branching bronchi inside dense lung."""
    twigs = []
    for turn, reach in ((-0.5, 0.8), (0.05, 1.0), (0.5, 0.8)):
        tip = aim + turn
        end = (start[0] + reach * length * math.cos(tip), start[1] + reach * length * math.sin(tip))
        twigs.append(canvas.stroke([start, end], 0.012, soft=0.008, taper=0.5))
    canvas.add(*canvas.union(twigs), -amount, air=1.0)


def opacity(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A vague, even haze over part of a lung."""
    at = outline.at(trait.side, rng.uniform(0.3, 0.7), rng.uniform(0.35, 0.85))
    size = between(0.07, 0.13, rng.random())
    box, mask = canvas.ellipse(*at, size, 1.2 * size, soft=1.1 * size)
    canvas.add(box, mask, between(0.06, 0.18, trait.grade), air=0.95)


def consolidation(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A dense lobe with one straight border along a fissure, and air bronchograms."""
    side, a = trait.side, outline.anatomy
    upper = rng.random() < 0.35
    hilum = outline.border(side, a.hilum_y, 0.01)
    x, y = outline.at(side, 0.5, 0.30 if upper else 0.68)
    radius = between(0.10, 0.16, rng.random())
    box, mask = canvas.ellipse(x, y, 1.15 * radius, radius, soft=0.05)
    fissure = canvas.y[box[0]] - a.hilum_y - 0.03 + (canvas.x[box] - x) * (0.25 * side)
    fissure *= (-1.0 if upper else 1.0) / canvas.edge(0.014)
    fissure += 0.5
    mask *= smoothstep(fissure)
    amount = between(0.12, 0.34, trait.grade)
    canvas.add(box, mask, amount, air=0.9)
    aim = math.atan2(y - hilum[1], x - hilum[0])
    start = (0.6 * hilum[0] + 0.4 * x, 0.6 * hilum[1] + 0.4 * y)
    _bronchograms(canvas, start, aim, 0.9 * radius, 0.45 * amount)


def pneumonia(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Several fluffy segmental patches, mostly on one side and low."""
    amount = between(0.06, 0.18, trait.grade)
    x, y = outline.at(trait.side, rng.uniform(0.3, 0.65), rng.uniform(0.5, 0.85))
    for _ in range(int(rng.integers(3, 6))):
        at = (x + rng.uniform(-0.07, 0.07), y + rng.uniform(-0.06, 0.06))
        size = rng.uniform(0.050, 0.080)
        _patch(canvas, at, size, 0.75 * size, amount, rng)
    if rng.random() < 0.4:
        at = outline.at(-trait.side, rng.uniform(0.2, 0.8), rng.uniform(0.5, 0.9))
        _patch(canvas, at, 0.06, 0.045, amount, rng)


def infiltration(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A zone of fine reticulonodular haze."""
    at = outline.at(trait.side, rng.uniform(0.35, 0.65), rng.uniform(0.3, 0.75))
    size = between(0.09, 0.14, rng.random())
    box, mask = canvas.ellipse(*at, size, 1.3 * size, soft=1.4 * size)
    grain = np.abs(noise(canvas, box, "grain", rng))
    grain += 0.30
    canvas.add(box, mask * grain, between(0.07, 0.15, trait.grade), air=1.0)


def edema(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A bat's wing around both hila, blurred vessels, and Kerley lines at the lateral bases."""
    amount = between(0.04, 0.22, trait.grade)
    for side in (-1, 1):
        x, y = outline.border(side, outline.anatomy.hilum_y + 0.06, 0.075)
        box, mask = canvas.ellipse(x, y, 0.12, 0.18, soft=0.17, angle=-0.25 * side)
        ragged = noise(canvas, box, "patch", rng) * 0.2
        ragged += 1.0
        canvas.add(box, mask * ragged, amount, air=1.0)
        for i in range(5):
            x, y = outline.wall(side, 0.60 + 0.028 * i, 0.008)
            box, mask = canvas.stroke([(x, y), (x - side * 0.035, y + 0.003)], 0.004)
            canvas.add(box, mask, 0.03 + 0.4 * amount, air=1.0)


def emphysema(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Dark, emptied upper lungs with thin-walled bullae."""
    for side in (-1, 1):
        box = half(canvas, outline, side)
        fade = np.clip((0.70 - canvas.y[box[0]]) / 0.5, 0.0, 1.0)
        canvas.density[box] -= canvas.lung[box] * fade * between(0.04, 0.10, trait.grade)
        for _ in range(int(rng.integers(1, 3))):
            x, y = outline.at(side, rng.uniform(0.3, 0.75), rng.uniform(0.10, 0.40))
            radius = rng.uniform(0.03, 0.055)
            ring(canvas, (x, y), radius, 0.006, between(0.07, 0.13, trait.grade))


def _hyperinflate(a: Anatomy, trait: Trait) -> None:
    drop = between(0.045, 0.09, trait.grade)
    a.dome_right += drop
    a.dome_left += drop
    a.dome_depth *= between(0.45, 0.15, trait.grade)
    a.heart_left *= between(0.92, 0.80, trait.grade)
    a.heart_y += 0.03
    a.half_width += between(0.005, 0.018, trait.grade)
    a.vessels *= 0.75


def fibrosis(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Coarse honeycomb in the periphery of both bases, shaggy against heart and diaphragm."""
    a = outline.anatomy
    for side in (-1, 1):
        box = half(canvas, outline, side)
        net = np.abs(noise(canvas, box, "net", rng))
        net *= -1.6
        net += 1.0
        np.maximum(net, 0.0, out=net)
        rows = np.clip((canvas.y[box[0]] - 0.34) / 0.30, 0.0, 1.0)
        rim = np.clip((np.abs(canvas.x[box] - a.midline) - 0.08) / 0.22, 0.25, 1.0)
        canvas.add(box, net * rows * rim, between(0.20, 0.34, trait.grade), air=1.0)


def _shrink(a: Anatomy, trait: Trait) -> None:
    rise = between(0.02, 0.05, trait.grade)
    a.dome_right -= rise
    a.dome_left -= rise


def atelectasis(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Plates of collapsed lung: thick lines across a base."""
    amount = between(0.12, 0.26, trait.grade)
    for i in range(int(rng.integers(1, 4))):
        x0, y = outline.at(trait.side, rng.uniform(0.05, 0.25), 0.93 - 0.11 * i)
        x1, _ = outline.at(trait.side, rng.uniform(0.6, 0.9), 0.93 - 0.11 * i)
        slope = rng.uniform(-0.035, 0.035)
        line = bezier((x0, y + slope), (0.5 * (x0 + x1), y + 0.012), (x1, y - slope), 3)
        box, mask = canvas.stroke(line, rng.uniform(0.010, 0.018), soft=0.008, taper=0.5)
        canvas.add(box, mask, amount, air=0.8)


def _raise_dome(a: Anatomy, trait: Trait) -> None:
    rise = between(0.012, 0.045, trait.grade)
    if trait.side > 0:
        a.dome_left -= rise
    else:
        a.dome_right -= rise


def lobar_atelectasis(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """A collapsed lobe: a dense wedge, up against the mediastinum on the right, a sail behind the
    heart on the left."""
    side, a = trait.side, outline.anatomy
    if side < 0:
        wedge = [outline.at(side, 0.0, 0.02), outline.at(side, 1.0, 0.16),
                 outline.border(side, a.hilum_y + 0.02, 0.01)]  # fmt: skip
    else:
        wedge = [outline.border(side, a.hilum_y, -0.07),
                 outline.floor(side, 0.21), outline.floor(side, -0.02)]  # fmt: skip
    box, mask = canvas.polygon(wedge, soft=0.016)
    if side > 0:  # over the heart, which is white already
        canvas.add(box, mask, between(0.08, 0.14, trait.grade))
    canvas.add(box, mask, between(0.16, 0.32, trait.grade), air=1.0)


def _pull_lobe(a: Anatomy, trait: Trait) -> None:
    pull = between(0.035, 0.065, trait.grade)
    if trait.side > 0:
        a.dome_left -= pull
        a.heart_left += 0.01
        a.heart_right -= 0.02
    else:
        a.dome_right -= 0.6 * pull
        a.right_bulge += 0.01
    a.hilum_y += 0.02 * trait.side


def tuberculosis(canvas: Canvas, outline: Outline, trait: Trait, rng: Rng) -> None:
    """Upper lobe fibronodular disease with a cavity; the other apex joins in."""
    amount = between(0.13, 0.26, trait.grade)
    for side, share in ((trait.side, 1.0), (-trait.side, 0.55)):
        for _ in range(7):
            at = outline.at(side, rng.uniform(0.2, 0.9), rng.uniform(0.05, 0.36))
            size = rng.uniform(0.010, 0.024)
            box, mask = canvas.ellipse(*at, size, size, soft=0.02)
            canvas.add(box, mask, share * amount, air=1.0)
        start = outline.border(side, outline.anatomy.hilum_y, 0.02)
        for across in (0.35, 0.7):
            line = [start, outline.at(side, across, 0.08)]
            box, mask = canvas.stroke(line, 0.007, soft=0.006)
            canvas.add(box, mask, 0.5 * share * amount, air=1.0)
    at = outline.at(trait.side, rng.uniform(0.4, 0.65), rng.uniform(0.16, 0.26))
    ring(canvas, at, rng.uniform(0.035, 0.05), 0.014, amount)


def ring(canvas: Canvas, at: Point, radius: float, wall: float, amount: float) -> None:
    """A cavity: a dense wall around air."""
    box, mask = canvas.ellipse(*at, radius, radius, soft=0.010)
    distance = np.hypot(canvas.x[box] - at[0], canvas.y[box[0]] - at[1])
    hole = smoothstep((radius - wall - distance) / canvas.edge(0.010) + 0.5)
    canvas.add(box, mask - hole, amount, air=0.9)
    canvas.add(box, hole, -0.35 * amount, air=1.0)


LUNG_SIGNS: dict[str, Sign] = {
    "Atelectasis": Sign(Layer.OPACITY, atelectasis, _raise_dome),
    "Consolidation": Sign(Layer.OPACITY, consolidation),
    "Edema": Sign(Layer.OPACITY, edema),
    "Emphysema": Sign(Layer.TISSUE, emphysema, _hyperinflate),
    "Fibrosis": Sign(Layer.TISSUE, fibrosis, _shrink),
    "Infiltration": Sign(Layer.TISSUE, infiltration),
    "Lobar Atelectasis": Sign(Layer.OPACITY, lobar_atelectasis, _pull_lobe),
    "Lung Opacity": Sign(Layer.OPACITY, opacity),
    "Pneumonia": Sign(Layer.OPACITY, pneumonia),
    "Tuberculosis": Sign(Layer.OPACITY, tuberculosis),
}
