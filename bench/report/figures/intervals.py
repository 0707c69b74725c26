"""How far the AUC of a row's fixed models would move with other patients, by group and by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench.report.options import Options
from bench.report.results import RowResults
from bench.report.scores import REPLICATES, SEED, drawn_trials, has_scores, stack
from bench.stats.bootstrap import cluster_bootstrap

Interval = tuple[float, float]


class Intervals(NamedTuple):
    """95 % intervals of AUC over draws of patients; where undefined there is none."""

    groups: Mapping[str, Interval]
    classes: Mapping[str, Interval]


def patient_intervals(row: RowResults, options: Options) -> Intervals | None:
    """Percentile intervals of the models of one run, the first whole one; None without scores.

    A group's interval is of the mean over the classes that are defined in every run, as in the
    tables. The draws are those of `bench table` (as many, same seed, within folds and sources).
    """
    if not has_scores(row):
        return None
    images = stack(row, drawn_trials(row, row), options.policy)
    defined = ~np.isnan(row.by_class()).any(axis=0)
    of_groups = {("group", g.key): np.flatnonzero(row.members(g) & defined) for g in options.groups}
    of_classes = {("class", row.classes[c]): np.array([c]) for c in np.flatnonzero(defined)}
    members = {f"{kind}:{key}": rows for (kind, key), rows in (of_groups | of_classes).items()}
    drawn = cluster_bootstrap(
        images.scores,
        images.labels,
        images.patients,
        folds=images.fold,
        strata=images.sources,
        mask=images.mask,
        groups={name: rows.tolist() for name, rows in members.items()},
        n_replicates=REPLICATES,
        seed=SEED,
    )
    found: dict[str, dict[str, Interval]] = {"group": {}, "class": {}}
    for name, estimate in drawn.groups.items():
        kind, _, key = name.partition(":")
        if estimate.percentile is not None:
            found[kind][key] = estimate.percentile
    return Intervals(found["group"], found["class"])


def interval_words(rows: Sequence[RowResults], intervals: Sequence[Intervals | None]) -> str:
    """What the intervals are, in a sentence; or why there is none."""
    without = [row.title for row, found in zip(rows, intervals, strict=True) if found is None]
    none = f" None for {', '.join(without)}: no scores per image (scores.npz) here."
    if len(without) == len(rows):
        return "No interval over patients: the records are here without scores per image."
    return (
        "Thin lines: 95 % percentile intervals of the models of one run on other patients "
        f"(bootstrap of patients within each fold, {REPLICATES} draws, seed {SEED}); they need not "
        f"be centred on the mean over runs.{none if without else ''}"
    )
