"""What is measured of a trial and told of its data: plain values for the record."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.classes import BASE, RARE
from bench.data import Dataset
from bench.protocol.method import Card
from bench.protocol.references import name_of
from bench.runs.trial import TrialSpec
from bench.stats.metrics import auroc, average_precision, macro, stratified_auroc


def measure(
    scores: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray,
    sources: np.ndarray,
    classes: tuple[str, ...],
) -> dict[str, Any]:
    """Per-class AUC within sources, pooled AUC and AP, with counts; and the group means."""
    rows: list[dict[str, Any]] = []
    for c, name in enumerate(classes):
        s, y, m = scores[:, c], labels[:, c], mask[:, c]
        rows.append(
            {
                "class": name,
                "n_pos": int((m & (y == 1)).sum()),
                "n_neg": int((m & (y == 0)).sum()),
                "auroc": stratified_auroc(s, y, sources, m),
                "auroc_pooled": auroc(s, y, m),
                "ap": average_precision(s, y, m),
            }
        )
    told: dict[str, Any] = {"classes": rows}
    for group, names in (("total", classes), ("base", BASE), ("rare", RARE)):
        mean = macro([row["auroc"] for row in rows if row["class"] in names])
        told[group] = {"auroc": mean.value, "defined": mean.defined, "classes": mean.total}
    return told


def told_of(dataset: Dataset) -> dict[str, Any]:
    """What a record says of its data set."""
    return {
        "name": dataset.name,
        "synthetic": dataset.synthetic,
        "images": len(dataset),
        "patients": len(np.unique(dataset.patients)),
        "sources": sorted(set(dataset.sources.tolist())),
        "left_out": _left_out(dataset),
        "positive_patients": _positive_patients(dataset),
    }


def _positive_patients(dataset: Dataset) -> dict[str, int]:
    """How many patients of the whole data set are positive for each class."""
    positive = (dataset.labels == 1) & dataset.mask
    return {
        name: len(np.unique(dataset.patients[positive[:, c]]))
        for c, name in enumerate(dataset.classes)
    }


def _left_out(dataset: Dataset) -> dict[str, Any]:
    """How many images were left out for which reason, and by name those that could not be read."""
    reasons: dict[str, int] = {}
    for reason in dataset.left_out.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    return {"reasons": reasons, "unreadable": list(dataset.unreadable)}


def told_of_weights(spec: TrialSpec, card: Card) -> dict[str, Any]:
    """Of the weights that were given: name, SHA-256, whether the card knows it, and what they saw.

    `seen` are the data sets of their pre-training, None where nobody can say. Released weights that
    the card does not know by checksum are taken for what it describes (`seen_by` is "card"): a mark
    too many costs less than one too few.
    """
    known = {weights.sha256: weights.name for weights in card.weights if weights.sha256}
    files = [
        {"name": name_of(reference), "sha256": digest, "on_card": known.get(digest)}
        for reference, digest in zip(spec.weights_references, spec.weights, strict=True)
    ]
    by = "checksum" if all(file["on_card"] for file in files) else "card"
    if card.seen is None or (by == "card" and (spec.track == "trained" or not card.weights)):
        return {"files": files, "seen": None, "seen_by": None}
    return {"files": files, "seen": list(card.seen), "seen_by": by}
