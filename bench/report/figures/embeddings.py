"""The paper's Figure 2: test images in two dimensions, before and after training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.classes import RARE
from bench.errors import ResultsError
from bench.report.class_table import rarest_first
from bench.report.figures.clusters import CLUSTERS, NEIGHBOURS, Measured, measured
from bench.report.figures.drawing import Drawing, say_synthetic
from bench.report.figures.kept import (
    MOST,
    OF_EACH_RARE,
    WHEN,
    Embedded,
    drawn_images,
    kept_embeddings,
    shown_class,
)
from bench.report.figures.style import TWO_COLUMNS, panels, wrapped
from bench.report.notes import data_notes
from bench.report.options import Options
from bench.report.results import RowResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

PERPLEXITY = 30
# More points than this are drawn as pixels, or a page would take seconds to open; so are those of
# real images, whose coordinates are nobody's to read out of a file.
_VECTOR = 5000
_TAIL = ("#3d0714", "#a3152f", "#f0703c")
_HEAD = ("#1f6a9c", "#7cb2d4", "#bcd9ea")
"""Colours from the rarest class of each part to its commonest: dark is rare in grey too."""
_NO_CLASS = "#d6d6d6"


class _Panel(NamedTuple):
    title: str
    told: str
    points: np.ndarray
    """(n, 2)."""
    shown: np.ndarray
    """(n,) class of each point, -1 for none."""


def embedding_figure(study: str, rows: Sequence[RowResults], options: Options) -> Drawing:
    """Two panels a row, and the numbers of `clusters.py` for every trial that kept embeddings.

    Raises:
        ResultsError: no trial kept its embeddings, or a kept file is damaged.
    """
    from threadpoolctl import threadpool_limits

    kept = {row.key: kept_embeddings(row) for row in rows}
    with_any = [row for row in rows if kept[row.key]]
    if not with_any:
        raise ResultsError(
            f"no trial of {study} kept its embeddings. Run the command of the study again with "
            "--keep embeddings (bench run ... --keep embeddings)"
        )
    drawn: list[_Panel] = []
    numbers: list[dict[str, Any]] = []
    with threadpool_limits(1):  # sums of several threads differ from run to run, and t-SNE shows it
        for row in with_any:
            for place, embedded in enumerate(kept[row.key]):
                found = _measured(row, embedded, options)
                numbers += _records(row, embedded, found)
                if place == 0:
                    drawn += _panels(row, embedded, found)
    figure = _draw(with_any, drawn)
    first = [kept[row.key][0] for row in with_any]
    caption = (*_caption(study, with_any, first), *data_notes(with_any, options))
    return Drawing("embeddings", figure, caption, numbers)


def _measured(row: RowResults, embedded: Embedded, options: Options) -> dict[str, list[Measured]]:
    """By `WHEN`."""
    shown = shown_class(embedded, row.classes)
    places = drawn_images(shown, _rare(row))
    groups = {group.key: row.members(group) for group in options.groups}
    return {when: measured(embedded, when, places, shown, row.classes, groups) for when in WHEN}


def _records(
    row: RowResults, embedded: Embedded, found: Mapping[str, Sequence[Measured]]
) -> list[dict[str, Any]]:
    of_trial = {"row": row.name, "title": row.title, "run": embedded.run, "fold": embedded.fold}
    return [
        of_trial | {"when": when} | one._asdict()
        for when, of_when in found.items()
        for one in of_when
    ]


def _panels(
    row: RowResults, embedded: Embedded, found: Mapping[str, Sequence[Measured]]
) -> list[_Panel]:
    shown = shown_class(embedded, row.classes)
    places = drawn_images(shown, _rare(row))
    drawn = []
    for when in WHEN:
        points, classes = in_their_own_order(
            projected(embedded.vectors[when][places]), shown[places]
        )
        drawn.append(_Panel(f"{row.title}, {when}", _ratio_words(found[when]), points, classes))
    return drawn


def in_their_own_order(points: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same marks from left to right. A vector file holds them in the order they were drawn in,
    and in that of the data the n-th mark would be the n-th image; a shuffle of known seed could be
    undone."""
    order = np.lexsort((shown, points[:, 1], points[:, 0]))
    return points[order], shown[order]


def projected(vectors: np.ndarray) -> np.ndarray:
    """(n, 2) t-SNE of (n, d) unit vectors, from their principal axes, with a fixed seed."""
    from sklearn.manifold import TSNE

    points: np.ndarray = TSNE(
        init="pca", perplexity=_perplexity(len(vectors)), random_state=0, learning_rate="auto"
    ).fit_transform(vectors)
    return points


def _perplexity(images: int) -> int:
    """`PERPLEXITY`, or what so few images allow."""
    return max(1, min(PERPLEXITY, (images - 1) // 3))


def _ratio_words(found: Sequence[Measured]) -> str:
    """How many times chance the same-class share of neighbours is, rare and base apart."""
    told = [
        f"{one.over} {_short(one.value / one.chance)}×"
        for one in found
        if one.measure == "neighbours" and one.over in ("rare", "base")
        if one.value is not None and one.chance
    ]
    return f"neighbours: {', '.join(told)} chance" if told else ""


def _short(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def _draw(rows: Sequence[RowResults], shown: Sequence[_Panel]) -> Figure:
    from matplotlib.figure import Figure

    lines, columns = panels(len(shown), 2 if len(rows) <= 2 else 4)
    height = lines * (2.35 if columns == 2 else 1.75) + 1.35
    figure = Figure(figsize=(TWO_COLUMNS, height), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    classes = rows[0].classes
    colours, rare = class_colours(classes), frozenset(_rare(rows[0]))
    real = not all(row.told["data"]["synthetic"] for row in rows)
    as_pixels = real or sum(len(panel.points) for panel in shown) > _VECTOR
    for axis, panel in zip(axes, shown, strict=False):
        _scatter(axis, panel, colours, rare, as_pixels=as_pixels)
        axis.set_title(f"{wrapped(panel.title, columns)}\n")
        told = axis.text(0, 1.02, panel.told, transform=axis.transAxes, fontsize=5.5, va="bottom")
        told.set_in_layout(False)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    present = set(np.concatenate([panel.shown for panel in shown]).tolist())
    keys = _keys(classes, colours, rare, present)
    figure.legend(
        handles=keys,
        loc="outside lower center",
        ncols=5,
        fontsize=5.2,
        handletextpad=0.2,
        columnspacing=1.0,
        labelspacing=0.3,
    )
    say_synthetic(figure, rows[0])
    return figure


def class_colours(classes: Sequence[str]) -> list[str]:
    """A colour for each class: one map over the ranks, rare classes dark and warm, base light."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    colours = [""] * len(classes)
    ranked = rarest_first(classes)
    for part, stops in (
        ([c for c in ranked if classes[c] in RARE], _TAIL),
        ([c for c in ranked if classes[c] not in RARE], _HEAD),
    ):
        scale = LinearSegmentedColormap.from_list("part", stops)
        for place, c in enumerate(part):
            colours[c] = to_hex(scale(place / max(1, len(part) - 1)))
    return colours


def _scatter(
    axis: Axes,
    panel: _Panel,
    colours: Sequence[str],
    rare: frozenset[int],
    *,
    as_pixels: bool,
) -> None:
    is_rare = np.isin(panel.shown, list(rare))
    none = panel.shown < 0
    small = 4.0 if len(panel.shown) < 1500 else 1.5
    for chosen, marker, area, order in (
        (none, ".", small, 1),
        (~none & ~is_rare, "o", small, 2),
        (is_rare, "^", 3 * small, 3),
    ):
        axis.scatter(
            panel.points[chosen, 0],
            panel.points[chosen, 1],
            c=[_NO_CLASS if c < 0 else colours[c] for c in panel.shown[chosen]],
            marker=marker,
            s=area,
            linewidths=0.15 if order == 3 else 0,
            edgecolors="white" if order == 3 else "none",
            zorder=order,
            rasterized=as_pixels,
        )
    axis.set_aspect("equal", adjustable="datalim")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(True)


def _keys(
    classes: Sequence[str], colours: Sequence[str], rare: frozenset[int], present: set[int]
) -> list[Line2D]:
    from matplotlib.lines import Line2D

    keys = []
    for c in [*rarest_first(classes), -1]:
        if c in present:
            marker = "^" if c in rare else "o"
            colour = _NO_CLASS if c < 0 else colours[c]
            name = "none of them" if c < 0 else classes[c]
            look: dict[str, Any] = {"ls": "", "marker": marker, "color": colour}
            keys.append(Line2D([], [], label=name, mew=0, ms=3.5, **look))
    return keys


def _rare(row: RowResults) -> list[int]:
    return [c for c, name in enumerate(row.classes) if name in RARE]


def _caption(study: str, rows: Sequence[RowResults], first: Sequence[Embedded]) -> list[str]:
    trials = "; ".join(
        f"{row.title}: run {e.run}, fold {e.fold}, {len(e.labels)} images, perplexity "
        f"{_perplexity(min(MOST, len(e.labels)))}"
        for row, e in zip(rows, first, strict=True)
    )
    subsampled = max(len(e.labels) for e in first) > MOST
    drawn = (
        f"Of each fold {MOST} images are drawn: up to {OF_EACH_RARE} of each rare class, then "
        "others at random (seed 0)."
        if subsampled
        else "All images of the fold are drawn."
    )
    return [
        f"Embeddings of test images of {study} before and after training, by t-SNE (unit vectors, "
        f"started from the principal axes, seed 0). {trials}.",
        f"{drawn} One mark an image, in the colour of its rarest class. Triangles, dark and "
        "warm: the rare classes; dots, light and cool: the base classes; from the rarest of each "
        "part to its commonest. Axes have no unit; distances between clusters and their sizes mean "
        "nothing.",
        f"Neighbours: of an image with a class, the share of its {NEIGHBOURS} nearest "
        "images of other patients (cosine, all dimensions) that have it too, mean over images, "
        "then over classes; over that share among all images of other patients. The CSV has it "
        f"for every class and trial, with purity and NMI of {CLUSTERS} k-means clusters and their "
        "chance values.",
    ]
