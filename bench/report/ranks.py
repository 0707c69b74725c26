"""Mean ranks of the rows over the classes, and which of them cannot be told apart.

Demšar, JMLR 7 (2006): the diagram. Benavoli, Corani & Mangili, JMLR 17 (2016): pairs by the
Wilcoxon signed-rank test with Holm's adjustment, because the Nemenyi test makes the verdict on two
methods depend on which others are in the diagram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, wilcoxon

from bench.report.results import RowResults
from bench.stats.significance import holm

ALPHA = 0.05


@dataclass(frozen=True)
class Ranks:
    """Rows by their mean rank over the classes that are defined for all of them; 1 is best."""

    rows: tuple[RowResults, ...]
    """In the order of their ranks, the best first."""
    mean: tuple[float, ...]
    classes: int
    friedman: float | None
    """p that all rows rank alike; of three rows or more."""
    adjusted: dict[tuple[int, int], float | None]
    """Holm-adjusted p of each pair of places in `rows`."""
    alike: tuple[tuple[int, int], ...]
    """First and last place of each longest stretch of rows of which no pair differs."""


def of_one_track(rows: Sequence[RowResults], baseline: RowResults | None) -> list[RowResults]:
    """The rows of the baseline's track; without a baseline those of the track with most rows.

    A model that was trained on these data and one that was not are not ranked together, as they are
    not tested against each other in the tables.
    """
    tracks = [row.track for row in rows]
    track = max(tracks, key=tracks.count) if baseline is None else baseline.track
    return [row for row in rows if row.track == track]


def mean_ranks(rows: Sequence[RowResults]) -> Ranks | None:
    """The ranks by each class's metric, its mean over runs; None for fewer than two rows, or
    fewer than five classes that all of them have."""
    if len(rows) < 2 or len({row.classes for row in rows}) > 1:
        return None
    values = np.array([row.by_class().mean(axis=0) for row in rows])
    values = values[:, ~np.isnan(values).any(axis=0)]
    count = values.shape[1]
    if count < 5:
        return None
    mean = rankdata(-values, axis=0).mean(axis=1)
    order = np.argsort(mean, kind="stable")
    values = values[order]
    pairs = list(combinations(range(len(rows)), 2))
    adjusted = dict(
        zip(pairs, holm([_paired(values[a], values[b]) for a, b in pairs]), strict=True)
    )
    return Ranks(
        rows=tuple(rows[place] for place in order),
        mean=tuple(float(mean[place]) for place in order),
        classes=count,
        friedman=_friedman(values),
        adjusted=adjusted,
        alike=_stretches(len(rows), adjusted),
    )


def _friedman(values: np.ndarray) -> float | None:
    """p that all rows rank alike; 1 where they are the same everywhere, None for two rows."""
    if len(values) < 3:
        return None
    return 1.0 if np.ptp(values, axis=0).max() == 0 else float(friedmanchisquare(*values).pvalue)


def _paired(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p of the signed-rank test; 1 where the two are the same everywhere."""
    return 1.0 if np.array_equal(a, b) else float(wilcoxon(a, b, method="approx").pvalue)


def _stretches(
    count: int, adjusted: dict[tuple[int, int], float | None]
) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for first in range(count):
        last = first
        while last + 1 < count and all(
            (adjusted[place, last + 1] or 0.0) >= ALPHA for place in range(first, last + 1)
        ):
            last += 1
        if last > first and not any(a <= first and last <= b for a, b in found):
            found.append((first, last))
    return tuple(found)


def ranks_words(ranks: Ranks, rows: Sequence[RowResults], metric: str) -> str:
    """What the diagram says and of which of all rows, for its caption."""
    apart = [row for row in rows if row.track != ranks.rows[0].track]
    titles = ", ".join(row.title for row in apart)
    track = f"Rows of track {ranks.rows[0].track} only, not {titles}. " if apart else ""
    friedman = f" Friedman p = {ranks.friedman:.2g}." if ranks.friedman is not None else ""
    return (
        f"{track}Mean rank of {metric} over {ranks.classes} classes. Rows under one bar cannot be "
        "told apart: no pair of them differs by the Wilcoxon signed-rank test over classes "
        f"(Holm-adjusted p < {ALPHA:g}).{friedman} Classes of the same patients are not "
        "independent: read it as a description, and the tests under the tables as the tests."
    )
