"""A patient's anatomy as numbers, and the outlines of the lungs that follow from them.

Lengths are fractions of the thorax frame (x to the image's right, y down). The patient's left,
with heart apex and aortic knob, is the image's right: side 1; the patient's right is side -1.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np

from bench.data.phantom.canvas import Point

_ROWS = np.linspace(-0.5, 1.5, 401)  # where the outlines are tabulated


@dataclass
class Anatomy:
    """Everything that is drawn of a healthy patient; findings reshape a copy of it."""

    midline: float = 0.5
    apex: float = 0.10  # y of the lung apices
    dome_right: float = 0.70  # y of the top of each hemidiaphragm
    dome_left: float = 0.725
    dome_depth: float = 0.075  # how far the costophrenic angle hangs below the dome
    half_width: float = 0.37  # of the thorax, at its widest
    body: float = 0.50  # half-width of the trunk
    fat: float = 0.5  # 0 thin to 1 obese: soft tissue over the lungs
    breast: float = 0.0  # size of the breast shadows
    mediastinum: float = 0.052  # half-width above the heart
    heart_left: float = 0.175  # reach of the left heart border from the midline
    heart_right: float = 0.085
    heart_top: float = 0.40
    heart_y: float = 0.63  # where the heart is widest
    knob: float = 0.035  # aortic knob beyond the mediastinum
    knob_y: float = 0.27
    artery: float = 0.010  # main pulmonary artery segment, below the knob
    unfolding: float = 0.0  # descending aorta beyond the left border
    right_bulge: float = 0.0  # ascending aorta or vena cava on the right
    hilum_y: float = 0.40
    hilum: float = 1.0  # strength of the hilar shadows
    vessels: float = 1.0  # strength of the vascular markings
    tree: int = 0
    rib_spacing: float = 0.066
    rib_slope: float = 0.9
    rib_phase: float = 0.0
    bone: float = 1.0  # mineralisation
    clavicle_y: float = 0.17
    clavicle_tilt: float = 0.04
    lucency: float = 1.0  # how dark the lungs are
    spine_curve: float = 0.0
    stomach: float = 0.6  # size of the gas bubble under the left dome
    broken_clavicles: tuple[tuple[int, float], ...] = ()  # (side, displacement)

    def outline(self) -> Outline:
        """The borders of the lungs of this anatomy."""
        return Outline(self)


class Outline:
    """Lung borders of one anatomy, tabulated so that rows and single points read one curve.

    Arguments and results are in frame units; distances count from the midline.
    """

    def __init__(self, anatomy: Anatomy):
        a = self.anatomy = anatomy
        y = _ROWS
        t = np.clip((0.60 - y) / (0.60 - a.apex), 0.0, 1.0)
        below = np.clip((y - 0.60) / 0.3, 0.0, 1.0)
        self._lateral = a.half_width * (1.0 - t**2.9) ** 0.62 * (1.0 + 0.03 * below)
        self._lateral[y <= a.apex] = 0.0

        top = a.mediastinum + 0.012 * np.exp(-(((y - a.apex) / 0.08) ** 2))
        right = top + 0.006 + (a.heart_right - top) * _bump(y, a.heart_y - 0.02, 0.17)
        right += a.right_bulge * _bump(y, 0.33, 0.16)
        rise = np.clip((y - a.heart_top) / (a.heart_y - a.heart_top), 0.0, 1.0)
        rise = rise * rise * (3.0 - 2.0 * rise)
        fall = 1.0 - 0.9 * (np.clip((y - a.heart_y) / 0.30, 0.0, 1.0)) ** 2
        left = top + (a.heart_left - top) * rise * fall
        left = left + a.knob * _bump(y, a.knob_y, 0.075) + a.artery * _bump(y, 0.37, 0.085)
        left = left + a.unfolding * _bump(y, a.knob_y + 0.13, 0.24)
        self._medial = {-1: right, 1: left}

    def lateral(self, y: np.ndarray) -> np.ndarray:
        """Distance of the chest wall from the midline at `y`."""
        return np.interp(y, _ROWS, self._lateral)

    def medial(self, side: int, y: np.ndarray) -> np.ndarray:
        """Distance of the mediastinal border from the midline at `y`."""
        return np.interp(y, _ROWS, self._medial[side])

    def dome(self, side: int, x: float) -> float:
        """y of the hemidiaphragm at the distance `x` from the midline."""
        a = self.anatomy
        top = a.dome_left if side > 0 else a.dome_right
        u = (x - 0.44 * a.half_width) / (0.56 * a.half_width)
        return top + a.dome_depth * min(u * u, 1.8)

    def at(self, side: int, across: float, down: float) -> Point:
        """A point of the lung: `across` 0 at the mediastinum to 1 at the wall, `down` 0 at the
        apex to 1 at the diaphragm."""
        a = self.anatomy
        base = self.dome(side, 0.55 * a.half_width)
        y = a.apex + down * (base - a.apex)
        inner, outer = _read(self._medial[side], y), _read(self._lateral, y)
        return a.midline + side * (inner + across * (outer - inner)), y

    def wall(self, side: int, y: float, inset: float = 0.0) -> Point:
        """The point of the chest wall at `y`, moved `inset` inwards."""
        return self.anatomy.midline + side * (_read(self._lateral, y) - inset), y

    def border(self, side: int, y: float, out: float = 0.0) -> Point:
        """The point of the mediastinal border at `y`, moved `out` into the lung."""
        return self.anatomy.midline + side * (_read(self._medial[side], y) + out), y

    def floor(self, side: int, x: float, up: float = 0.0) -> Point:
        """The point of the hemidiaphragm `x` from the midline, moved `up`."""
        return self.anatomy.midline + side * x, self.dome(side, x) - up


def _read(table: np.ndarray, y: float) -> float:
    return float(np.interp(y, _ROWS, table))


def _bump(y: np.ndarray, centre: float, reach: float) -> np.ndarray:
    u = np.clip(1.0 - ((y - centre) / reach) ** 2, 0.0, None)
    return u * u


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """A patient: habitus, sex, age and the variation of healthy chests."""
    n = rng.normal
    female = rng.random() < 0.48
    age = rng.random()
    fat = float(np.clip(n(0.45, 0.25), 0.0, 1.0))
    width = n(0.368, 0.016) - (0.008 if female else 0.0)
    return Anatomy(
        apex=n(0.105, 0.012),
        dome_right=n(0.715, 0.025),
        dome_left=n(0.735, 0.025),
        dome_depth=n(0.078, 0.010),
        half_width=width,
        body=width + 0.075 + 0.07 * fat + n(0.0, 0.008),
        fat=fat,
        breast=rng.uniform(0.4, 1.0) if female else 0.0,
        mediastinum=n(0.050, 0.006),
        heart_left=n(0.163, 0.018),
        heart_right=n(0.088, 0.007),
        heart_top=n(0.40, 0.012),
        heart_y=n(0.635, 0.015),
        knob=max(0.010, 0.022 + 0.018 * age + n(0.0, 0.005)),
        knob_y=n(0.27, 0.012),
        artery=max(0.0, n(0.008, 0.005)),
        unfolding=max(0.0, n(0.004, 0.004)) * age,
        right_bulge=max(0.0, n(0.006, 0.005)),
        hilum_y=n(0.405, 0.012),
        hilum=n(1.0, 0.15),
        vessels=n(1.0, 0.15),
        tree=int(rng.integers(1 << 16)),
        rib_spacing=n(0.068, 0.003),
        rib_slope=n(0.95, 0.15),
        rib_phase=rng.uniform(0.0, 1.0),
        bone=1.15 - 0.4 * age + n(0.0, 0.08),
        clavicle_y=n(0.185, 0.012),
        clavicle_tilt=n(0.045, 0.02),
        lucency=n(1.0, 0.06) - 0.12 * fat,
        spine_curve=n(0.0, 0.006),
        stomach=float(np.clip(n(0.55, 0.3), 0.0, 1.2)),
    )


def pose(anatomy: Anatomy, portable: bool, rng: np.random.Generator) -> Anatomy:
    """The anatomy as one image shows it: inspiration, rotation, and AP magnification."""
    a = copy.copy(anatomy)
    breath = rng.normal(0.0, 0.018) - (0.022 if portable else 0.0)
    a.dome_right += breath
    a.dome_left += breath
    a.heart_y += 0.5 * breath
    a.heart_left -= 0.25 * breath
    spread = 1.07 if portable else 1.0
    a.heart_left *= spread
    a.heart_right *= spread
    a.mediastinum *= 1.04 if portable else 1.0
    turn = rng.normal(0.0, 0.007)  # rotation moves the mediastinum against the ribs
    a.heart_left += turn
    a.heart_right -= turn
    a.clavicle_tilt += rng.normal(0.0, 0.012) - (0.02 if portable else 0.0)
    a.clavicle_y -= 0.015 if portable else 0.0
    a.lucency *= math.exp(rng.normal(0.0, 0.04))
    return a
