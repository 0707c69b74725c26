"""Speed and evenness of the statistics, side by side with scikit-learn in one run.

python -m tests.perf.statistics
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from bench.protocol.folds import patient_folds
from bench.stats.bootstrap import cluster_bootstrap, paired_cluster_bootstrap
from bench.stats.metrics import class_aurocs
from tests.conftest import SHARED

IMAGES, PATIENTS, CLASSES, FOLDS = 47_000, 13_000, 40, 5


def timed(task: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = task()
    return time.perf_counter() - started, result


def side_by_side(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> np.ndarray:
    """(rounds, 2) seconds, taken in turn so that a busy machine slows both; after a warm-up."""
    ours()
    theirs()
    return np.array([[timed(ours)[0], timed(theirs)[0]] for _ in range(rounds)])


def drawn(
    seed: int, highest: float = 0.3, lowest: float = 0.001
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with ties, labels from 30 % to 0.1 % if not told otherwise, patients."""
    rng = np.random.default_rng(seed)
    prevalence = np.geomspace(highest, lowest, CLASSES)
    labels = (rng.random((IMAGES, CLASSES)) < prevalence).astype(np.uint8)
    scores = np.round(rng.normal(size=labels.shape) + labels, 3).astype(np.float32)
    return scores, labels, rng.integers(0, PATIENTS, IMAGES)


def aucs() -> None:
    tailed, halves = drawn(0)[:2], drawn(0, 0.5, 0.5)[:2]
    smooth = tailed[0] + np.random.default_rng(1).normal(scale=0.01, size=tailed[0].shape)
    for told, scores, labels in (
        ("a long tail, ties", *tailed),
        ("the same, few ties", smooth.astype(np.float32), tailed[1]),
        ("the same, float64", smooth, tailed[1]),
        ("half the images positive", *halves),
    ):
        against = {
            "scikit-learn": lambda s=scores, y=labels: roc_auc_score(y, s, average=None),
            "a call a class": lambda s=scores, y=labels: np.array(
                [roc_auc_score(y[:, c], s[:, c]) for c in range(CLASSES)]
            ),
        }
        print(f"class AUC, {IMAGES} x {CLASSES}, {told}:")
        for name, theirs in against.items():
            seconds = side_by_side(lambda s=scores, y=labels: class_aurocs(s, y), theirs, rounds=15)
            ratio = np.median(seconds[:, 1] / seconds[:, 0])
            distance = np.abs(np.array(class_aurocs(scores, labels), float) - theirs()).max()
            own, other = np.median(seconds, axis=0) * 1e3
            print(f"    {own:.1f} ms, {name} {other:.0f} ms, {ratio:.1f} times as fast, ", end="")
            print(f"largest difference {distance:.0e}")


def bootstraps() -> None:
    scores, labels, patients = drawn(0)
    other = (scores + np.random.default_rng(1).normal(size=scores.shape)).astype(np.float32)
    rows_of = np.split(np.argsort(patients, kind="stable"), np.cumsum(np.bincount(patients))[:-1])
    rng = np.random.default_rng(0)

    def reindexed() -> float:
        drawn = rng.integers(0, len(rows_of), len(rows_of))
        rows = np.concatenate([rows_of[patient] for patient in drawn])
        return float(roc_auc_score(labels[rows], scores[rows], average="macro"))

    folds = patients % FOLDS
    for told, task, models in (
        ("one model", lambda: cluster_bootstrap(scores, labels, patients, seed=0), 1),
        (
            "a pair, within 5 folds",
            lambda: paired_cluster_bootstrap(scores, other, labels, patients, folds=folds, seed=0),
            2,
        ),
    ):
        seconds = side_by_side(task, reindexed, rounds=5)
        ratio = np.median(1000 * models * seconds[:, 1] / seconds[:, 0])
        own, theirs = np.median(seconds, axis=0)
        print(f"patient bootstrap of macro AUC, {told}, 1000 replicates with BCa: {own:.2f} s, ")
        print(
            f"    re-indexing with scikit-learn {theirs * models:.2f} s a replicate, {ratio:.0f} x"
        )


def mimic_like(patients: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and patients with the cluster sizes and the long tail of MIMIC-CXR."""
    rng = np.random.default_rng(0)
    sizes = np.clip(np.round(rng.lognormal(1.1, 1.0, patients)), 1, 174).astype(int)
    owner = np.repeat(np.arange(patients), sizes)
    prevalence = np.r_[np.geomspace(0.33, 0.02, 28), np.geomspace(0.005, 0.0002, 12)]
    labels = np.empty((len(owner), CLASSES), dtype=np.uint8)
    for c, share in enumerate(prevalence):
        prone = rng.random(patients) < min(1.0, share / 0.6)
        labels[:, c] = prone[owner] & (rng.random(len(owner)) < 0.6)
    return labels, owner


def unevenness(labels: np.ndarray, patients: np.ndarray, fold: np.ndarray) -> dict[str, float]:
    """How far positive patients of a fold are from their share, and fold sizes from each other."""
    has = pd.DataFrame(labels).groupby(patients).max()
    of_patient = pd.Series(fold).groupby(patients).first().loc[has.index].to_numpy()
    n_folds = fold.max() + 1
    counts = np.stack([has[of_patient == k].sum().to_numpy() for k in range(n_folds)])
    share = counts.sum(axis=0) / n_folds
    off = np.maximum(counts - np.ceil(share), np.floor(share) - counts).clip(0).max(axis=0)
    few = counts.sum(axis=0) < 50
    sizes, people = np.bincount(fold), np.bincount(of_patient)
    return {
        "patients off the best possible, classes < 50": off[few].max(initial=0),
        "patients off the best possible, others": off[~few].max(initial=0),
        "the same in % of the share": (100 * off[~few] / share[~few]).max(initial=0),
        "classes missing in some fold": (counts == 0).any(axis=0).sum(),
        "images, largest / smallest fold": sizes.max() / sizes.min(),
        "patients, largest / smallest fold": people.max() / people.min(),
    }


def partitions() -> None:
    labels, patients = mimic_like(65_000)
    patient_folds(labels[:100], np.arange(100), n_folds=2, seed=0)  # compiles
    seconds, table = timed(lambda: patient_folds(labels, patients, n_folds=FOLDS, seed=0))
    share, _ = timed(lambda: table.train_valid_test(0))
    print(f"\nfolds of 65000 patients, {len(labels)} images x {CLASSES}: {seconds:.2f} s; ", end="")
    print(f"validation of a fold {share:.2f} s")
    for name, value in unevenness(labels, patients, table.fold).items():
        print(f"    {name}: {value:.3g}")
    path = SHARED / "data" / "openreal" / "labels_only" / "nih_cxr14_labels.csv.gz"
    if path.is_file():
        frame = pd.read_csv(path)
        against_scikit_learn(
            frame.loc[:, "Atelectasis":].to_numpy(),
            frame["patient_id"].to_numpy(),
        )


def against_scikit_learn(labels: np.ndarray, patients: np.ndarray) -> None:
    """The real NIH labels: ours, StratifiedGroupKFold on the rarest label, GroupKFold."""
    rarest = labels[:, np.argmin(labels.sum(axis=0))]
    splitters = {
        "StratifiedGroupKFold, rarest label": StratifiedGroupKFold(
            FOLDS, shuffle=True, random_state=0
        ),
        "GroupKFold": GroupKFold(FOLDS, shuffle=True, random_state=0),
    }
    seconds, table = timed(lambda: patient_folds(labels, patients, n_folds=FOLDS, seed=0))
    rows = [("patient_folds", seconds, unevenness(labels, patients, table.fold))]
    for name, splitter in splitters.items():
        fold = np.empty(len(labels), dtype=int)
        started = time.perf_counter()
        for k, (_, test) in enumerate(splitter.split(labels, rarest, patients)):
            fold[test] = k
        rows.append((name, time.perf_counter() - started, unevenness(labels, patients, fold)))
    print(f"\nNIH ChestX-ray14, {len(labels)} images, {len(np.unique(patients))} patients, 5 folds")
    for name, seconds, told in rows:
        print(f"  {name}: {seconds:.2f} s")
        for what, value in told.items():
            print(f"    {what}: {value:.3g}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    aucs()
    bootstraps()
    partitions()
