"""The long-tail curve in numbers: the AUC of each class against how many patients have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.report.class_table import group_of
from bench.report.options import Group
from bench.report.paper import procedure_interval
from bench.report.results import RowResults

INTERVAL_WORDS = "95 % interval over new training sets (corrected resampled t, Nadeau-Bengio)"


@dataclass(frozen=True)
class TailPoint:
    """A class of one row."""

    name: str
    group: str
    """rare, medium, common of the paper's Table 1, or `-`."""
    patients: int | None
    """Patients of the data set who have it; None where a bundle withheld them."""
    mean: float | None
    """Over folds, then over runs; None where undefined."""
    interval: tuple[float, float] | None
    """95 % over new training sets."""

    @property
    def at(self) -> tuple[int, float] | None:
        """Patients and AUC, its place in the drawing; None where it has none."""
        return (self.patients, self.mean) if self.patients and self.mean is not None else None

    @property
    def drawn(self) -> bool:
        """Whether it has a place in the drawing."""
        return self.at is not None


def tail_points(row: RowResults) -> list[TailPoint]:
    """Every class of a row, those of fewest patients first, those of withheld counts before."""
    known = row.told["data"]["positive_patients"]
    means = row.by_class().mean(axis=0)
    points = []
    for c, name in enumerate(row.classes):
        undefined = bool(np.isnan(means[c]))
        interval = None
        if not undefined:
            interval = procedure_interval(row, Group(name, name, frozenset({name})))
        mean = None if undefined else float(means[c])
        points.append(TailPoint(name, group_of(name), known[name], mean, interval))
    return sorted(points, key=lambda point: point.patients or 0)


def rank_correlation(points: Sequence[TailPoint]) -> float | None:
    """Spearman's, of AUC and positive patients; None where either is the same for all classes."""
    from scipy.stats import spearmanr

    drawn = [point for point in points if point.drawn]
    counts, means = [point.patients for point in drawn], [point.mean for point in drawn]
    if len(set(counts)) < 2 or len(set(means)) < 2:
        return None
    return float(spearmanr(counts, means).statistic)
