"""Draws a healthy chest: trunk, lungs, vessels, heart shadow, abdomen, ribs, spine, shoulders."""

from __future__ import annotations

import numpy as np

from bench.data.phantom.anatomy import Anatomy, Outline
from bench.data.phantom.canvas import AIR, Box, Canvas, bezier, smoothstep
from bench.data.phantom.textures import TREES, noise, vessels

_SOFT = 0.60  # density of the trunk without lung


def draw_body(canvas: Canvas, outline: Outline, rng: np.random.Generator) -> None:
    """Draws the anatomy on an empty canvas and sets `canvas.lung`."""
    a = outline.anatomy
    across = canvas.x - a.midline
    _trunk(canvas, a, across)
    reach = np.abs(across)
    for side in (-1, 1):
        _lung(canvas, outline, side, reach)
    _midline(canvas, a, across)
    _breasts(canvas, a)
    canvas.density += 0.012 * noise(canvas, _all(canvas), "cloud", rng)
    for side in (-1, 1):
        _vessels(canvas, outline, side)
    _hila(canvas, outline)
    _airways(canvas, a)
    _bubble(canvas, outline, rng)


def draw_bones(canvas: Canvas, outline: Outline) -> None:
    """Draws ribs, clavicles and shoulders over what is in the chest."""
    a = outline.anatomy
    reach = np.abs(canvas.x - a.midline)
    _ribs(canvas, outline, reach)
    for side in (-1, 1):
        offset = sum(size for which, size in a.broken_clavicles if which == side)
        _clavicle(canvas, a, side, offset)
        _shoulder(canvas, a, side)


def _all(canvas: Canvas) -> Box:
    return slice(0, canvas.size), slice(0, canvas.size)


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None]


def _trunk(canvas: Canvas, a: Anatomy, across: np.ndarray) -> None:
    """Soft tissue with air around the neck and beside the trunk."""
    y = canvas.y[:, 0]
    shoulder = 0.085 + 0.015 * a.fat
    slope = np.clip((y - shoulder + 0.05) / 0.13, 0.0, 1.0)
    half = 0.10 + 0.02 * a.fat + 0.6 * slope**1.8
    arms = np.clip((y - 0.28) / 0.25, 0.0, 1.0)
    half = np.where(y > 0.28, np.maximum(half - (0.7 - a.body) * arms**0.5, a.body), half)
    distance = _column(half) - np.abs(across)
    distance *= 1.0 / canvas.edge(0.02)
    distance += 0.5
    belly = np.clip((y - 0.50) / 0.40, 0.0, 1.0)
    level = _column(_SOFT + 0.08 * a.fat + 0.24 * belly * belly * (3.0 - 2.0 * belly))
    canvas.density += smoothstep(distance) * level


def _lung(canvas: Canvas, outline: Outline, side: int, reach: np.ndarray) -> None:
    """Takes the aerated lung of one side out of the trunk."""
    a = outline.anatomy
    x0, x1 = sorted((a.midline, a.midline + side * 0.48))
    box = canvas.box(x0, a.apex - 0.03, x1, 0.95)
    y = canvas.y[box[0], 0]
    u = reach[box]
    inside = _column(outline.lateral(y)) - u
    inside *= 1.0 / canvas.edge(0.022)
    medial = u - _column(outline.medial(side, y))
    medial *= 1.0 / canvas.edge(0.016)
    np.minimum(inside, medial, out=inside)
    top = a.dome_left if side > 0 else a.dome_right
    bend = u - 0.44 * a.half_width
    bend *= 1.0 / (0.56 * a.half_width)
    np.square(bend, out=bend)
    np.minimum(bend, 1.8, out=bend)
    bend *= a.dome_depth
    bend += top
    bend -= _column(y)
    floor = bend * (1.0 / canvas.edge(0.014))
    # The lung behind the dome still darkens the top of the abdomen a little.
    np.minimum(inside, floor, out=inside)
    depth = np.minimum(inside * 0.06, 1.0)
    np.maximum(depth, 0.0, out=depth)
    inside += 0.5
    mask = smoothstep(inside)
    canvas.lung[box] = np.maximum(canvas.lung[box], mask)
    depth *= 0.30
    depth += 0.72
    depth *= mask
    canvas.density[box] -= depth * (AIR * a.lucency)


def _midline(canvas: Canvas, a: Anatomy, across: np.ndarray) -> None:
    """Spine, and the thickness of the mediastinum and the heart."""
    box = canvas.box(a.midline - 0.30, -0.1, a.midline + 0.30, 1.1)
    y = canvas.y[box[0], 0]
    u = across[box] - _column(a.spine_curve * np.sin(6.0 * y))
    thick = 1.0 - np.square(u * (1.0 / 0.30))
    np.maximum(thick, 0.0, out=thick)
    np.square(thick, out=thick)
    thick *= 1.0 - canvas.lung[box]
    canvas.density[box] += thick * 0.15
    box = canvas.box(a.midline - 0.08, -0.1, a.midline + 0.08, 1.1)
    u = np.abs(across[box] - _column(a.spine_curve * np.sin(6.0 * y)))
    discs = 0.75 + 0.25 * np.tanh(3.0 * np.cos(2 * np.pi * y / (0.8 * a.rib_spacing)) + 1.5)
    edge = (0.042 - u) * (1.0 / canvas.edge(0.012)) + 0.5
    canvas.density[box] += smoothstep(edge) * _column(0.075 * a.bone * discs)


def _breasts(canvas: Canvas, a: Anatomy) -> None:
    size = max(a.breast, 0.5 * a.fat)
    if size < 0.1:
        return
    for side in (-1, 1):
        box, mask = canvas.ellipse(
            a.midline + side * 0.25, 0.60, 0.13 + 0.05 * size, 0.13 + 0.06 * size, soft=0.10
        )
        canvas.add(box, mask, 0.07 * size)


def _vessels(canvas: Canvas, outline: Outline, side: int) -> None:
    a = outline.anatomy
    tree = vessels((a.tree >> (4 if side > 0 else 8)) % TREES, canvas.size)
    if side < 0:
        tree = tree[:, ::-1]
    x, y = outline.border(side, a.hilum_y, -0.01)
    rows, cols = canvas.box(x, y, x, y)
    top, left = canvas.size - rows.start, canvas.size - cols.start
    if side < 0:
        left -= 1
    x0, x1 = sorted((a.midline, a.midline + side * 0.45))
    box = canvas.box(x0, a.apex, x1, 0.9)
    part = tree[box[0].start + top : box[0].stop + top, box[1].start + left : box[1].stop + left]
    canvas.add(box, part, 0.10 * a.vessels, air=1.0)


def _hila(canvas: Canvas, outline: Outline) -> None:
    a = outline.anatomy
    for side in (-1, 1):
        x, y = outline.border(side, a.hilum_y + (0.0 if side > 0 else 0.02), 0.012)
        box, mask = canvas.ellipse(x, y, 0.035, 0.06, soft=0.06, angle=-0.35 * side)
        canvas.add(box, mask, 0.16 * a.hilum, air=1.0)


def _airways(canvas: Canvas, a: Anatomy) -> None:
    carina = a.knob_y + 0.06
    box, mask = canvas.stroke(
        [(a.midline, -0.02), (a.midline + 0.004, 0.15), (a.midline - 0.006, carina)], 0.030, 0.012
    )
    canvas.add(box, mask, -0.09)
    for side, drop in ((-1, 0.075), (1, 0.06)):
        end = (a.midline + side * 0.075, carina + drop)
        box, mask = canvas.stroke([(a.midline - 0.006, carina), end], 0.020, 0.01)
        canvas.add(box, mask, -0.06)


def _bubble(canvas: Canvas, outline: Outline, rng: np.random.Generator) -> None:
    """Gas in the stomach, flat below when the patient sits up."""
    a = outline.anatomy
    if a.stomach < 0.2:
        return
    x, y = outline.floor(1, 0.15 + 0.05 * float(rng.random()))
    rx, ry = 0.03 + 0.035 * a.stomach, 0.018 + 0.022 * a.stomach
    box, mask = canvas.ellipse(x, y + ry + 0.022, rx, ry, soft=0.012)
    level = smoothstep((y + ry + 0.030 - canvas.y[box[0]]) / canvas.edge(0.008) + 0.5)
    canvas.add(box, mask * level, -0.22 - 0.1 * a.stomach)


def _ribs(canvas: Canvas, outline: Outline, reach: np.ndarray) -> None:
    """Posterior ribs, which fall outwards from the spine, and the steeper anterior ones."""
    a = outline.anatomy
    box = canvas.box(a.midline - 0.43, 0.03, a.midline + 0.43, 0.92)
    u, y = reach[box], canvas.y[box[0]]
    wall = outline.lateral(np.maximum(y[:, 0], a.apex + 0.04)) + 0.012
    cage = (_column(wall) - u) * (1.0 / canvas.edge(0.018)) + 0.5
    cage = smoothstep(cage)
    fade = np.clip((0.90 - y) / 0.15, 0.0, 1.0) * np.clip((y - 0.04) / 0.05, 0.0, 1.0)
    cage *= fade.astype(np.float32)
    cage *= np.minimum(0.35 + u * 5.0, 1.0)
    posterior = y - a.rib_slope * np.square(u - 0.09) + 0.020 * (a.rib_slope - 0.4)
    canvas.density[box] += _bands(canvas, posterior, a.rib_spacing, a.rib_phase, 0.30) * (
        cage * (0.10 * a.bone)
    )
    anterior = y + (u - 0.1) * np.float32(0.42 + 0.2 * a.rib_slope)
    cage *= smoothstep((u - 0.15) / 0.14)
    canvas.density[box] += _bands(canvas, anterior, 1.25 * a.rib_spacing, 0.3, 0.30) * (
        cage * (0.055 * a.bone)
    )


def rib_line(a: Anatomy, number: int, u: float) -> float:
    """y of the middle of posterior rib `number`, at the distance `u` from the midline."""
    height = (number + 0.5 - a.rib_phase) * a.rib_spacing
    return height + a.rib_slope * (u - 0.09) ** 2 - 0.020 * (a.rib_slope - 0.4)


def _bands(
    canvas: Canvas, height: np.ndarray, spacing: float, phase: float, width: float
) -> np.ndarray:
    """Periodic bands along `height`, `width` of the spacing wide, brighter at their rims."""
    height = height * (1.0 / spacing)
    height += phase
    height -= np.floor(height)
    height -= 0.5
    np.abs(height, out=height)
    soft = canvas.edge(0.010) / spacing
    inner = height * (-1.0 / soft) + ((0.5 * width - 0.10) / soft + 0.5)
    height *= -1.0 / soft
    height += 0.5 * width / soft + 0.5
    band = smoothstep(height)
    band -= 0.35 * smoothstep(inner)
    return band


def _clavicle(canvas: Canvas, a: Anatomy, side: int, offset: float) -> None:
    inner = (a.midline + side * 0.045, a.clavicle_y + 0.035)
    outer = (a.midline + side * 0.36, a.clavicle_y - a.clavicle_tilt)
    dip = (a.midline + side * 0.13, a.clavicle_y + 0.035 - 0.1 * a.clavicle_tilt)
    turn = (a.midline + side * 0.22, a.clavicle_y - 0.3 * a.clavicle_tilt)
    rise = (a.midline + side * 0.29, a.clavicle_y - 1.1 * a.clavicle_tilt)
    points = bezier(inner, dip, turn, 3)[:-1] + bezier(turn, rise, outer, 3)
    pieces = [points]
    if offset:
        lateral = [(x - side * 0.25 * offset, y + offset) for x, y in points[3:]]
        pieces = [points[:4], lateral]
    for piece in pieces:
        box, mask = canvas.stroke(piece, 0.030, soft=0.008)
        canvas.add(box, mask, 0.16 * a.bone)
        box, core = canvas.stroke(piece, 0.012, soft=0.010)
        canvas.add(box, core, -0.05 * a.bone)


def _shoulder(canvas: Canvas, a: Anatomy, side: int) -> None:
    x = a.midline + side * 0.44
    box, mask = canvas.ellipse(x, a.clavicle_y + 0.055, 0.045, 0.045, soft=0.012)
    canvas.add(box, mask, 0.10 * a.bone)
    arm = [(x, a.clavicle_y + 0.07), (x + side * 0.05, a.clavicle_y + 0.30)]
    box, mask = canvas.stroke(arm, 0.05, soft=0.01)
    canvas.add(box, mask, 0.08 * a.bone)
    blade = bezier(
        (a.midline + side * 0.37, a.clavicle_y + 0.03),
        (a.midline + side * 0.30, a.clavicle_y + 0.18),
        (a.midline + side * 0.345, a.clavicle_y + 0.33),
    )
    box, mask = canvas.stroke(blade, 0.012, soft=0.01)
    canvas.add(box, mask, 0.05 * a.bone)
