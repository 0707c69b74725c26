"""What makes a step with full scale matrices fast: components a row need not be compared to."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

CACHED = 1 << 19
"""Floats of whitened coordinates kept at a time on a CPU: 2 MB, a core's second-level cache."""
RESIDENT = 1 << 25
"""The same on a GPU: 128 MB, enough to keep it busy and small beside its memory."""
TURNED = 64
"""Dimensions up to which turning K scale matrices to their discriminants pays in every step."""

Groups = list[tuple[int, Tensor]]
"""A component's number and the rows (r,) it may matter to."""


def applies(device: torch.device) -> bool:
    """Whether components that cannot matter to a row are left out: where asking is cheap."""
    return device.type == "cpu"


def head_size(d: int) -> int:
    """How many whitened coordinates the bound uses; all when there are few.

    A longer head costs every component, a shorter one leaves more of them to complete. What took
    least time on 40 long-tailed t clusters: 24 discriminants of 64, and without discriminants 48
    of 128 and 128 of 512, i.e. 2 d^(2/3).
    """
    return min(d, 24) if d <= TURNED else round(2 * d ** (2 / 3))


def rows_at_a_time(width: int, device: torch.device) -> int:
    """How many rows of `width` floats are worked on at a time."""
    return max(64, (CACHED if device.type == "cpu" else RESIDENT) // width)


def discriminants(pi: Tensor, mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """(d, d) axes A on which the locations lie apart, widest first, and -log |det A|.

    A makes the pooled scale matrix the identity and the scatter of the locations diagonal (Fisher's
    discriminants): a few coordinates of A z then tell most components from each other.
    """
    whiten, half_log_det, _ = inverse_factor((pi[:, None, None] * sigma).sum(0))
    apart = (mu - mu.mean(0)) @ whiten.mT
    return torch.linalg.eigh(apart.mT @ apart)[1].flip(1).mT @ whiten, half_log_det


def by_component(pairs: Tensor) -> Groups:
    """The rows (r,) of every component that has any, from a (K, c) mask on the CPU."""
    k, c = pairs.shape
    # NumPy finds the places four times as fast as torch does.
    flat = np.flatnonzero(pairs.numpy())
    edges = np.searchsorted(flat, np.arange(k + 1) * c)
    parts = (flat[start:stop] for start, stop in itertools.pairwise(edges))
    return [(j, torch.from_numpy(part - j * c)) for j, part in enumerate(parts) if len(part)]


def inverse_factor(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L^-1, half the log determinant, whether any (.., d, d) matrix is not positive definite."""
    factor, info = torch.linalg.cholesky_ex(sigma)
    identity = torch.eye(sigma.shape[-1], dtype=sigma.dtype, device=sigma.device)
    inverse = torch.linalg.solve_triangular(factor, identity.expand_as(sigma), upper=False)
    half_log_det = torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)
    return inverse, half_log_det, (info > 0).any()
