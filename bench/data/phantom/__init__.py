"""The embedded data set: procedural chest X-rays with CXR-LT's classes and long tail.

Cartoons, not anatomy: they exercise a benchmark without credentials and say nothing about real
films.
"""

from __future__ import annotations

from bench.data.phantom.cohort import Cohort, make_cohort
from bench.data.phantom.render import draw_shot, render

__all__ = ["Cohort", "draw_shot", "make_cohort", "render"]
