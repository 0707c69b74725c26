"""A model's scores of some images, and what stands beside them in a trial's arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bench.data import Dataset
from bench.errors import MethodError
from bench.protocol.batches import Split
from bench.protocol.method import Method
from bench.protocol.prompts import prompts_for


@torch.no_grad()
def score(method: Method, part: Split, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """(N, C) float32 scores of each prompt policy.

    Raises:
        MethodError: a shape or value that cannot be ranked.
    """
    method.model.eval()
    scores: dict[str, np.ndarray] = {}
    for policy in method.policies:
        prompts = prompts_for(policy, classes)
        parts = [method.score(images, prompts).float().cpu().numpy() for images in part.images()]
        values = np.concatenate(parts)
        if values.shape != (len(part), len(classes)):
            raise MethodError(
                f"score() gave {values.shape} for {len(part)} images and {len(classes)} classes."
            )
        if not np.isfinite(values).all():
            raise MethodError(f"score() gave values that are not finite under policy '{policy}'.")
        scores[policy] = values
    return scores


def arrays_beside(
    dataset: Dataset, rows: np.ndarray, labels: np.ndarray, mask: np.ndarray
) -> dict[str, np.ndarray]:
    """What of the scored images stands beside their scores; patients and sources as codes."""
    _, patients = np.unique(dataset.patients, return_inverse=True)
    _, sources = np.unique(dataset.sources, return_inverse=True)
    return {
        "labels": labels,
        "mask": mask,
        "rows": rows.astype(np.int32),
        "patients": patients[rows].astype(np.int32),
        "sources": sources[rows].astype(np.int16),
    }
