"""MedCLIP's losses and zero-shot scores, as functions of logits and labels.

Read in RyanWangZf/MedCLIP@9c3396f2 (losses.py, modeling_medclip.py); checked against arrays that
it computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def matching_loss(logits: Tensor, image_labels: Tensor, text_labels: Tensor) -> Tensor:
    """Semantic matching: soft targets from what the labels of images and texts share.

    Args:
        logits: (B, B) scaled cosines, images x texts.
        image_labels, text_labels: (B, C); their raw dot products are the similarity. (The paper
            writes cosine; the code takes the product.)
    """
    return soft_loss(logits, image_labels @ text_labels.T)


def soft_loss(logits: Tensor, similarity: Tensor) -> Tensor:
    """Cross-entropy of (n, m) logits with a softmax of the similarity, over texts and over images.

    The temperature of the targets is 1, so they are flat: a similarity of 1 against 0 gives a match
    e times the mass of another text.
    """
    return (_rows(logits, similarity) + _rows(logits.T, similarity.T)) / 2


def _rows(logits: Tensor, similarity: Tensor) -> Tensor:
    return -(similarity.softmax(1) * logits.log_softmax(1)).sum() / len(logits)


def pair_loss(logits: Tensor) -> Tensor:
    """CLIP's loss, which upstream falls back to where there are no labels."""
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def prompt_scores(logits: Tensor, counts: Sequence[int], how: Literal["mean", "max"]) -> Tensor:
    """(N, C) scores of (N, n) logits, of which each class has `counts` neighbouring columns."""
    parts = logits.split(list(counts), dim=1)
    return torch.stack([part.mean(1) if how == "mean" else part.amax(1) for part in parts], 1)
