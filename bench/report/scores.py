"""What needs the scores of single images: the bootstrap over patients and cross-fitted metrics.

Scores per image stay on the machine that made them; without them (an exported study) the other
parts of a table are the same.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.errors import ResultsError
from bench.report.options import Group, Options
from bench.report.results import RowResults
from bench.runs.record import read_scores
from bench.stats.bootstrap import Estimate, paired_cluster_bootstraps
from bench.stats.calibration import (
    brier,
    cross_fitted_f1,
    cross_fitted_probabilities,
    expected_calibration_error,
)

REPLICATES, SEED = 1000, 0
_SPOILT = (zipfile.BadZipFile, zlib.error, NotImplementedError)

Pair = tuple[RowResults, RowResults]
Trials = tuple[tuple[int, int], ...]


class Stack(NamedTuple):
    """The test images of some trials, one below the other; an image is there once a run."""

    scores: np.ndarray
    labels: np.ndarray
    mask: np.ndarray
    rows: np.ndarray
    patients: np.ndarray
    sources: np.ndarray
    fold: np.ndarray
    """Number of the trial that scored the image: scores of two trials are not compared."""


def has_scores(row: RowResults) -> bool:
    """Whether the scores of every finished trial are there."""
    return all((folder / row.scores_file).exists() for folder in row.folders.values())


def patient_bootstraps(
    pairs: Sequence[Pair], groups: Sequence[Group], options: Options
) -> list[Mapping[str, Estimate]]:
    """Of each pair (a, b) the difference of AUC by group over draws of patients.

    The fixed models are those of one run, the first that both rows have whole, and patients are
    drawn within its folds; on external data, which all these models score, once for all of them.
    Stacking all runs and drawing patients from all together gives intervals that are too narrow
    (`tests/perf/type_one_error.py`). Classes are those that are defined in every run of both.
    """
    together: dict[tuple[Trials, bytes], list[int]] = {}
    for place, (a, b) in enumerate(pairs):
        # Rows of the same trials and classes go through one bootstrap: a sweep a row, not a pair.
        shared = drawn_trials(a, b)
        together.setdefault((shared, _defined(a, b).tobytes()), []).append(place)
    found: list[Mapping[str, Estimate]] = [{} for _ in pairs]
    for (trials, _), places in together.items():
        if not trials:
            continue
        here = [pairs[place] for place in places]
        rows = {row.key: row for pair in here for row in pair}
        stacks = {key: stack(row, trials, options.policy) for key, row in rows.items()}
        first, one = next(iter(stacks.items()))
        for key, other in stacks.items():
            if not np.array_equal(one.rows, other.rows):
                raise ResultsError(
                    f"The trials of {rows[first].name} and {rows[key].name} were scored on "
                    "different test images. Redo them: bench run --fresh"
                )
        defined = _defined(*here[0])
        results = paired_cluster_bootstraps(
            {key: other.scores for key, other in stacks.items()},
            [(a.key, b.key) for a, b in here],
            one.labels,
            one.patients,
            folds=one.fold,
            strata=one.sources,
            mask=one.mask,
            groups={
                g.key: np.flatnonzero(here[0][0].members(g) & defined).tolist() for g in groups
            },
            n_replicates=REPLICATES,
            seed=SEED,
        )
        for place, result in zip(places, results.values(), strict=True):
            found[place] = result.groups
    return found


def drawn_trials(a: RowResults, b: RowResults) -> Trials:
    """The trials of the run whose models are compared: the first that is complete in both rows,
    or else the first that both have begun."""
    shared = sorted(set(a.folders) & set(b.folders))
    whole = [trial for trial in shared if trial[0] in set(a.complete) & set(b.complete)]
    chosen = whole or shared
    return tuple(trial for trial in chosen if trial[0] == chosen[0][0])


def cross_fitted(row: RowResults, options: Options) -> np.ndarray:
    """(runs, 1, classes) F1, ECE or Brier score of each run over its folds; NaN where undefined.

    Raises:
        ResultsError: the scores are not there.
    """
    if not has_scores(row):
        raise ResultsError(
            f"--metric {options.metric} needs the scores per image (scores.npz), which the records "
            f"of {row.title} do not hold here. Use auroc, ap or ap-ratio."
        )
    values = np.full((len(row.runs), 1, len(row.classes)), np.nan)
    for place, run in enumerate(row.runs):
        trials = tuple(sorted(trial for trial in row.folders if trial[0] == run))
        if len(trials) < 2:
            continue  # nothing to fit on
        images = stack(row, trials, options.policy)
        for c in range(len(row.classes)):
            value = _cross_fitted(options.metric, images, c)
            values[place, 0, c] = np.nan if value is None else value
    return values


def stack(row: RowResults, trials: Trials, policy: str) -> Stack:
    """The test images of the trials with a row's scores, in the order of the trials.

    Raises:
        ResultsError: the arrays of a trial are not those of scores of these classes.
    """
    names = (policy, "labels", "mask", "rows", "patients", "sources")
    parts = [_arrays(row.folders[trial] / row.scores_file, names, row) for trial in trials]
    fold = np.repeat(np.arange(len(parts)), [len(part["rows"]) for part in parts])
    return Stack._make((*(np.concatenate([p[name] for p in parts]) for name in names), fold))


def _arrays(path: Path, names: Sequence[str], row: RowResults) -> dict[str, np.ndarray]:
    """Of a trial's file the arrays of those names: three (N, C), then three (N,)."""
    try:
        found = read_scores(path.parent, path.name)
        arrays = {name: found[name] for name in names}
        n, c = len(arrays["rows"]), len(row.classes)
        shapes = [arrays[name].shape for name in names]
        kinds = "".join(arrays[name].dtype.kind for name in names)
        whole = (
            shapes == [(n, c)] * 3 + [(n,)] * 3 and kinds[0] == "f" and set(kinds[1:]) <= {*"biu"}
        )
        sound = whole and bool(np.isfinite(arrays[names[0]]).all())
    except (OSError, ValueError, KeyError, AttributeError, MemoryError, *_SPOILT) as error:
        raise _unlike(path, f"{type(error).__name__}: {error}") from error
    if not sound:
        raise _unlike(path, "shapes, types, or scores that are not finite")
    return arrays


def _unlike(path: Path, why: str) -> ResultsError:
    return ResultsError(
        f"{path} does not hold the scores of its trial ({why}). Move its folder away and run the "
        "trial again."
    )


def _defined(a: RowResults, b: RowResults) -> np.ndarray:
    """(classes,) bool: defined in every run of both."""
    return ~np.isnan(np.concatenate([a.by_class(), b.by_class()])).any(axis=0)


def _cross_fitted(metric: str, images: Stack, c: int) -> float | None:
    scores, labels, mask = images.scores[:, c], images.labels[:, c], images.mask[:, c]
    if metric == "f1":
        return cross_fitted_f1(scores, labels, images.fold, mask).value
    probabilities = cross_fitted_probabilities(scores, labels, images.fold, mask)
    if probabilities is None:
        return None
    measure = brier if metric == "brier" else expected_calibration_error
    return measure(probabilities, labels, mask)
