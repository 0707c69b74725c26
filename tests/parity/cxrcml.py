"""The t mixture and the triplet loss against a float64 oracle (scipy densities, textbook EM)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from cxrcml import StudentTMixture, triplet_result
from cxrcml.density import Parameters
from cxrcml.full import GEOMETRIES
from tests.parity import Rule

INPUTS = ("X", "mu0", "Sigma0", "pi0", "tri/E", "tri/c", "tri/alpha")
TOLERANCE = (
    Rule("*/labels0"),
    Rule("tri/n*"),
    Rule("tri/anchors_used"),
    Rule("gauss/limit_gap_*", absolute=3e-4),
    Rule("*loglik*", relative=1e-8),
    Rule("*", absolute=1e-8),
)


_GAP = "gauss/limit_gap_nu"


def reproduce(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> dict[str, Any]:
    """Densities, one M step and twenty for every nu of the file; triplet losses."""
    found: dict[str, Any] = {}
    for name in sorted({key.split("/")[0] for key in arrays if key.startswith("nu")}):
        found |= {f"{name}/{key}": v for key, v in _mixture_of(arrays, name).items()}
    if "mu0" in arrays:
        gaussian = _densities(arrays, math.inf)
        found["gauss/logpdf"] = gaussian
        for key in (key for key in arrays if key.startswith(_GAP)):
            found[key] = np.abs(_densities(arrays, float(key.removeprefix(_GAP))) - gaussian).max()
    return found | (_triplets(arrays) if "tri/E" in arrays else {})


def _densities(arrays: Mapping[str, np.ndarray], nu: float) -> np.ndarray:
    """(n, K) log density of every row under each component alone."""
    parts = zip(arrays["mu0"], arrays["Sigma0"], strict=True)
    alone = [(np.ones(1), mu[None], sigma[None]) for mu, sigma in parts]
    x = arrays["X"]
    return np.stack([_fitted(x, start, nu, 0).score_samples(x) for start in alone], axis=1)


def _fitted(x: np.ndarray, start: tuple[Any, ...], nu: float, steps: int) -> StudentTMixture:
    mixture = StudentTMixture(
        len(start[0]),
        nu=nu,
        init=start,
        max_iter=steps,
        tol=0,
        ridge=0,
        shrinkage=0,
        dtype="float64",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is stopped before it converges, on purpose
        return mixture.fit(x)


def _mixture_of(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    x, start = arrays["X"], tuple(arrays[key] for key in ("pi0", "mu0", "Sigma0"))
    nu = float(name.removeprefix("nu"))
    trace = arrays[f"{name}/loglik_trace"]
    steps = len(trace) - 1
    begun, once = _fitted(x, start, nu, 0), _fitted(x, start, nu, 1)
    # The oracle took its last log-likelihood before its last M step.
    last = _fitted(x, start, nu, len(trace))
    parameters = Parameters(
        *map(torch.from_numpy, start), torch.full((len(start[0]),), nu, dtype=torch.float64)
    )
    geometry = GEOMETRIES["full"](parameters, torch.float64, gaussian=False)
    delta = geometry.log_joint(torch.from_numpy(x)).delta
    weight, share = geometry.weight_of(delta), begun.predict_proba(x)
    assert weight is not None
    u = weight.mT.numpy()
    # Kent's variant of the M step divides the same sums by sum(tau u) in the place of sum(tau).
    kent = share.sum(0) / (share * u).sum(0)
    return {
        "logpdf": _densities(arrays, nu),
        "resp": share,
        "delta": delta.mT.numpy(),
        "u": u,
        "labels0": begun.predict(x),
        "loglik0": begun.score(x) * len(x),
        "pi1": once.weights_,
        "mu1": once.means_,
        "Sigma1": once.covariances_,
        "Sigma1_kent": once.covariances_ * kent[:, None, None],
        "loglik_trace": last.history_ * len(x),
        f"pi_{steps}": last.weights_,
        f"mu_{steps}": last.means_,
        f"Sigma_{steps}": last.covariances_,
    }


def _triplets(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    rows, labels = (torch.from_numpy(arrays[f"tri/{key}"]) for key in ("E", "c"))
    margin = float(arrays["tri/alpha"])

    def result(mining: Any, reduction: Any) -> Any:
        return triplet_result(rows, labels, margin=margin, mining=mining, reduction=reduction)

    hard = result("batch_hard", "sum")
    return {
        "tri/all_sum": result("all", "sum").loss.numpy(),
        "tri/all_mean": result("all", "mean").loss.numpy(),
        "tri/all_mean_nonzero": result("all", "mean_active").loss.numpy(),
        "tri/n": result("all", "sum").n_triplets.numpy(),
        "tri/n_active": result("all", "sum").n_active.numpy(),
        "tri/batch_hard_mean": result("batch_hard", "mean").loss.numpy(),
        "tri/batch_hard_sum": hard.loss.numpy(),
        "tri/anchors_used": hard.n_triplets.numpy(),
    }
