"""Two questions about two rows: would the procedure win again, do the fixed models differ?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import UsageError, unknown
from bench.report.external import ONE_TEST_SET
from bench.report.options import METRICS, Group, Options
from bench.report.results import RowResults, nanmean
from bench.report.scores import has_scores, patient_bootstraps
from bench.runs.study import Row
from bench.stats.bootstrap import Estimate
from bench.stats.significance import (
    Posterior,
    TestResult,
    bayesian_correlated_ttest,
    corrected_resampled_ttest,
    holm,
)

ROPE = 0.01


@dataclass(frozen=True)
class Comparison:
    """One row against another in one group of classes; differences are row minus other."""

    row: RowResults
    other: RowResults
    group: Group
    procedure: TestResult
    """Corrected resampled t-test over runs x folds: new training sets."""
    p_value: float | None
    """Its p, Holm-adjusted over the comparisons of the table in this group."""
    patients: Estimate | None
    """Paired bootstrap over patients: these models, new patients. None without scores."""
    patients_p: float | None
    posterior: Posterior | None
    """Chances that the procedure is worse, equal within the region of equivalence, better."""


def compare(
    pairs: Sequence[tuple[RowResults, RowResults]], options: Options, *, draw: bool = True
) -> dict[str, list[Comparison]]:
    """By group, each pair (row, other) in its order; without `draw` no patients are drawn."""
    bootstraps: Sequence[Mapping[str, Estimate]] = [{} for _ in pairs]
    if draw and no_bootstrap([row for pair in pairs for row in pair], options) is None:
        bootstraps = patient_bootstraps(pairs, options.groups, options)
    found = {}
    for group in options.groups:
        tests = [procedure_test(a, b, a.members(group)) for a, b in pairs]
        estimates = [bootstrap.get(group.key) for bootstrap in bootstraps]
        adjusted = holm([test.p_value for test in tests])
        drawn = holm([None if e is None else e.p_value for e in estimates])
        found[group.key] = [
            Comparison(a, b, group, test, p, estimate, drawn_p, _posterior(a, b, group))
            for (a, b), test, p, estimate, drawn_p in zip(
                pairs, tests, adjusted, estimates, drawn, strict=True
            )
        ]
    return found


def no_bootstrap(rows: Sequence[RowResults], options: Options) -> str | None:
    """Why patients cannot be drawn for these rows; None when they can."""
    if options.metric != "auroc":
        return f"drawing patients is for AUC, not for {METRICS[options.metric].title}"
    if not all(has_scores(row) for row in rows):
        return "the records are here without their scores per image (scores.npz)"
    return None


def procedure_test(row: RowResults, other: RowResults, members: np.ndarray) -> TestResult:
    """The corrected test on the mean over some classes, over the trials that both rows have."""
    differences, sizes = _differences(row, other, members)
    if row.external is not None:
        known = differences[~np.isnan(differences)]
        mean = float(known.mean()) if len(known) else None
        return TestResult(None, None, None, mean, None, None, len(known), ONE_TEST_SET)
    if differences.shape != sizes.shape[:2]:
        return TestResult(
            None, None, None, None, None, None, 0, "one value a run, not one for each fold"
        )
    return corrected_resampled_ttest(differences, sizes[..., 0], sizes[..., 1])


def find_baseline(
    rows: Sequence[RowResults], declared: Sequence[Row], asked: str | None
) -> RowResults | None:
    """The row that others are tested against: the one asked for, or the study file's.

    Raises:
        UsageError: the row asked for is not in the table, or it names several.
    """
    if asked is None:
        keys = {row.key for row in declared if row.baseline}
        exact = (row for row in rows if row.key in keys)
        of_weights = [row for row in rows if row.declared in keys]
        if all(row.track == "released" for row in rows):
            # Published weights of the baseline's method stand where its trained row would.
            of_weights = [row for row in rows if (row.method, "default") in keys]
            of_weights = of_weights if len(of_weights) == 1 else []
        return next(exact, None) or next(iter(of_weights), None)
    by_name = {row.name: row for row in rows}
    method, _, label = asked.partition(":")
    if asked in by_name:
        return by_name[asked]
    of_method = [row for row in rows if row.method == method]
    if not label and f"{method}:default" in by_name:
        return by_name[f"{method}:default"]
    if not label and len(of_method) == 1:
        return of_method[0]
    if not label and of_method:
        names = ", ".join(row.name for row in of_method)
        raise UsageError(f"--baseline {asked} could be any of {names}; name one.")
    raise UsageError(unknown("baseline", asked, by_name))


def _posterior(row: RowResults, other: RowResults, group: Group) -> Posterior | None:
    differences, sizes = _differences(row, other, row.members(group))
    if differences.shape != sizes.shape[:2] or row.external is not None:
        return None
    return bayesian_correlated_ttest(differences, sizes[..., 0], sizes[..., 1], rope=ROPE)


def _differences(
    row: RowResults, other: RowResults, members: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(runs, folds) differences over the runs that both have, and the sizes of their parts."""
    runs = [run for run in row.runs if run in other.runs]
    ours, theirs = ([r.runs.index(run) for run in runs] for r in (row, other))
    a, b = row.values[ours][:, :, members], other.values[theirs][:, :, members]
    return nanmean(a, axis=2) - nanmean(b, axis=2), row.train_test[ours]
