"""Expectation-maximisation for Student-t mixtures (Peel and McLachlan, Stat. Comput. 2000).

One pass over the data an iteration: every block of rows goes through the E step and leaves only
its share of the moments behind, so memory does not grow with n. The host looks at the device
once an iteration, after the M step, at one small tensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cxrcml.density import Geometry, Parameters
from cxrcml.full import GEOMETRIES
from cxrcml.rows import Rows

NU_RANGE = (0.05, 1000.0)
"""Estimated degrees of freedom stay within these; above, a t is a Gaussian to three digits."""

MAX_RESEEDS = 3
"""Times one component may be given a new place in one fit."""


@dataclass(frozen=True)
class Options:
    """How one fit runs; every value is checked by the estimator."""

    kind: str
    gaussian: bool
    estimate_nu: bool
    tol: float
    max_iter: int
    shrinkage: float
    ridge: float
    """Added to every variance, in squared units of the data."""


class Moments(NamedTuple):
    """Sums over all rows that the M step needs, float64."""

    log_likelihood: Tensor
    mass: Tensor
    """(K,) sum of tau."""
    pull: Tensor
    """(K,) sum of tau u."""
    log_u: Tensor
    """(K,) sum of tau (log u - u)."""
    first: Tensor
    """(K, d) sum of tau u z."""
    second: Tensor
    far: Tensor
    """(<= K, d) the rows of lowest density, lowest first."""


class Fit(NamedTuple):
    """A fitted mixture and how the fit went."""

    parameters: Parameters
    history: list[float]
    """Mean log-likelihood of a row before each M step."""
    converged: bool
    n_reseeded: int


def accumulate(rows: Rows, geometry: Geometry, *, estimate_nu: bool) -> Moments:
    """Moments of the data under the mixture that `geometry` holds: the E step.

    The sums of log u, which only an estimate of nu needs, stay 0 without `estimate_nu`. The scale
    matrices in `geometry.parameters` may be overwritten.
    """
    mu = geometry.parameters.mu
    zeros = mu.new_zeros(len(mu))
    mass, pull, log_u = zeros.clone(), zeros.clone(), zeros.clone()
    log_likelihood, first, second = mu.new_zeros(()), torch.zeros_like(mu), geometry.empty_moment()
    far_score, far = mu.new_empty(0), mu.new_empty((0, mu.shape[1]))
    for block in rows.blocks(geometry.precision):
        joint, delta = geometry.log_joint(block.x)
        log_density, tau = posterior(joint)
        score = log_density.double()
        if block.weight is None:
            log_likelihood += score.sum()
        else:
            log_likelihood += block.weight @ score
            tau *= block.weight.to(tau.dtype)
            score = score.masked_fill(block.weight == 0, math.inf)
        far_score, far = _farthest(far_score, far, score, block.x, len(mu))
        mass += tau.sum(1, dtype=torch.float64)
        u = geometry.weight_of(delta)
        if u is None:
            w = tau
        else:
            log_of_u = torch.log(u).mul_(tau) if estimate_nu else None
            w = u.mul_(tau)
            if log_of_u is not None:
                log_u += log_of_u.sub_(w).sum(1, dtype=torch.float64)
            pull += w.sum(1, dtype=torch.float64)
        first += (w.to(block.x.dtype) @ block.x).double()
        geometry.add_moment(second, block.x, w)
    pull = mass if geometry.gaussian else pull
    return Moments(log_likelihood / rows.total, mass, pull, log_u, first, second, far)


def posterior(joint: Tensor) -> tuple[Tensor, Tensor]:
    """log p(z) (c,) and tau (K, c) of log joint densities, which are overwritten.

    Responsibilities under the working precision are exactly 0; the exponent is bounded because
    subnormal results are many times slower than zeros.
    """
    top = joint.amax(0)
    joint.sub_(top).clamp_min_(-80.0).exp_()
    total = joint.sum(0)
    joint.div_(total)
    eps = torch.finfo(joint.dtype).eps
    return top + total.log(), torch.threshold_(joint, eps, 0.0)


def _farthest(
    score: Tensor, x: Tensor, new_score: Tensor, new_x: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """The k lowest of the scores seen so far and of a new block, with their rows."""
    new_score, index = torch.topk(new_score, min(k, len(new_score)), largest=False)
    score = torch.cat([score, new_score])
    x = torch.cat([x, new_x[index].double()])
    score, index = torch.topk(score, min(k, len(score)), largest=False)
    return score, x[index]


def regularised(sigma: Tensor, mass: Tensor, options: Options) -> Tensor:
    """Scale matrices (1 - g) Sigma_k + g diag(Sigma_tied) + ridge I, of the shape they came in.

    Square ones are changed where they are: K of them may be larger than the data.
    """
    g, share = options.shrinkage, mass / mass.sum()
    if options.kind in ("full", "tied"):
        variances = torch.diagonal(sigma, dim1=-2, dim2=-1)
        target = share @ variances if options.kind == "full" else variances
        added = g * target + options.ridge
        sigma *= 1 - g
        torch.diagonal(sigma, dim1=-2, dim2=-1).add_(added)
        return sigma
    target = (share[:, None] * sigma).sum(0) if options.kind == "diag" else share @ sigma
    return (1 - g) * sigma + g * target + options.ridge


def maximise(geometry: Geometry, moments: Moments, options: Options) -> Parameters:
    """The parameters that the M step makes of the moments; empty components keep their place."""
    old = geometry.parameters
    tiny = torch.finfo(torch.float64).tiny
    empty = moments.mass <= 0
    mass, pull = moments.mass.clamp_min(tiny), moments.pull.clamp_min(tiny)
    mu = torch.where(empty[:, None], old.mu, moments.first / pull[:, None])
    sigma = geometry.scale(moments.second, mu, mass, moments.pull)
    sigma = regularised(sigma, moments.mass, options)
    nu = solve_nu(old.nu, moments, old.mu.shape[1]) if options.estimate_nu else old.nu
    return Parameters(moments.mass / moments.mass.sum(), mu, sigma, nu)


def solve_nu(nu: Tensor, moments: Moments, d: int) -> Tensor:
    """(K,) roots of Peel and McLachlan's equation for the degrees of freedom, by bisection.

    -psi(nu/2) + log(nu/2) + 1 + sum tau (log u - u) / sum tau + psi((nu'+d)/2)
    - log((nu'+d)/2) = 0 with nu' the previous value; the left side falls in nu.
    """
    half = (nu + d) / 2
    constant = 1 + moments.log_u / moments.mass + torch.digamma(half) - torch.log(half)
    low = torch.full_like(nu, math.log(NU_RANGE[0]))
    high = torch.full_like(nu, math.log(NU_RANGE[1]))
    for _ in range(48):
        middle = (low + high) / 2
        x = middle.exp() / 2
        above = torch.log(x) - torch.digamma(x) + constant > 0
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return torch.where(moments.mass > 0, ((low + high) / 2).exp(), nu)


def reseeded(
    parameters: Parameters, moments: Moments, options: Options, seeds: Tensor, one_row: Tensor
) -> tuple[Parameters, Tensor]:
    """Parameters with dead components moved to the rows of lowest density, and the new counts.

    Dead is a mass below `one_row`, or below d + 1 rows for a full covariance that no shrinkage
    supports. A moved component starts with the pooled scale matrix and weight 1/K. `seeds` (K,)
    counts the moves of each component; none is moved more than `MAX_RESEEDS` times.
    """
    pi, mu, sigma, nu = parameters
    k, d = mu.shape
    floor = d + 1 if options.kind == "full" and options.shrinkage == 0 else 1
    dead = (moments.mass < floor * one_row) & (seeds < MAX_RESEEDS)
    rank = torch.cumsum(dead, 0) - 1
    dead &= rank < len(moments.far)
    place = moments.far[rank.clamp(0, len(moments.far) - 1)]
    if options.kind != "tied":
        shape = (k,) + (1,) * (sigma.ndim - 1)
        if options.kind == "full":
            pooled = (moments.mass @ sigma.view(k, -1)).view(d, d) / moments.mass.sum()
        else:
            pooled = (moments.mass.view(shape) * sigma).sum(0) / moments.mass.sum()
        torch.where(dead.view(shape), pooled, sigma, out=sigma)
    pi = torch.where(dead, 1.0 / k, pi)
    mu = torch.where(dead[:, None], place, mu)
    return Parameters(pi / pi.sum(), mu, sigma, nu), seeds + dead


def run(rows: Rows, start: Parameters, options: Options) -> Fit:
    """The mixture after EM from `start`: until the gain is under `tol`, or `max_iter` M steps.

    Raises:
        ValueError: a scale matrix stayed singular however much was added to its diagonal.
    """
    geometry, start = factorised(start, rows, options)
    seeds = torch.zeros_like(start.pi, dtype=torch.int64)
    del start
    history: list[float] = []
    n_reseeded = 0
    for _ in range(options.max_iter):
        moments = accumulate(rows, geometry, estimate_nu=options.estimate_nu)
        updated = maximise(geometry, moments, options)
        updated, seeds = reseeded(updated, moments, options, seeds, rows.one_row)
        # Its factors are as large as half the parameters: not two of them at a time.
        del geometry
        geometry = _geometry(updated, rows, options)
        # The only place where the host waits for the device.
        looked = torch.stack([moments.log_likelihood, geometry.failed.double(), seeds.sum()])
        log_likelihood, failed, moved = looked.tolist()
        if failed:
            geometry, updated = factorised(updated, rows, options)
        history.append(log_likelihood)
        settled = moved == n_reseeded
        n_reseeded = int(moved)
        if settled and len(history) > 1 and abs(history[-1] - history[-2]) < options.tol:
            return Fit(geometry.parameters, history, True, n_reseeded)
    return Fit(geometry.parameters, history, False, n_reseeded)


def _geometry(parameters: Parameters, rows: Rows, options: Options) -> Geometry:
    return GEOMETRIES[options.kind](
        parameters, rows.dtype, gaussian=options.gaussian, n_rows=rows.n
    )


def factorised(parameters: Parameters, rows: Rows, options: Options) -> tuple[Geometry, Parameters]:
    """A usable geometry, with ever more ridge where a scale matrix is not positive definite."""
    geometry = _geometry(parameters, rows, options)
    jitter = options.ridge
    while bool(geometry.failed):
        jitter *= 10
        sigma = parameters.sigma
        size = torch.diagonal(sigma, dim1=-2, dim2=-1) if sigma.ndim > 1 else sigma
        if not math.isfinite(jitter) or jitter > 1e3 * (float(size.abs().max()) + options.ridge):
            raise ValueError(
                "A scale matrix of the mixture is not positive definite, whatever is added to its "
                "diagonal. The data or the initial covariances hold values out of range; rescale "
                "the data or use covariance_type='diag'."
            )
        eye = torch.eye(sigma.shape[-1], dtype=sigma.dtype, device=sigma.device)
        square = options.kind in ("full", "tied")
        parameters = parameters._replace(sigma=sigma + jitter * (eye if square else 1.0))
        geometry = _geometry(parameters, rows, options)
    return geometry, parameters
