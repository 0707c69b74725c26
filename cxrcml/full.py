"""One scale matrix per component: the densities that cost, and how most of them are avoided."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cxrcml import pruning
from cxrcml.density import Diagonal, Geometry, LogJoint, Spherical, Tied
from cxrcml.pruning import by_component, cholesky, inverse_factor


class Full(Geometry):
    """One scale matrix per component: the costly type, 4 n d^2 K operations a step if done plainly.

    On a CPU most of them are not needed. With b orthonormal directions Q, |Q' L_k^-1 (z - mu_k)|^2
    bounds delta from below, hence the density from above, and where the directions lead to the
    other locations a few are enough. A component whose bound lies log(K/eps) under the row's best
    density cannot change a sum in the working precision: it is left out of the rest of the E step,
    and the M step reads only responsibilities above rounding, of two components or so. What is left
    out is below rounding, not an approximation on top. On a GPU, where finding the survivors would
    make the host wait, b = d.
    """

    precision = None

    def _factorise(self) -> Tensor:
        (k, d), device = self.parameters.mu.shape, self.parameters.mu.device
        self._prunes = pruning.applies(device)
        self._turns = pruning.turns(self.n_rows, d)
        self._b = pruning.head_size(k, d, turns=self._turns) if self._prunes else d
        self._mu = self.parameters.mu.to(self.dtype)
        self._axes: Tensor | None = None
        self._slack = math.log(k / torch.finfo(self.dtype).eps)
        if self._b == d or self._turns:
            return self._factorise_turned()
        return self._factorise_sketched()

    def _factorise_turned(self) -> Tensor:
        """The head is the first b rows of L_k^-1, after turning to discriminants if b < d."""
        (pi, mu, sigma, _), b = self.parameters, self._b
        k, d = mu.shape
        axes, half_log_det_axes = None, mu.new_zeros(())
        if b < d:
            axes, half_log_det_axes = pruning.discriminants(pi, mu, sigma)
            self._axes = axes[:b].to(self.dtype)
        head, self._rest = self._mu.new_empty((k, b, b + 1)), self._mu.new_empty((k, d - b, d))
        half_log_det = mu.new_empty(k)
        # A component at a time where that costs nothing: K float64 factors are larger than Sigma.
        for part in [slice(j, j + 1) for j in range(k)] if self._prunes else [slice(0, k)]:
            turned = sigma[part] if axes is None else axes @ sigma[part] @ axes.mT
            whiten, half_log_det[part], failed = inverse_factor(turned)
            self.failed = self.failed | failed
            head[part, :, :b] = whiten[:, :b, :b]
            whiten = whiten if axes is None else whiten @ axes
            head[part, :, b:] = -(whiten[:, :b] @ mu[part, :, None])
            self._rest[part] = whiten[:, b:]
        self._head = head.view(k * b, b + 1)
        return half_log_det + half_log_det_axes

    def _factorise_sketched(self) -> Tensor:
        """The head is Q' L_k^-1, with directions of every component's own."""
        (_, mu, sigma, _), b = self.parameters, self._b
        k, d = mu.shape
        head, self._rest = self._mu.new_empty((k, b, d + 1)), self._mu.new_empty((k, d, d))
        half_log_det = mu.new_empty(k)
        for part in torch.arange(k).split(max(1, pruning.CACHED // d**2)):
            few = slice(int(part[0]), int(part[-1]) + 1)
            factor, half_log_det[few], failed = cholesky(sigma[few])
            self.failed = self.failed | failed
            if failed:
                continue
            sketch = pruning.sketch(factor, mu, mu[few], b)
            head[few, :, :d] = sketch
            head[few, :, d:] = -(sketch @ mu[few, :, None])
            self._rest[few] = pruning.solvable(factor)
        self._head = head.view(k * b, d + 1)
        return half_log_det

    def _delta(self, x: Tensor) -> Tensor:
        """(K, c) squared lengths of the b coordinates in which every component is compared."""
        (k, _), b, c = self._mu.shape, self._b, len(x)
        step = pruning.rows_at_a_time(max(k * b, 24 * k), x.device)
        z = x if self._axes is None else x @ self._axes.mT
        out = x.new_empty((k, c))
        for start in range(0, c, step):
            part = z[start : start + step]
            y = self._head @ torch.cat([part, part.new_ones((len(part), 1))], dim=1).mT
            torch.sum(y.square_().view(k, b, -1), 1, out=out[:, start : start + step])
        return out

    def log_joint(self, x: Tensor) -> LogJoint:
        density, delta = super().log_joint(x)
        if self._b == self.d:
            return LogJoint(density, delta)
        top = density.amax(0)
        found = density == top
        for k, rows in by_component(found):
            self._complete(x, k, rows, density, delta)
            top.index_copy_(0, rows, density[k].index_select(0, rows))
        rest = (density > top - self._slack).logical_and_(found.logical_not())
        for k, rows in by_component(rest):
            self._complete(x, k, rows, density, delta)
        torch.where(found.logical_or_(rest), density, top - 2 * self._slack, out=density)
        return LogJoint(density, delta)

    def _complete(self, x: Tensor, k: int, rows: Tensor, density: Tensor, delta: Tensor) -> None:
        """Put what the bounds stand for at component `k` and `rows` (r,) in their place."""
        z = x.index_select(0, rows).sub_(self._mu[k])
        if self._turns:
            total = (z @ self._rest[k].mT).square_().sum(1)
            total += delta[k].index_select(0, rows)
        else:
            total = pruning.solved(z, self._rest[k]).square_().sum(1)
        total.clamp_max_(torch.finfo(self.dtype).max ** 0.5)
        delta[k].index_copy_(0, rows, total)
        density[k].index_copy_(0, rows, self.density_of(total, k))

    def empty_moment(self) -> Tensor:
        """Zeros in the place of the scale matrices, which the E step does not need: K d^2 once."""
        return self.parameters.sigma.zero_()

    def add_moment(self, total: Tensor, x: Tensor, w: Tensor) -> None:
        if not self._prunes:
            root = w.sqrt()
            step = pruning.rows_at_a_time(self._mu.numel(), x.device)
            for part, part_root in zip(x.split(step), root.split(step, 1), strict=True):
                z = (part - self._mu[:, None]) * part_root[..., None]
                total += z.mT @ z
            return
        for k, rows in by_component(w > 0):
            z = x.index_select(0, rows).sub_(self._mu[k])
            z *= w[k].index_select(0, rows).sqrt_()[:, None]
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
