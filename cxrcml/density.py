"""Log densities of mixture components, by covariance type: the E step's arithmetic (Eqs. 1-2).

Every type offers the same three verbs: `log_joint` (densities of a block of rows),
`second_moment` (what the M step needs of the block) and `scale` (the new covariances).
Arrays are component-major, (K, c), so that a component's values over the rows are contiguous.
"""

from __future__ import annotations

import abc
import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from cxrcml.pruning import inverse_factor


class Parameters(NamedTuple):
    """A mixture in centred coordinates, float64: the paper's pi, mu, Sigma and nu (Eq. 1)."""

    pi: Tensor
    """(K,) weights, summing to 1."""
    mu: Tensor
    """(K, d) locations."""
    sigma: Tensor
    """Scale matrices: (K, d, d) full, (d, d) tied, (K, d) diag, (K,) spherical."""
    nu: Tensor
    """(K,) degrees of freedom; infinite for a Gaussian."""


class LogJoint(NamedTuple):
    """What one block of rows is under every component."""

    log_joint: Tensor
    """(K, c) log pi_k + log T(z | mu_k, Sigma_k, nu_k); merely too low to matter elsewhere."""
    delta: Tensor
    """(K, c) squared Mahalanobis distances, exact wherever the component can matter to the row."""


def log_constant(parameters: Parameters, half_log_det: Tensor, *, gaussian: bool) -> Tensor:
    """(K,) the part of log pi_k + log T (Eq. 2) that no row changes."""
    pi, mu, _, nu = parameters
    d = mu.shape[1]
    if gaussian:
        norm = torch.full_like(nu, -0.5 * d * math.log(2 * math.pi))
    else:
        norm = torch.lgamma((nu + d) / 2) - torch.lgamma(nu / 2) - d / 2 * torch.log(nu * math.pi)
    return torch.log(pi) + norm - half_log_det


class Geometry(abc.ABC):
    """A mixture's parameters made ready for one pass over `n_rows` rows of data.

    The pass may overwrite the scale matrices, where `empty_moment` says so.
    """

    precision: ClassVar[torch.dtype | None] = torch.float64
    """What the blocks must be read in; None means the working precision."""

    def __init__(
        self, parameters: Parameters, dtype: torch.dtype, *, gaussian: bool, n_rows: int = 0
    ) -> None:
        self.parameters = parameters
        self.dtype = dtype
        self.gaussian = gaussian
        self.n_rows = n_rows
        self.d = parameters.mu.shape[1]
        self.failed = torch.zeros((), dtype=torch.bool, device=parameters.mu.device)
        half_log_det = self._factorise()
        self._constant = log_constant(parameters, half_log_det, gaussian=gaussian).to(dtype)[
            :, None
        ]
        self._nu = parameters.nu.to(dtype)[:, None]

    def density_of(self, delta: Tensor, component: int | None = None) -> Tensor:
        """log pi_k + log T at squared distances (K, c), or (c,) from one `component`."""
        constant, nu = self._constant, self._nu
        if component is not None:
            constant, nu = constant[component], nu[component]
        if self.gaussian:
            return torch.add(constant, delta, alpha=-0.5)
        return torch.addcmul(constant, (nu + self.d) / 2, (delta / nu).log1p_(), value=-1)

    def weight_of(self, delta: Tensor) -> Tensor | None:
        """(K, c) u = (nu + d) / (nu + delta), small for outliers; None for a Gaussian."""
        return None if self.gaussian else (self._nu + self.d) / (self._nu + delta)

    def log_joint(self, x: Tensor) -> LogJoint:
        """Log joint densities of a block (c, d)."""
        limit = torch.finfo(self.dtype).max ** 0.5
        delta = self._delta(x).clamp_(0.0, limit).to(self.dtype)
        return LogJoint(self.density_of(delta), delta)

    @abc.abstractmethod
    def _factorise(self) -> Tensor:
        """(K,) half log determinants of the scale matrices, after preparing the factors."""

    @abc.abstractmethod
    def _delta(self, x: Tensor) -> Tensor:
        """(K, c) squared Mahalanobis distances of a block (c, d)."""

    @abc.abstractmethod
    def empty_moment(self) -> Tensor:
        """Zeros of the shape that `add_moment` adds to, float64."""

    @abc.abstractmethod
    def add_moment(self, total: Tensor, x: Tensor, w: Tensor) -> None:
        """Add a block's weighted second moments, weights `w` (K, c), to `total`."""

    @abc.abstractmethod
    def scale(self, total: Tensor, mu: Tensor, mass: Tensor, pull: Tensor) -> Tensor:
        """New scale matrices around `mu` from moments, sum(tau) `mass` and sum(tau u) `pull`."""


class Diagonal(Geometry):
    """One variance per component and dimension. Cheap enough to be float64 throughout."""

    def _variances(self) -> Tensor:
        return self.parameters.sigma

    def _factorise(self) -> Tensor:
        variance = self._variances()
        self._inverse = 1.0 / variance
        self._slope = -2.0 * self._inverse * self.parameters.mu
        self._offset = (self._inverse * self.parameters.mu.square()).sum(1, keepdim=True)
        self.failed = (~torch.isfinite(self._inverse) | (variance <= 0)).any()
        return 0.5 * torch.log(variance).sum(1)

    def _delta(self, x: Tensor) -> Tensor:
        return torch.addmm(self._offset, self._slope, x.mT).addmm_(self._inverse, x.square().mT)

    def empty_moment(self) -> Tensor:
        return torch.zeros_like(self.parameters.mu)

    def add_moment(self, total: Tensor, x: Tensor, w: Tensor) -> None:
        centred = x.square()
        total.addmm_(w.double(), centred)

    def scale(self, total: Tensor, mu: Tensor, mass: Tensor, pull: Tensor) -> Tensor:
        return ((total - pull[:, None] * mu.square()) / mass[:, None]).clamp_min(0.0)


class Spherical(Diagonal):
    """One variance per component."""

    def _variances(self) -> Tensor:
        return self.parameters.sigma[:, None].expand_as(self.parameters.mu)

    def scale(self, total: Tensor, mu: Tensor, mass: Tensor, pull: Tensor) -> Tensor:
        return super().scale(total, mu, mass, pull).mean(1)


class Tied(Geometry):
    """One scale matrix for all components: whiten once, then distances to K points."""

    def _factorise(self) -> Tensor:
        self._whiten, half_log_det, self.failed = inverse_factor(self.parameters.sigma)
        self._points = self.parameters.mu @ self._whiten.mT
        self._offset = self._points.square().sum(1, keepdim=True)
        return half_log_det.expand(self.parameters.pi.shape)

    def _delta(self, x: Tensor) -> Tensor:
        y = x @ self._whiten.mT
        return torch.addmm(self._offset + y.square().sum(1), self._points, y.mT, alpha=-2.0)

    def empty_moment(self) -> Tensor:
        return torch.zeros_like(self.parameters.sigma)

    def add_moment(self, total: Tensor, x: Tensor, w: Tensor) -> None:
        total.addmm_((x * w.double().sum(0)[:, None]).mT, x)

    def scale(self, total: Tensor, mu: Tensor, mass: Tensor, pull: Tensor) -> Tensor:
        return (total - (mu * pull[:, None]).mT @ mu) / mass.sum()
