"""Pixels of a phantom cohort: anatomy, pose, signs, exposure, noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.classes import CLASSES
from bench.data.decode import Box
from bench.data.phantom.anatomy import draw_anatomy, pose
from bench.data.phantom.body import draw_body, draw_bones
from bench.data.phantom.canvas import Canvas
from bench.data.phantom.cohort import Cohort, Shot
from bench.data.phantom.nuisance import draw_markers, draw_mimics
from bench.data.phantom.sign import Layer
from bench.data.phantom.signs import SIGNS
from bench.data.phantom.traits import sign_rng, trait

_GRAIN = 0.016  # standard deviation of the quantum noise at 224 pixels, as a share of full scale


def render(cohort: Cohort, rows: Sequence[int], size: int) -> np.ndarray:
    """Images of the given rows as (n, size, size) uint8; 0 is air and black.

    An image is a function of the cohort's seed, its patient, visit, view, place among the
    patient's images and labels: not of the other rows, their order, or the rest of the cohort.
    """
    images = np.empty((len(rows), size, size), np.uint8)
    for out, row in zip(images, rows, strict=True):
        out[...] = _image(cohort.shot(int(row)), size)
    return images


def draw_shot(shot: Shot, size: int, notes: list[str]) -> tuple[np.ndarray, Box]:
    """One image and its box, which is the whole square; nothing is noted of a drawing."""
    return _image(shot, size), (0, 0, size, size)


def _image(what: Shot, size: int) -> np.ndarray:
    person = np.random.default_rng((what.seed, what.patient, 5))
    shot = np.random.default_rng((what.seed, what.patient, what.number, 6))
    portable = what.portable
    anatomy = pose(draw_anatomy(person), portable, shot)

    present = []
    for index in what.present:
        rng = sign_rng(what.seed, what.patient, what.visit, index)
        present.append((SIGNS[CLASSES[index]], trait(rng), rng))
    present.sort(key=lambda entry: entry[0].layer)
    for sign, its_trait, _ in present:
        if sign.reshape is not None:
            sign.reshape(anatomy, its_trait)

    zoom = float(shot.normal(1.02 if portable else 0.98, 0.02))
    shift = (float(shot.normal(0.0, 0.012)), float(shot.normal(0.01, 0.012)))
    canvas = Canvas(size, zoom, shift, float(shot.normal(0.0, 0.018)))
    outline = anatomy.outline()
    draw_body(canvas, outline, person)
    draw_mimics(canvas, outline, person)
    soft = [entry for entry in present if entry[0].layer < Layer.BONE]
    for sign, its_trait, rng in soft:
        sign.draw(canvas, outline, its_trait, rng)
    draw_bones(canvas, outline)
    for sign, its_trait, rng in present[len(soft) :]:
        sign.draw(canvas, outline, its_trait, rng)
    draw_markers(canvas, portable, shot)
    return _expose(canvas.density, portable, shot)


def _expose(density: np.ndarray, portable: bool, rng: np.random.Generator) -> np.ndarray:
    """Density as a displayed film: contrast, brightness, toe and shoulder, quantum noise."""
    contrast = float(rng.normal(0.96 if portable else 1.04, 0.05))
    brightness = float(rng.normal(0.02, 0.025))
    density -= 0.5
    density *= contrast
    density += 0.5 + brightness
    np.maximum(density, 0.0, out=density)
    density /= 1.0 + 0.28 * density  # the shoulder of a film keeps bone from burning out
    density *= 1.18
    grain = np.float32(_GRAIN * (density.shape[0] / 224) ** 0.5)  # larger pixels count more quanta
    density += rng.standard_normal(density.shape, np.float32) * grain
    density *= 255.0
    np.maximum(density, 0.0, out=density)
    np.minimum(density, 255.0, out=density)
    return density.astype(np.uint8)
