"""What stands under a table: what the numbers are of, the two tests, and what no mark can say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bench.report.compare import Comparison, no_bootstrap
from bench.report.external import drawn_words, external_notes, untested
from bench.report.options import METRICS, Options
from bench.report.origin import origin_notes
from bench.report.results import RowResults
from bench.report.scores import REPLICATES, SEED, drawn_trials
from bench.report.table import interval_text, p_text
from bench.stats.bootstrap import Estimate
from bench.stats.significance import required_effect

BELOW_CHANCE = " †"


def data_notes(rows: Sequence[RowResults], options: Options) -> list[str]:
    """Data, preset, runs and folds, classes that are too thin, and trials that are missing."""
    told = rows[0].told
    data, spec = told["data"], told["spec"]
    runs = max(len(row.runs) for row in rows)

    def fewer(row: RowResults) -> bool:
        return len(row.runs) < runs

    kind = "synthetic data, not X-rays" if data["synthetic"] else "real images"
    presets = " and ".join(sorted({row.told["spec"]["config"]["preset"] for row in rows}))
    tracks = " and ".join(sorted({row.told["spec"]["track"] for row in rows}))
    notes = [
        f"Data: {data['name']} ({kind}), {data['images']} images of {data['patients']} patients. "
        f"Preset: {presets}. Track: {tracks}. Seed: {spec['seed']}. Prompts: {options.policy}.",
        f"{plural(runs, 'run')} of {spec['folds']}-fold cross-validation by patient"
        + "".join(f"; {row.title}: {plural(len(row.runs), 'run')}" for row in rows if fewer(row))
        + ".",
        *external_notes(rows[0]),
        *origin_notes(rows),
    ]
    if rows[0].without_policy:
        notes.append(
            f"Without scores under prompts '{options.policy}', and so not in this table: "
            f"{', '.join(rows[0].without_policy)}."
        )
    notes += tracks_apart(rows)
    metric = METRICS[options.metric]
    if metric.note:
        notes.append(metric.note)
    few = sum((count or 0) < options.min_patients for count in data["positive_patients"].values())
    if few:
        notes.append(
            f"{few} of {len(rows[0].classes)} classes have fewer than {options.min_patients} "
            "positive patients and are undefined (--min-patients)."
        )
    if len(data["sources"]) > 1 and options.metric == "auroc":
        notes.append(
            f"AUC is taken within each source ({', '.join(data['sources'])}) and averaged by "
            "positives; pooled values are in the records."
        )
    for row in rows:
        expected = row.train_test.shape[0] * row.train_test.shape[1]
        if len(row.folders) < expected:
            whole = (
                f"; mean and sd are of its {plural(len(row.complete), 'complete run')}"
                if row.complete
                else ""
            )
            notes.append(
                f"{row.title}: only {len(row.folders)} of {expected} trials are finished{whole}."
            )
        if row.left_out:
            notes.append(
                f"{row.title}: {plural(row.left_out, 'trial')} of other code or settings left out."
            )
    return notes


def tracks_apart(rows: Sequence[RowResults]) -> list[str]:
    """What two tracks in one table mean."""
    if len({row.track for row in rows}) == 1:
        return []
    titles = ", ".join(row.title for row in rows if row.track == "released")
    return [
        f"Not trained here but scored with published weights (track released): {titles}. Rows are "
        "tested against rows of their own track only."
    ]


def below_chance(rows: Sequence[RowResults], options: Options) -> list[str]:
    """A note on the rows that rank worse than a coin in some group."""
    if options.metric != "auroc":
        return []
    found = []
    for row in rows:
        groups = [g.title for g in options.groups if is_below_chance(row.by_run(g)[0], options)]
        if groups:
            found.append(f"{row.title} ({', '.join(groups)})")
    if not found:
        return []
    return [f"† below chance: check sign, prompts, weights. AUC under 0.5: {'; '.join(found)}."]


def is_below_chance(values: np.ndarray, options: Options) -> bool:
    """Whether the mean of a group's AUC over runs is under 0.5."""
    return options.metric == "auroc" and len(values) > 0 and float(values.mean()) < 0.5


def no_baseline(rows: Sequence[RowResults]) -> str:
    """What to do when there is nothing to test against."""
    names = ", ".join(row.name for row in rows[:6])
    return (
        "No test and no mark: the baseline row of the study is not among the finished trials "
        f"(bench run --method chexzero). Or name a row: --baseline with one of {names}."
    )


def comparison_notes(
    found: Mapping[str, Sequence[Comparison]], baseline: RowResults, options: Options
) -> list[str]:
    """Both tests against the baseline with exact p, row by row, and when a mark is refused."""
    groups = list(found.values())
    if not groups[0]:
        return ["No test: the baseline is the only row."]
    by_row = list(zip(*groups, strict=True))
    notes = []
    if baseline.external is not None:
        notes.append(untested(baseline))
    elif METRICS[options.metric].cross_fitted:
        notes.append(
            f"No test: {METRICS[options.metric].title} has one value a run, not one for each fold."
        )
    else:
        notes.append(
            f"New training sets, would the procedure win again? {procedure_words('rows')} Asterisk "
            f"(*): adjusted p < {options.alpha:g} against {baseline.title}."
        )
        notes += [_row_note(line, _procedure) for line in by_row]
        refusal = refused([c for group in groups for c in group], options)
        notes += [refusal] if refusal else []
    reason = no_bootstrap([baseline, *(line[0].row for line in by_row)], options)
    if reason:
        return [*notes, f"New patients: not tested, {reason}."]
    notes.append(f"New patients, do these fixed models differ? {patient_words(by_row[0][0])}")
    notes += [_row_note(line, _patients) for line in by_row]
    return notes + thinned_draws([c for group in groups for c in group])


def procedure_words(over: str) -> str:
    """The corrected test in one sentence."""
    return (
        "Nadeau-Bengio corrected resampled t-test over runs x folds with the true sizes of "
        f"training and test parts, two-sided, Holm-adjusted over the {over}."
    )


def patient_words(comparison: Comparison) -> str:
    """The bootstrap in one sentence or two."""
    trials = drawn_trials(comparison.row, comparison.other)
    if comparison.row.external is not None:
        return drawn_words(comparison.row, trials[0][0] if trials else None, REPLICATES, SEED)
    drawn = f"within each fold of run {trials[0][0]}" if trials else "within each fold"
    sources = " and each source" if len(comparison.row.told["data"]["sources"]) > 1 else ""
    return (
        f"Paired bootstrap of {comparison.row.told['data']['patients']} patients, drawn {drawn} "
        f"with all their images, {REPLICATES} times, seed {SEED}; scores are compared within each "
        f"fold{sources} only. In brackets 95 % percentile intervals; p is Holm-adjusted and cannot "
        f"be below {2 / (REPLICATES + 1):.2g}."
    )


def thinned_draws(comparisons: Sequence[Comparison]) -> list[str]:
    """A note on draws of patients that lost a class in a fold, or altogether; none without any."""
    in_a_fold = _most(comparisons, lambda estimate: estimate.incomplete)
    altogether = _most(comparisons, lambda estimate: estimate.thinned)
    notes = []
    if in_a_fold:
        notes.append(
            f"Of the {REPLICATES} draws, so many held no positive or no negative patient of some "
            f"class in some fold; such a class is the mean of its other folds: {in_a_fold}."
        )
    if altogether:
        notes.append(
            f"Of the {REPLICATES} draws, so many held no positive or no negative patient of some "
            f"class and are means of the other classes, if there are any: {altogether}."
        )
    return notes


def _most(comparisons: Sequence[Comparison], count: Callable[[Estimate], int]) -> str:
    """The largest count of each group over the comparisons, in words; empty where all are 0."""
    by_group: dict[str, int] = {}
    for c in comparisons:
        here = 0 if c.patients is None else count(c.patients)
        by_group[c.group.title] = max(here, by_group.get(c.group.title, 0))
    return ", ".join(f"{title} {most}" for title, most in by_group.items() if most)


def refused(comparisons: Sequence[Comparison], options: Options) -> str | None:
    """Why there is no asterisk at all, and what it would take; None where there is one."""
    if any(is_marked(c, options) for c in comparisons):
        return None
    start = f"An asterisk at p < {options.alpha:g} is refused:"
    tested = [c for c in comparisons if c.procedure.p_value is not None]
    if not tested:
        return f"{start} with {comparisons[0].procedure.reason} there is no p value."
    nearest = min(tested, key=lambda c: (c.p_value or 0.0, c.procedure.p_value or 0.0))
    test, rows = nearest.procedure, sum(c.group == nearest.group for c in tested)
    sizes = nearest.row.train_test
    ratio = float(np.nanmean(sizes[..., 1] / sizes[..., 0]))
    effect = required_effect(options.alpha / rows, runs=test.n, folds=1, ratio=ratio)
    assert effect is not None
    assert test.sd is not None
    assert test.mean is not None
    needed = effect * test.sd
    title = METRICS[options.metric].title
    reached = nearest.other.by_run(nearest.group)[0]
    perfect = (
        f", and a perfect method would gain {1 - float(reached.mean()):.3f}"
        if options.metric != "ap-ratio" and len(reached)
        else ""
    )
    return (
        f"{start} with {plural(test.n, 'difference')} over runs and folds and "
        f"{plural(rows, 'comparison')}, it takes a mean difference of {effect:.1f} standard "
        f"deviations of the differences. For {nearest.row.title} ({nearest.group.title}, the "
        f"nearest) that is {needed:.3f} {title}{perfect}; seen was {test.mean:+.3f}."
    )


def is_marked(comparison: Comparison, options: Options) -> bool:
    """Whether a cell earns the asterisk."""
    return comparison.p_value is not None and comparison.p_value < options.alpha


def plural(count: int, word: str) -> str:
    """A count with its word.

    >>> plural(1, "run"), plural(10, "run")
    ('1 run', '10 runs')
    """
    return f"{count} {word}{'' if count == 1 else 's'}"


def _row_note(line: Sequence[Comparison], told: Callable[[Comparison], str]) -> str:
    return f"{line[0].row.title}: {'; '.join(f'{c.group.title} {told(c)}' for c in line)}."


def _procedure(comparison: Comparison) -> str:
    test = comparison.procedure
    if test.p_value is None or test.mean is None:
        return f"no p value ({test.reason})"
    return f"{test.mean:+.4f}, p = {p_text(test.p_value)}, adjusted {p_text(comparison.p_value)}"


def _patients(comparison: Comparison) -> str:
    estimate = comparison.patients
    if estimate is None:
        return "no trial in common"
    if estimate.value is None or estimate.percentile is None:
        return f"undefined ({estimate.reason})"
    interval = interval_text(estimate.percentile)
    return f"{estimate.value:+.4f} {interval}, adjusted p = {p_text(comparison.patients_p)}"
