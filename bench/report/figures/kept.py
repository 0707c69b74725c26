"""Embeddings of test images that `bench run --keep embeddings` left beside the records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import ResultsError
from bench.report.class_table import rarest_first
from bench.report.results import RowResults
from bench.runs.record import EMBEDDINGS, read_scores, sha256_of

WHEN = ("before", "after")
MOST, OF_EACH_RARE = 4000, 100
"""Images drawn at most, and images of each rare class that are among them before any other."""


@dataclass(frozen=True)
class Embedded:
    """The test images of one trial with their embeddings before and after training."""

    run: int
    fold: int
    vectors: dict[str, np.ndarray]
    """By `WHEN` (N, d) float32 of unit length."""
    labels: np.ndarray
    """(N, C) 0 or 1, read only where `mask` is set."""
    mask: np.ndarray
    patients: np.ndarray
    """(N,) codes."""


def kept_embeddings(row: RowResults) -> list[Embedded]:
    """Of each trial that kept them, in the order of runs and folds.

    Raises:
        ResultsError: a file is not what the trial kept, is of other images than its scores, or
            holds nothing that can be drawn.
    """
    folders = (
        (trial, folder)
        for trial, folder in sorted(row.folders.items())
        if (folder / EMBEDDINGS).is_file() and (folder / row.scores_file).is_file()
    )
    return [_read(folder, run, fold) for (run, fold), folder in folders]


def shown_class(embedded: Embedded, classes: Sequence[str]) -> np.ndarray:
    """(N,) of each image its rarest class by training count; -1 where it has none.

    An image has several classes and one colour: the rarest is the one the picture is about.
    """
    rank = np.empty(len(classes), dtype=np.int64)
    rank[rarest_first(classes)] = np.arange(len(classes))
    positive = embedded.labels.astype(bool) & embedded.mask
    rarest = np.where(positive, rank, len(classes)).argmin(axis=1)
    return np.where(positive.any(axis=1), rarest, -1)


def drawn_images(shown: np.ndarray, rare: Sequence[int], seed: int = 0) -> np.ndarray:
    """Places of at most `MOST` images, ascending: all, or first up to `OF_EACH_RARE` of each rare
    class, then any others at random."""
    if len(shown) <= MOST:
        return np.arange(len(shown))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(shown))
    first = [order[shown[order] == c][:OF_EACH_RARE] for c in rare]
    chosen = np.concatenate([*first, np.array([], dtype=np.int64)])[:MOST]
    others = order[~np.isin(order, chosen)][: MOST - len(chosen)]
    return np.sort(np.concatenate([chosen, others]))


def _read(folder: Path, run: int, fold: int) -> Embedded:
    path = folder / EMBEDDINGS
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    expected = record.get("kept", {}).get("embeddings", {}).get(EMBEDDINGS)
    again = f"Delete {folder} and run the same command again with --keep embeddings."
    if sha256_of(path) != expected:
        raise ResultsError(f"{path} is not what the trial kept. {again}")
    with np.load(path, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in (*WHEN, "rows")}
    scored = read_scores(folder)
    if not np.array_equal(found["rows"], scored["rows"]):
        raise ResultsError(f"{path} is of other images than the scores beside it. {again}")
    vectors = {}
    for when in WHEN:
        values = found[when].astype(np.float32)
        if not np.isfinite(values).all() or not np.ptp(values, axis=0).any():
            raise ResultsError(
                f"{path}: the embeddings {when} training are not finite or all the same, so "
                "there is nothing to draw. Look at embed() of the method."
            )
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        vectors[when] = values / np.maximum(lengths, np.finfo(np.float32).tiny)
    return Embedded(
        run, fold, vectors, scored["labels"], scored["mask"].astype(bool), scored["patients"]
    )
