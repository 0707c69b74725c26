"""The critical-difference diagram: rows on an axis of mean ranks, a bar over those alike."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.options import METRICS, Options
from bench.report.page.figure import Figure, Line, number
from bench.report.page.origin import slug
from bench.report.page.svg import INK, Drawing, series, style
from bench.report.rank_diagram import draw_ranks, half
from bench.report.ranks import Ranks, ranks_words
from bench.report.results import RowResults
from bench.report.seen import seen_notes


def ranks_figure(ranks: Ranks, rows: Sequence[RowResults], options: Options) -> Figure:
    """The diagram; a row has the colour of its place among all rows of the page."""
    places = [row.key for row in rows]
    with style():
        drawing = Drawing("ranks", 0.9 + 0.17 * len(ranks.alike) + 0.24 * half(ranks))
        axis = drawing.figure.subplots()
        colours = [series(places.index(row.key))[0] for row in ranks.rows]
        drawn = draw_ranks(axis, ranks, colours, INK)
        for row, mean, artists in zip(ranks.rows, ranks.mean, drawn, strict=True):
            for artist in artists:
                drawing.tag(artist, row=slug(row), title=f"{row.title}: mean rank {mean:.2f}")
        told = ", ".join(f"{r.title} {m:.2f}" for r, m in zip(ranks.rows, ranks.mean, strict=True))
        svg = drawing.svg("Critical differences", f"Mean ranks from best to worst: {told}.")
    return Figure(
        "ranks",
        "Critical differences",
        " ".join(
            (ranks_words(ranks, rows, METRICS[options.metric].title), *seen_notes(ranks.rows))
        ),
        svg,
        ("A", "B", "Mean rank A", "Mean rank B", "Adjusted p"),
        tuple(
            Line(
                (
                    ranks.rows[a].title,
                    ranks.rows[b].title,
                    number(ranks.mean[a], ".2f"),
                    number(ranks.mean[b], ".2f"),
                    number(p, ".3g"),
                ),
                slug(ranks.rows[a]),
            )
            for (a, b), p in ranks.adjusted.items()
        ),
    )
