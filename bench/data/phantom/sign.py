"""What a sign is, and the order in which signs are drawn."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from bench.data.phantom.anatomy import Anatomy, Outline
from bench.data.phantom.canvas import Canvas
from bench.data.phantom.traits import Trait


class Layer(IntEnum):
    """Where in the chest a sign lies; drawn from the first to the last."""

    TISSUE = 0
    OPACITY = 1
    PLEURA = 2
    MEDIASTINUM = 3
    BONE = 4  # the skeleton is drawn before the first sign of this layer
    DEVICE = 5


class Sign(NamedTuple):
    """The drawn cartoon of a class: a change of the anatomy, something drawn on it, or both."""

    layer: Layer
    draw: Callable[[Canvas, Outline, Trait, np.random.Generator], None]
    reshape: Callable[[Anatomy, Trait], None] | None = None


def nothing(canvas: Canvas, outline: Outline, trait: Trait, rng: np.random.Generator) -> None:
    """Draws nothing: for classes that are wholly a change of the anatomy."""


def between(low: float, high: float, grade: float) -> float:
    """`low` at grade 0 to `high` at grade 1."""
    return low + (high - low) * grade
