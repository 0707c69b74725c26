"""The drawing surface: radiographic density on a thorax-sized frame, in units free of pixels.

Coordinates are fractions of the frame, x to the image's right and y down; density is additive
like attenuation (0 is air, 1 is dense bone). Every shape is anti-aliased by construction: its edge
is a smoothstep of a signed distance that is never narrower than about one pixel, so a thin line
keeps its contrast at 64 pixels. All arithmetic is float32 inside the shape's bounding box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from bench.data.phantom.kernels import add_into, smoothstep_into, stroke_into

Box = tuple[slice, slice]
Point = tuple[float, float]
AIR = 0.44  # density that full aeration takes away
Shape = tuple[Box, np.ndarray]


def smoothstep(t: np.ndarray) -> np.ndarray:
    """`t` clipped to [0, 1] and eased at both ends; overwrites its argument."""
    smoothstep_into(t.reshape(-1))
    return t


@lru_cache(maxsize=8)
def _axis(size: int) -> np.ndarray:
    axis = ((np.arange(size) + 0.5) / size).astype(np.float32)
    axis.setflags(write=False)
    return axis


class Canvas:
    """A (size, size) float32 density image with the coordinates of a posed thorax.

    `zoom`, `shift` and `tilt` place the thorax frame in the image: magnification, displacement as
    fractions of the image, and a shear in x per unit of y (a patient who leans).
    `lung` is the share of aerated lung at each pixel (0 to 1), set when the thorax is drawn.
    """

    def __init__(self, size: int, zoom: float = 1.0, shift: Point = (0.0, 0.0), tilt: float = 0.0):
        self.size = size
        self.px = 1.0 / (size * zoom)
        self._zoom, self._shift, self._tilt = zoom, shift, tilt
        axis = _axis(size)
        self.y = ((axis - 0.5 - shift[1]) / zoom + 0.5)[:, None]
        self.x = ((axis - 0.5 - shift[0]) / zoom + 0.5)[None, :] + tilt * (self.y - 0.5)
        self._frame = (float(zoom), float(shift[0]), float(shift[1]), float(tilt), float(self.px))
        self._across = np.broadcast_to(self.x, (size, size))
        self.density = np.zeros((size, size), np.float32)
        self.lung = np.zeros((size, size), np.float32)

    def box(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        """Rows and columns that cover the rectangle, cut to the image (possibly empty)."""
        lean = self._tilt * (0.5 * (y0 + y1) - 0.5)
        pad = abs(self._tilt) * 0.5 * (y1 - y0) + self.px
        rows = self._span(y0 - self.px, y1 + self.px, self._shift[1])
        cols = self._span(x0 - lean - pad, x1 - lean + pad, self._shift[0])
        return rows, cols

    def _span(self, low: float, high: float, shift: float) -> slice:
        start = ((low - 0.5) * self._zoom + 0.5 + shift) * self.size
        stop = ((high - 0.5) * self._zoom + 0.5 + shift) * self.size
        start = min(max(math.floor(start), 0), self.size)
        return slice(start, max(min(math.ceil(stop), self.size), start))

    def add(self, box: Box, mask: np.ndarray, amount: float, air: float = 0.0) -> None:
        """Adds `amount` of density under the mask.

        The share `air` of it (0 to 1) falls on aerated lung only and takes the place of its air,
        so that opacities on top of each other end as white lung and not beyond.
        """
        add_into(self.density[box], self.lung[box], mask, float(amount), float(air), 1.0 / AIR)

    def blend(self, box: Box, mask: np.ndarray, level: float) -> None:
        """Pulls density towards `level` under the mask, as something that replaces lung does."""
        here = self.density[box]
        here += (level - here) * mask

    def edge(self, width: float) -> float:
        """The softness to draw with: `width`, but never less than about a pixel."""
        return max(width, 1.2 * self.px)

    def ellipse(
        self, cx: float, cy: float, rx: float, ry: float, soft: float = 0.0, angle: float = 0.0
    ) -> Shape:
        """Box and mask of an ellipse whose edge is `soft` wide; `angle` in radians, clockwise."""
        soft = self.edge(soft)
        reach = max(rx, ry) if angle else 0.0
        wx, wy = max(rx, reach) + 0.5 * soft, max(ry, reach) + 0.5 * soft
        box = self.box(cx - wx, cy - wy, cx + wx, cy + wy)
        u, v = self.x[box] - cx, self.y[box[0]] - cy
        if angle:
            cos, sin = math.cos(angle), math.sin(angle)
            u, v = u * cos + v * sin, v * cos - u * sin
        u = u / rx
        v = v / ry
        distance = np.sqrt(u * u + v * v)
        scale = min(rx, ry) / soft
        distance *= -scale
        distance += scale + 0.5
        return box, smoothstep(distance)

    def stroke(
        self, points: Sequence[Point], width: float, soft: float = 0.0, taper: float = 1.0
    ) -> Shape:
        """Box and mask of a line through `points`; its width falls to `taper` times at the end."""
        soft = self.edge(soft)
        half = max(0.5 * width, 0.5 * self.px)
        margin = half + 0.5 * soft
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        box = self.box(min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin)
        top, left = box[0].start, box[1].start
        mask = np.zeros((box[0].stop - top, box[1].stop - left), np.float32)
        stroke_into(
            mask,
            self._across,
            self.y,
            np.array(points, np.float64),
            (top, left),
            self._frame,
            (float(half), float(taper), float(soft)),
        )
        return box, mask

    def polygon(self, points: Sequence[Point], soft: float = 0.0) -> Shape:
        """Box and mask of a convex polygon (either winding) with edges `soft` wide."""
        soft = self.edge(soft)
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        box = self.box(min(xs) - soft, min(ys) - soft, max(xs) + soft, max(ys) + soft)
        x, y = self.x[box], self.y[box[0]]
        middle = (sum(xs) / len(xs), sum(ys) / len(ys))
        inside: np.ndarray | None = None
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
            nx, ny = y0 - y1, x1 - x0
            norm = math.hypot(nx, ny) + 1e-9
            if (middle[0] - x0) * nx + (middle[1] - y0) * ny < 0:
                norm = -norm
            distance = (x - x0) * (nx / norm) + (y - y0) * (ny / norm)
            inside = distance if inside is None else np.minimum(inside, distance, out=inside)
        assert inside is not None
        inside /= soft
        inside += 0.5
        return box, smoothstep(inside)

    def union(self, parts: Sequence[Shape]) -> Shape:
        """One shape that covers all `parts`, whose overlaps count once."""
        rows = slice(min(b[0].start for b, _ in parts), max(b[0].stop for b, _ in parts))
        cols = slice(min(b[1].start for b, _ in parts), max(b[1].stop for b, _ in parts))
        total = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.float32)
        for (r, c), mask in parts:
            part = total[
                r.start - rows.start : r.stop - rows.start,
                c.start - cols.start : c.stop - cols.start,
            ]
            np.maximum(part, mask, out=part)
        return (rows, cols), total


def arc(
    cx: float, cy: float, rx: float, ry: float, start: float, stop: float, count: int = 8
) -> list[Point]:
    """`count` + 1 points on an ellipse; angles in turns, clockwise from the image's right."""
    steps = [2 * math.pi * (start + (stop - start) * i / count) for i in range(count + 1)]
    return [(cx + rx * math.cos(a), cy + ry * math.sin(a)) for a in steps]


def bezier(p0: Point, p1: Point, p2: Point, count: int = 6) -> list[Point]:
    """`count` + 1 points on the quadratic curve from `p0` to `p2` that is pulled towards `p1`."""
    points = []
    for i in range(count + 1):
        t = i / count
        a, b, c = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
        points.append((a * p0[0] + b * p1[0] + c * p2[0], a * p0[1] + b * p1[1] + c * p2[1]))
    return points
