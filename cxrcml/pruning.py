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
"""Dimensions up to which, with `FEW` rows, all matrices are turned to common discriminants."""
FEW = 16_384
"""Rows up to which that is done: a fifth slower than directions of every component's own, but
published results rest on fits of this size, and rounding differently would change them."""

AT_ONCE = 4096
"""Rows of a component in one product at most."""
BLOCK = 128
"""Columns that forward substitution takes at a time."""

Groups = list[tuple[int, Tensor]]
"""A component's number and the rows (r,) it may matter to."""


def applies(device: torch.device) -> bool:
    """Whether components that cannot matter to a row are left out: where asking is cheap."""
    return device.type == "cpu"


def turns(n: int, d: int) -> bool:
    """Whether components are compared along common discriminants, not along their own."""
    return n <= FEW and d <= TURNED


def head_size(k: int, d: int, *, turns: bool) -> int:
    """In how many coordinates every component is compared to a row; d when there are few.

    More cost every component, fewer leave more of them to complete. What took least time on 40
    long-tailed t clusters, of 64 and of 512 dimensions: 24 common ones, or 8 of each component's.
    """
    if d <= 24:
        return d
    return 24 if turns else min(k, 8)


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


def sketch(factor: Tensor, mu: Tensor, own: Tensor, b: int) -> Tensor:
    """(p, b, d) Q' L^-1 for p components of Cholesky factors (p, d, d) and locations `own` (p, d).

    The b orthonormal columns of Q span the directions in which most of all locations `mu` (K, d) is
    seen from the component, in its own metric: what lies off its few rows' span is far away there,
    however near it is in a pooled one.
    """
    apart = torch.linalg.solve_triangular(factor, (mu - own[:, None]).mT, upper=False)
    widest = torch.linalg.eigh(apart.mT @ apart)[1][..., -b:]
    directions = torch.linalg.qr(apart @ widest)[0]
    return torch.linalg.solve_triangular(factor.mT, directions, upper=True).mT


def solvable(factor: Tensor) -> Tensor:
    """`factor` (.., d, d), lower triangular, with the blocks on its diagonal inverted in place."""
    for start in range(0, factor.shape[-1], BLOCK):
        block = factor[..., start : start + BLOCK, start : start + BLOCK]
        block.copy_(inverse_triangle(block))
    return factor


def solved(z: Tensor, factor: Tensor) -> Tensor:
    """(r, d) y with L y = z for every row, in the place of `z`, from a `solvable` L (d, d).

    Forward substitution by blocks: half the operations of a product with L^-1, as fast a kind.
    """
    for start in range(0, z.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        part = z[:, block]
        if start:
            part.addmm_(z[:, :start], factor[block, :start].mT, alpha=-1)
        part.copy_(part @ factor[block, block].mT)
    return z


def by_component(pairs: Tensor) -> Groups:
    """The rows (r,) of every component that has any, from a (K, c) mask on the CPU.

    A component with more than `AT_ONCE` comes in parts: larger products are not faster.
    """
    k, c = pairs.shape
    # NumPy finds the places four times as fast as torch does.
    flat = np.flatnonzero(pairs.numpy())
    edges = np.searchsorted(flat, np.arange(k + 1) * c)
    groups: Groups = []
    for j, (start, stop) in enumerate(itertools.pairwise(edges)):
        if start < stop:
            flat[start:stop] -= j * c
            groups += [(j, rows) for rows in torch.from_numpy(flat[start:stop]).split(AT_ONCE)]
    return groups


def cholesky(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L, half the log determinant, whether any (.., d, d) matrix is not positive definite."""
    factor, info = torch.linalg.cholesky_ex(sigma)
    half_log_det = torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)
    return factor, half_log_det, (info > 0).any()


def inverse_factor(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same with L^-1 in the place of L."""
    factor, half_log_det, failed = cholesky(sigma)
    return inverse_triangle(factor), half_log_det, failed


def inverse_triangle(factor: Tensor) -> Tensor:
    """L^-1 of lower triangular L (.., d, d)."""
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
