"""How often each test cries wolf, what its intervals cover, and what it sees: a simulation.

    python -m tests.perf.type_one_error [--studies 2000] [--patients 300]

Two questions, two worlds, both with patients of many images and classes of 24 positive images:

*Procedures.* Every study draws a new cohort. Two learners (a difference of class means, made from
the training patients) see different features of the same quality, so neither is better on average
over cohorts. Ten runs of five patient-grouped folds. In 2 dimensions the learners hardly change
with their training patients; in 8, with 19 positives to learn from, they change a lot. These two
give the same result whenever the training patients are the same; a third world adds what networks
have, luck of each training (initial weights, order) that no other training shares.

*Fixed models.* Every study draws new patients for two given scorers of the same true AUC, whose
scores share an image's and a patient's difficulty and differ by a patient's and an image's luck.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

from bench.protocol.folds import patient_folds
from bench.stats.bootstrap import PairedBootstrap, paired_cluster_bootstrap
from bench.stats.metrics import class_aurocs
from bench.stats.power import patients_needed, power, runs_needed
from bench.stats.significance import (
    TestResult,
    corrected_resampled_ttest,
    required_effect,
    sign_flip_permutation,
)

ALPHA = 0.05
COMMON = (0.25, 0.08)
RARE_CLASSES, RARE_POSITIVES = 4, 24
GROUPS = {
    "total": list(range(len(COMMON) + RARE_CLASSES)),
    "rare": list(range(len(COMMON), len(COMMON) + RARE_CLASSES)),
    "one rare class": [len(COMMON)],
    "one common class": [0],
}
STABLE, UNSTABLE = 2, 8
# Standard deviation of a training's luck, in AUC.
LUCK = 0.06


class Cohort(NamedTuple):
    patients: np.ndarray
    labels: np.ndarray


def cohort(rng: np.random.Generator, patients: int) -> Cohort:
    """Cluster sizes like MIMIC-CXR's (mean 5.7, a long tail); findings that stay with a patient."""
    sizes = np.clip(np.round(rng.lognormal(1.1, 1.0, patients)), 1, 60).astype(int)
    owner = np.repeat(np.arange(patients), sizes)
    columns = []
    for prevalence in COMMON:
        prone = rng.random(patients) < prevalence / 0.7
        columns.append(prone[owner] & (rng.random(len(owner)) < 0.7))
    for _ in range(RARE_CLASSES):
        # Two images at most of each patient who has it, or one patient could be the whole class.
        shuffled = rng.permutation(len(owner))
        _, first = np.unique(owner[shuffled], return_index=True)
        rest = np.setdiff1d(np.arange(len(owner)), first)
        _, second = np.unique(owner[shuffled][rest], return_index=True)
        candidate = shuffled[np.r_[first, rest[second]]]
        rank = rng.permutation(patients)[owner[candidate]]
        first = candidate[np.argsort(rank, kind="stable")][:RARE_POSITIVES]
        columns.append(np.isin(np.arange(len(owner)), first))
    return Cohort(owner, np.column_stack(columns).astype(np.uint8))


def features(
    rng: np.random.Generator, data: Cohort, quality: float, dimensions: int
) -> Iterator[np.ndarray]:
    """(N, C, d) for each learner; patient and image noise, half of it shared by the learners."""
    patients, (n, classes) = data.patients.max() + 1, data.labels.shape

    def noise() -> np.ndarray:
        of_patient = rng.normal(size=(patients, classes, dimensions))[data.patients]
        return (0.6 * of_patient + 0.8 * rng.normal(size=(n, classes, dimensions))) / np.sqrt(2)

    shared = noise()
    for strength in (quality, 1.0):
        signal = 1.27 / np.sqrt(dimensions) * strength * data.labels[:, :, None]
        yield (signal + shared + noise()).astype(np.float32)


def cross_validated(
    x: np.ndarray, data: Cohort, fold: np.ndarray, n_folds: int
) -> list[list[float | None]]:
    """Class AUCs of each fold, of a difference of means made from the other folds."""
    y = data.labels.astype(np.float32)
    sums = np.stack([np.einsum("nc,ncd->cd", y[fold == k], x[fold == k]) for k in range(n_folds)])
    all_sums = np.stack([x[fold == k].sum(axis=0) for k in range(n_folds)])
    positives = np.stack([y[fold == k].sum(axis=0) for k in range(n_folds)])
    sizes = np.bincount(fold, minlength=n_folds)
    told = []
    for k in range(n_folds):
        p = positives.sum(axis=0) - positives[k]
        pos = sums.sum(axis=0) - sums[k]
        neg = all_sums.sum(axis=0) - all_sums[k] - pos
        direction = pos / p[:, None] - neg / (sizes.sum() - sizes[k] - p)[:, None]
        here = fold == k
        scores = np.einsum("ncd,cd->nc", x[here], direction)
        told.append(class_aurocs(scores, data.labels[here]))
    return told


def procedures(
    seed: int,
    study: int,
    *,
    patients: int,
    dimensions: int,
    quality: float = 1.0,
    luck: float = 0.0,
    runs: int = 10,
    folds: int = 5,
) -> tuple[np.ndarray, np.ndarray]:
    """(runs, folds, C) differences of AUC between the learners, NaN if undefined; fold sizes."""
    rng = np.random.default_rng((seed, study))
    data = cohort(rng, patients)
    pair = list(features(rng, data, quality, dimensions))
    differences, sizes = [], []
    for run in range(runs):
        table = patient_folds(data.labels, data.patients, n_folds=folds, seed=(seed, study, run))
        a, b = (np.array(cross_validated(x, data, table.fold, folds), dtype=float) for x in pair)
        differences.append(a - b + luck * rng.normal(size=(folds, 1)))
        sizes.append(table.images)
    return np.array(differences), np.array(sizes)


def tests_of_procedures(
    differences: np.ndarray, sizes: np.ndarray, seed: int
) -> dict[str, float | None]:
    """p of each test on (runs, folds) differences of one group."""
    runs = np.nanmean(differences, axis=1)
    test = nadeau_bengio(differences, sizes)
    return {
        "**Nadeau-Bengio corrected t, 10 x 5** (default)": test.p_value,
        "naive t over 50 values": float(stats.ttest_1samp(differences.ravel(), 0).pvalue),
        "t over 10 run means": float(stats.ttest_1samp(runs, 0).pvalue),
        "Wilcoxon over 10 run means": float(stats.wilcoxon(runs).pvalue),
        "sign flips over 10 run means": sign_flip_permutation(runs, seed=seed),
        "t over the 5 folds of one run": float(stats.ttest_1samp(differences[0], 0).pvalue),
        "corrected t, one run of 5 folds": nadeau_bengio(differences[:1], sizes[:1]).p_value,
    }


def nadeau_bengio(differences: np.ndarray, sizes: np.ndarray) -> TestResult:
    total = sizes.sum(axis=1, keepdims=True)
    return corrected_resampled_ttest(differences, total - sizes, sizes)


class Fixed(NamedTuple):
    a: np.ndarray
    b: np.ndarray
    data: Cohort
    folds: np.ndarray


def fixed_models(seed: int, study: int, *, patients: int, loss: float = 0.0) -> Fixed:
    """Scores of two given models on new patients; `loss` is taken from the signal of the second."""
    rng = np.random.default_rng((seed, study))
    data = cohort(rng, patients)
    shape = data.labels.shape

    def luck() -> np.ndarray:
        of_patient = rng.normal(size=(patients, shape[1]))[data.patients]
        return (0.7 * of_patient + 0.714 * rng.normal(size=shape)) / np.sqrt(2)

    shared = luck()
    a, b = (
        ((1.1 - cost) * data.labels + shared + luck()).astype(np.float32) for cost in (0.0, loss)
    )
    table = patient_folds(data.labels, data.patients, n_folds=5, seed=(seed, study))
    return Fixed(a, b, data, table.fold)


def bootstrap(study: Fixed, patients: np.ndarray, seed: int) -> PairedBootstrap:
    return paired_cluster_bootstrap(
        study.a,
        study.b,
        study.data.labels,
        patients,
        folds=study.folds,
        groups=GROUPS,
        n_replicates=600,
        seed=seed,
    )


def delong(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> float:
    """p of DeLong, DeLong & Clarke-Pearson (1988) for two correlated AUCs of one class."""
    placed = []
    for scores in (a, b):
        pos, neg = scores[labels == 1], scores[labels == 0]
        won = (pos[:, None] > neg).astype(float) + 0.5 * (pos[:, None] == neg)
        placed.append((won.mean(axis=1), won.mean(axis=0)))
    (pos_a, neg_a), (pos_b, neg_b) = placed
    of_pos, of_neg = pos_a - pos_b, neg_a - neg_b
    variance = of_pos.var(ddof=1) / len(of_pos) + of_neg.var(ddof=1) / len(of_neg)
    return float(2 * stats.norm.sf(abs(of_pos.mean()) / np.sqrt(variance)))


class Tally:
    """Shares of studies, by row and column of a table that is printed as markdown."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))

    def add(self, row: str, column: str, hit: bool) -> None:
        self.counts[row][column].append(hit)

    def add_p(self, row: str, column: str, p_value: float | None) -> None:
        """A p that is undefined rejects nothing."""
        self.add(row, column, p_value is not None and p_value < ALPHA)

    def show(self, title: str) -> None:
        columns = list(dict.fromkeys(c for row in self.counts.values() for c in row))
        print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
        for row, cells in self.counts.items():
            told = [f"{np.mean(cells[c]):.3f}" if c in cells else "-" for c in columns]
            print(f"| {row} | {' | '.join(told)} |")


def study_procedures(
    studies: int, patients: int, dimensions: int, luck: float = 0.0
) -> dict[str, float]:
    """Prints type I error and why; returns the root mean square sd of the differences by group."""
    tally = Tally()
    found: dict[str, list[TestResult]] = defaultdict(list)
    of_runs: dict[str, list[float]] = defaultdict(list)
    for study in range(studies):
        by_class, sizes = procedures(1, study, patients=patients, dimensions=dimensions, luck=luck)
        for name in ("total", "rare", "one common class"):
            differences = np.nanmean(by_class[:, :, GROUPS[name]], axis=2)
            found[name].append(nadeau_bengio(differences, sizes))
            of_runs[name].append(float(differences.mean(axis=1).var(ddof=1)))
            for test, p_value in tests_of_procedures(differences, sizes, study).items():
                tally.add_p(test, name, p_value)
    tally.show(
        f"Type I error at .05: procedures in {dimensions} dimensions, luck {luck}, "
        f"{patients} patients, {studies} studies"
    )
    print("\n| What the corrected t assumes | ratio | true | df | true | var of run means / s² |")
    print("|---|---:|---:|---:|---:|---:|")
    spread = {}
    for name, results in found.items():
        means = np.array([test.mean for test in results])
        variances = np.square([test.sd for test in results])
        ratio = means.var() / variances.mean() - 1 / 50
        # A chi-squared variance of df degrees of freedom has a relative variance of 2 / df.
        df = 2 * variances.mean() ** 2 / variances.var()
        share = np.mean(of_runs[name]) / variances.mean()
        print(f"| {name} | 0.25 | {ratio:.3f} | 49 | {df:.0f} | {share:.3f} |")
        spread[name] = float(np.sqrt(variances.mean()))
    return spread


def study_power_of_procedures(studies: int, patients: int, quality: float) -> None:
    """What the corrected test sees of a real difference, what its interval covers, and the plan."""
    found: dict[str, list[TestResult]] = defaultdict(list)
    for study in range(studies):
        by_class, sizes = procedures(
            2, study, patients=patients, dimensions=UNSTABLE, quality=quality
        )
        for name in ("total", "rare"):
            differences = np.nanmean(by_class[:, :, GROUPS[name]], axis=2)
            found[name].append(nadeau_bengio(differences, sizes))
    print(f"\n| Corrected t, {patients} patients | difference | sd | power | predicted | cover |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, results in found.items():
        truth = np.mean([r.mean for r in results])
        sd = float(np.sqrt(np.mean([r.sd**2 for r in results])))
        seen = np.mean([r.p_value < ALPHA for r in results])
        covered = np.mean([r.ci[0] <= truth <= r.ci[1] for r in results])
        planned = power(truth, sd, runs=10, folds=5, ratio=0.25, alpha=ALPHA)
        print(f"| {name} | {truth:+.4f} | {sd:.4f} | {seen:.3f} | {planned:.3f} | {covered:.3f} |")


def study_fixed_models(studies: int, patients: int, loss: float) -> dict[str, float]:
    """Prints errors and coverage of the bootstraps and DeLong; returns mean standard errors."""
    rejected, covered = Tally(), Tally()
    errors: dict[str, list[float]] = defaultdict(list)
    seen: list[tuple[str, PairedBootstrap]] = []
    for number in range(studies):
        study = fixed_models(3, number, patients=patients, loss=loss)
        images = np.arange(len(study.folds))
        for row, unit in (
            ("**paired patient-cluster bootstrap** (default)", study.data.patients),
            ("image-level bootstrap", images),
        ):
            seen.append((row, bootstrap(study, unit, number)))
        for name in ("one rare class", "one common class"):
            (c,) = GROUPS[name]
            p_value = delong(study.a[:, c], study.b[:, c], study.data.labels[:, c])
            rejected.add_p("DeLong, images as if independent", name, p_value)
    truth = {
        name: float(np.mean([told.groups[name].value for _, told in seen])) if loss else 0.0
        for name in GROUPS
    }
    for row, told in seen:
        for name, estimate in told.groups.items():
            rejected.add_p(row, name, estimate.p_value)
            if estimate.se is not None and row.startswith("**"):
                errors[name].append(estimate.se)
            for kind, interval in (("percentile", estimate.percentile), ("BCa", estimate.bca)):
                inside = interval is not None and interval[0] <= truth[name] <= interval[1]
                covered.add(f"{row}: {kind}", name, inside)
    if loss == 0:
        one_model_coverage(covered, [told for row, told in seen if row.startswith("**")])
    what = "Type I error" if loss == 0 else "Power"
    differences = ", ".join(f"{name} {value:+.3f}" for name, value in truth.items())
    rejected.show(f"{what} at .05: fixed models, {patients} patients, {studies} studies")
    covered.show(f"Coverage of the 95 % interval (differences {differences})")
    return {name: float(np.sqrt(np.mean(np.square(se)))) for name, se in errors.items()}


def study_stacked_runs(studies: int, patients: int, runs: int = 4) -> None:
    """Why the table draws one run: several partitions of the same scores, stacked, beside one."""
    rejected, covered = Tally(), Tally()
    for number in range(studies):
        study = fixed_models(4, number, patients=patients)
        y, owner = study.data.labels, study.data.patients
        partitions = [
            patient_folds(y, owner, n_folds=5, seed=(4, number, run)).fold for run in range(runs)
        ]
        stacked = Fixed(
            np.concatenate([study.a] * runs),
            np.concatenate([study.b] * runs),
            Cohort(np.concatenate([owner] * runs), np.concatenate([y] * runs)),
            np.concatenate([fold + 5 * run for run, fold in enumerate(partitions)]),
        )
        for row, world in (("one run (default)", study), (f"{runs} runs stacked", stacked)):
            told = bootstrap(world, world.data.patients, number)
            for name, estimate in told.groups.items():
                rejected.add_p(row, name, estimate.p_value)
                low, high = estimate.percentile or (1.0, -1.0)
                covered.add(row, name, low <= 0 <= high)
    rejected.show(f"Type I error at .05: patient bootstrap, {patients} patients, {studies} studies")
    covered.show("Coverage of its 95 % percentile interval")


def one_model_coverage(covered: Tally, seen: list[PairedBootstrap]) -> None:
    """Adds how often the interval of a single AUC holds the mean AUC of all studies."""
    for name in GROUPS:
        truth = np.mean([told.a[name].value for told in seen])
        for told in seen:
            estimate = told.a[name]
            for kind, interval in (("percentile", estimate.percentile), ("BCa", estimate.bca)):
                inside = interval is not None and interval[0] <= truth <= interval[1]
                covered.add(f"patient-cluster bootstrap, AUC of one model: {kind}", name, inside)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--patients", type=int, default=300)
    arguments = parser.parse_args()
    studies, patients = arguments.studies, arguments.patients
    started = time.perf_counter()
    study_procedures(studies, patients, STABLE)
    sd = study_procedures(studies, patients, UNSTABLE)
    study_procedures(studies // 4, patients, UNSTABLE, luck=LUCK)
    study_power_of_procedures(studies // 2, patients, quality=1.35)
    se = study_fixed_models(studies, patients, loss=0.0)
    study_fixed_models(studies // 2, patients, loss=0.3)
    study_stacked_runs(studies // 4, patients)
    print("\n| To see 2 points of AUC (alpha .05, power .8) | total | rare |\n|---|---:|---:|")
    names = ("total", "rare")
    needed = [runs_needed(0.02, sd[n], folds=5, ratio=0.25, alpha=ALPHA) for n in names]
    print(f"| runs of 5 folds on {patients} patients | {needed[0]} | {needed[1]} |")
    reached = [power(0.02, sd[n], runs=10, folds=5, ratio=0.25, alpha=ALPHA) for n in names]
    print(f"| power of 10 runs | {reached[0]:.2f} | {reached[1]:.2f} |")
    # The corrected test's own standard error, for the patients that ten runs would need.
    of_ten = {n: sd[n] * np.sqrt(1 / 50 + 0.25) for n in names}
    enough = [patients_needed(0.02, of_ten[n], patients, alpha=ALPHA) for n in names]
    print(f"| patients, 10 runs of 5 folds | {enough[0]} | {enough[1]} |")
    enough = [patients_needed(0.02, se[n], patients, alpha=ALPHA) for n in names]
    print(f"| patients, fixed models | {enough[0]} | {enough[1]} |")
    effect = required_effect(1e-5, 10, 5, 0.25)
    print(f"\np < 1e-5 over 10 x 5 takes a difference of {effect:.2f} sd: ", end="")
    print(", ".join(f"{name} {effect * sd[name]:.3f}" for name in names))
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
