"""Where EM begins: parameters from labels, from k-means, or from parameters given in full."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.metrics import pairwise_distances_argmin
from torch import Tensor

from cxrcml.density import Parameters
from cxrcml.em import Options, regularised
from cxrcml.full import GEOMETRIES
from cxrcml.rows import Rows


def from_labels(rows: Rows, labels: Tensor, nu: Tensor, options: Options) -> Parameters:
    """Weights, means and scale matrices of the groups that `labels` (n,) in [0, K) make."""
    k, d = len(nu), rows.d
    mass, first = nu.new_zeros(k), nu.new_zeros((k, d))
    for start, x, weight in rows.blocks(torch.float64):
        group = labels[start : start + len(x)]
        weight = x.new_ones(len(x)) if weight is None else weight
        mass.index_add_(0, group, weight)
        first.index_add_(0, group, x * weight[:, None])
    mu = first / mass.clamp_min(torch.finfo(torch.float64).tiny)[:, None]
    pi = mass / mass.sum()
    unit = Parameters(pi, mu, _unit_scale(options.kind, k, d, nu), nu)
    geometry = GEOMETRIES[options.kind](unit, rows.dtype, gaussian=options.gaussian)
    second = geometry.empty_moment()
    for start, x, weight in rows.blocks(geometry.precision):
        group = labels[start : start + len(x)]
        one_hot = (torch.arange(k, device=group.device)[:, None] == group).to(x.dtype)
        if weight is not None:
            one_hot *= weight.to(x.dtype)
        geometry.add_moment(second, x, one_hot)
    sigma = geometry.scale(second, mu, mass.clamp_min(torch.finfo(torch.float64).tiny), mass)
    return Parameters(pi, mu, regularised(sigma, mass, options), nu)


def _unit_scale(kind: str, k: int, d: int, like: Tensor) -> Tensor:
    if kind in ("full", "tied"):
        eye = torch.eye(d, dtype=like.dtype, device=like.device)
        return eye.expand(k, d, d).contiguous() if kind == "full" else eye
    return like.new_ones((k, d) if kind == "diag" else (k,))


def checked(parameters: Parameters, kind: str, k: int, d: int) -> Parameters:
    """`parameters`, if they are a mixture of `k` components in `d` dimensions.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, weights that are no shares.
    """
    square = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}
    parts, expected = parameters[:3], ((k,), (k, d), square[kind])
    shapes = tuple(tuple(part.shape) for part in parts)
    if shapes != expected:
        raise ValueError(
            f"EM cannot start at weights, means and {kind} covariances of shapes {shapes}: "
            f"{k} components in {d} dimensions need {expected}."
        )
    pi = parameters.pi
    if not all(bool(torch.isfinite(part).all()) for part in parts):
        raise ValueError("EM cannot start at parameters that are not finite.")
    if bool((pi < 0).any()) or abs(float(pi.sum()) - 1) > 1e-3:
        raise ValueError(f"EM cannot start at weights that are not shares of 1: {pi.tolist()}.")
    return parameters


def cluster_labels(
    x: np.ndarray, k: int, method: str, seed: Any, sample_weight: np.ndarray | None
) -> np.ndarray:
    """(n,) labels by k-means, or by the nearest of k centres that k-means++ draws."""
    if method == "kmeans":
        return KMeans(k, n_init=1, random_state=seed).fit(x, sample_weight=sample_weight).labels_
    centres, _ = kmeans_plusplus(x, k, sample_weight=sample_weight, random_state=seed)
    return pairwise_distances_argmin(x, centres)
