"""The order of an epoch in which batches hold several images of a cluster (P x K batches)."""

from __future__ import annotations

import numpy as np


def cluster_order(labels: np.ndarray, per_cluster: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) every row once, in random order but for runs of `per_cluster` rows of one cluster.

    A batch of P * K consecutive rows then holds about P clusters with K rows each, so that most
    anchors have a positive. A cluster's last run is shorter; a row with a negative label is a run
    by itself. No row is repeated or left out: the contrastive loss sees what it always sees.

    Args:
        labels: (N,) integers.
        per_cluster: K.

    Raises:
        ValueError: `per_cluster` is under 1.

    Example:
        >>> labels = np.array([0, 1, 0, 1])
        >>> order = cluster_order(labels, 2, np.random.default_rng(0))
        >>> labels[order].tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
        True
    """
    if per_cluster < 1:
        raise ValueError(f"per_cluster must be at least 1, not {per_cluster}.")
    runs: list[np.ndarray] = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        size = per_cluster if label >= 0 else 1
        runs += [rows[start : start + size] for start in range(0, len(rows), size)]
    if not runs:
        return np.empty(0, dtype=np.int64)
    return np.concatenate([runs[i] for i in rng.permutation(len(runs))])
