"""The metric loss of the authors' public code (chinnarouge/CXR-CML@2822959, February 2025).

It is not the loss of the paper's text: every batch is clustered by itself, by a variational
Gaussian mixture; assignments become soft labels weighted against large clusters; and one hinge
compares the mean distances between images and texts of positive and of negative pairs.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture
from torch import Tensor

_THRESHOLD = 0.5
_BASE_MARGIN = 0.3


class SoftPairResult(NamedTuple):
    """A batch's soft-pair loss and what explains it, all 0-d tensors."""

    loss: Tensor
    is_active: Tensor
    """1 where the hinge is positive, else 0."""
    n_positive: Tensor
    """Pairs that count as positive, an image with its own text among them."""


def batch_components(n: int) -> int:
    """How many components a batch of `n` images is given.

    >>> [batch_components(n) for n in (8, 16, 32, 64, 400)]
    [2, 5, 5, 16, 75]
    """
    if n < 10:
        return min(2, n)
    return min(5, n // 3) if n < 50 else min(75, n // 4)


def soft_labels(features: np.ndarray, seed: int) -> np.ndarray:
    """(B, K) rows summing to 1: sharpened responsibilities, weighted against large clusters.

    softmax(tau / beta') with beta' = 0.05 (1 + ln(B) / 100), times 1 / log(1 + mass) of each
    component, its mass being the sum of its column.

    Args:
        features: (B, d) unit image embeddings.
        seed: of the mixture's three starts.
    """
    n = len(features)
    mixture = BayesianGaussianMixture(
        n_components=batch_components(n),
        covariance_type="diag",
        init_params="kmeans",
        n_init=3,
        reg_covar=1e-3,
        max_iter=300,
        weight_concentration_prior=1.0 / batch_components(n),
        mean_precision_prior=0.8,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # Equal images make k-means find fewer clusters than it was asked for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        tau = mixture.fit(features).predict_proba(features)
    sharp = np.exp((tau - tau.max(1, keepdims=True)) / (0.05 * (1 + math.log(n) / 100)))
    sharp /= sharp.sum(1, keepdims=True)
    balance = 1.0 / np.log1p(sharp.sum(0))
    labels = sharp * (balance / balance.sum())
    return labels / labels.sum(1, keepdims=True)


def positive_pairs(labels: np.ndarray) -> np.ndarray:
    """(B, B) bool from soft labels (B, K): rows of S S^T made to sum to 1 and cut at 0.5, twice.

    A row of two or more similar images has no entry above 0.5, so that it ends without a positive;
    an image alone in its cluster ends with itself.
    """
    pairs = labels @ labels.T
    for _ in range(2):
        total = pairs.sum(1, keepdims=True)
        pairs = np.divide(pairs, total, out=np.zeros_like(pairs), where=total > 0)
        pairs = pairs * (pairs > _THRESHOLD)
    return pairs > 0


def soft_pair_loss(
    images: Tensor, texts: Tensor, positive: Tensor, temperature: Tensor
) -> SoftPairResult:
    """max(0, mean(D+) - mean(D-) + m) with m = 0.3 (1 + exp(-mean(D+))).

    D is the Euclidean distance of every image to every text times the temperature; D+ and D- are D
    with everything but positive and negative pairs set to 0, and both means run over all B^2
    entries, zeros included.

    Args:
        images, texts: (B, d) unit embeddings with gradient; rows belong together.
        positive: (B, B) bool, image by text.
        temperature: what the model multiplies its cosines by.
    """
    squared = (2 - 2 * images @ texts.mT).clamp_min(1e-12)
    distance = temperature * squared.sqrt()
    near = torch.where(positive, distance, 0.0).mean()
    far = torch.where(positive, 0.0, distance).mean()
    margin = _BASE_MARGIN * (1 + torch.exp(-near))
    gap = near - far + margin
    return SoftPairResult(gap.clamp_min(0), (gap.detach() > 0).to(gap.dtype), positive.sum())
