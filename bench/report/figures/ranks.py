"""The critical-difference diagram for print."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import ResultsError
from bench.report.figures.drawing import Drawing, say_synthetic
from bench.report.figures.style import INK, TWO_COLUMNS
from bench.report.notes import data_notes
from bench.report.options import METRICS, Options
from bench.report.rank_diagram import draw_ranks, half
from bench.report.ranks import mean_ranks, of_one_track, ranks_words
from bench.report.results import RowResults
from bench.report.seen import seen_notes


def ranks_figure(
    study: str, rows: Sequence[RowResults], baseline: RowResults | None, options: Options
) -> Drawing:
    """Mean ranks over the classes of the rows of one track.

    Raises:
        ResultsError: fewer than two rows of that track, or fewer than five classes that all have.
    """
    from matplotlib.figure import Figure

    ranks = mean_ranks(of_one_track(rows, baseline))
    if ranks is None:
        raise ResultsError(
            f"mean ranks of {study} take two rows of one track and five classes that all have"
        )
    height = 0.75 + 0.13 * len(ranks.alike) + 0.17 * half(ranks)
    figure = Figure(figsize=(TWO_COLUMNS, height), layout="constrained")
    draw_ranks(figure.subplots(), ranks, [INK] * len(ranks.rows), INK, width=0.8)
    say_synthetic(figure, rows[0])
    numbers = [
        {
            "a": ranks.rows[a].title,
            "b": ranks.rows[b].title,
            "mean_rank_a": ranks.mean[a],
            "mean_rank_b": ranks.mean[b],
            "p_adjusted": p,
        }
        for (a, b), p in ranks.adjusted.items()
    ]
    caption = (
        f"Critical differences between the rows of {study}.",
        ranks_words(ranks, rows, METRICS[options.metric].title),
        *data_notes(ranks.rows, options),
        *seen_notes(ranks.rows),
    )
    return Drawing("ranks", figure, caption, numbers)
