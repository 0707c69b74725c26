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

from cxrcml import pruning
from cxrcml.pruning import Groups, by_component, inverse_factor


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
    """A mixture's parameters made ready for one pass over the data."""

    precision: ClassVar[torch.dtype | None] = torch.float64
    """What the blocks must be read in; None means the working precision."""

    def __init__(self, parameters: Parameters, dtype: torch.dtype, *, gaussian: bool) -> None:
        self.parameters = parameters
        self.dtype = dtype
        self.gaussian = gaussian
        self.d = parameters.mu.shape[1]
        self.failed = torch.zeros((), dtype=torch.bool, device=parameters.mu.device)
        half_log_det = self._factorise()
        self._constant = log_constant(parameters, half_log_det, gaussian=gaussian).to(dtype)[
            :, None
        ]
        self._nu = parameters.nu.to(dtype)[:, None]

    def density_of(self, delta: Tensor, component: Tensor | None = None) -> Tensor:
        """log pi_k + log T at squared distances (K, c), or (1, c) of one `component` (c,) a row."""
        constant, nu = self._constant, self._nu
        if component is not None:
            constant, nu = constant[component].mT, nu[component].mT
        if self.gaussian:
            return torch.add(constant, delta, alpha=-0.5)
        return torch.addcmul(constant, (nu + self.d) / 2, torch.log1p(delta / nu), value=-1)

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


class Full(Geometry):
    """One scale matrix per component: the costly type, 4 n d^2 K operations a step if done plainly.

    On a CPU most of them are not needed. W_k = L_k^-1 is lower triangular, so the first b
    whitened coordinates of a row cost b^2 (few are enough on axes where the components lie apart),
    and their squared length bounds delta from below, hence the density from above. A component
    whose bound lies log(K/eps) under the row's best density cannot change a sum in the working
    precision: it is left out of the rest of the E step, and the M step reads only responsibilities
    above rounding, of two components or so. What is left out is below rounding, not an
    approximation on top. On a GPU, where finding the survivors would make the host wait, b = d.
    """

    precision = None

    def _factorise(self) -> Tensor:
        sigma, mu = self.parameters.sigma, self.parameters.mu
        self._prunes = pruning.applies(mu.device)
        k, b = len(mu), pruning.head_size(self.d) if self._prunes else self.d
        self._axes: Tensor | None = None
        axes, half_log_det_axes = None, mu.new_zeros(())
        if b < self.d <= pruning.TURNED:
            axes, half_log_det_axes = pruning.discriminants(*self.parameters[:3])
            self._axes = axes[:b].to(self.dtype)
        self._mu = mu.to(self.dtype)
        self._head = self._mu.new_empty((k, b, b + 1))
        self._tail = self._mu.new_empty((k, self.d - b, self.d))
        half_log_det = mu.new_empty(k)
        # A component at a time where that costs nothing: K float64 factors are larger than Sigma.
        for part in [slice(j, j + 1) for j in range(k)] if self._prunes else [slice(0, k)]:
            turned = sigma[part] if axes is None else axes @ sigma[part] @ axes.mT
            whiten, half_log_det[part], failed = inverse_factor(turned)
            self.failed = self.failed | failed
            self._head[part, :, :b] = whiten[:, :b, :b]
            whiten = whiten if axes is None else whiten @ axes
            self._head[part, :, b:] = -(whiten[:, :b] @ mu[part, :, None])
            self._tail[part] = whiten[:, b:]
        self._head_size, self._head = b, self._head.view(k * b, b + 1)
        self._slack = math.log(k / torch.finfo(self.dtype).eps)
        return half_log_det + half_log_det_axes

    def _delta(self, x: Tensor) -> Tensor:
        """(K, c) squared lengths of the first b whitened coordinates."""
        (k, _), b, c = self._mu.shape, self._head_size, len(x)
        step = pruning.rows_at_a_time(k * b, x.device)
        z = x[:, :b] if self._axes is None else x @ self._axes.mT
        columns = torch.cat([z, x.new_ones((c, 1))], dim=1).mT
        out = x.new_empty((k, c))
        for start in range(0, c, step):
            y = self._head @ columns[:, start : start + step]
            torch.sum(y.square_().view(k, b, -1), 1, out=out[:, start : start + step])
        return out

    def log_joint(self, x: Tensor) -> LogJoint:
        bounds = super().log_joint(x)
        if self._head_size == self.d:
            return bounds
        bound, delta = bounds
        best = bound.max(0).indices
        order = best.argsort()
        counts = torch.bincount(best, minlength=len(bound)).tolist()
        first = [(k, rows) for k, rows in enumerate(order.split(counts)) if len(rows)]
        self._complete(x, delta, first)
        top = self.density_of(delta.gather(0, best[None]), best)
        more = bound > top - self._slack
        more.scatter_(0, best[None], value=False)
        self._complete(x, delta, by_component(more))
        more.scatter_(0, best[None], value=True)
        density = torch.where(more, self.density_of(delta), top - 2 * self._slack)
        return LogJoint(density, delta)

    def _complete(self, x: Tensor, delta: Tensor, groups: Groups) -> None:
        """Add the whitened coordinates that the bound left out to `delta` (K, c), by groups."""
        limit = torch.finfo(self.dtype).max ** 0.5
        for k, rows in groups:
            y = x.index_select(0, rows).sub_(self._mu[k]) @ self._tail[k].mT
            total = y.square_().sum(1).add_(delta[k].index_select(0, rows))
            delta[k].index_copy_(0, rows, total.clamp_max_(limit))

    def empty_moment(self) -> Tensor:
        return torch.zeros_like(self.parameters.sigma)

    def add_moment(self, total: Tensor, x: Tensor, w: Tensor) -> None:
        root = w.sqrt()
        if not self._prunes:
            step = pruning.rows_at_a_time(self._mu.numel(), x.device)
            for part, part_root in zip(x.split(step), root.split(step, 1), strict=True):
                z = (part - self._mu[:, None]) * part_root[..., None]
                total += z.mT @ z
            return
        for k, rows in by_component(w > 0):
            z = x.index_select(0, rows).sub_(self._mu[k])
            z *= root[k].index_select(0, rows)[:, None]
            total[k] += z.mT @ z

    def scale(self, total: Tensor, mu: Tensor, mass: Tensor, pull: Tensor) -> Tensor:
        moved = mu - self.parameters.mu
        total.baddbmm_((moved * pull[:, None])[..., None], moved[:, None], alpha=-1)
        return total.div_(mass[:, None, None])


GEOMETRIES: dict[str, type[Geometry]] = {
    "full": Full,
    "tied": Tied,
    "diag": Diagonal,
    "spherical": Spherical,
}
