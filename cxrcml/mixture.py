"""A mixture of Student's t distributions with scikit-learn's estimator interface (Eqs. 1-2)."""

from __future__ import annotations

import math
import warnings
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from cxrcml import em
from cxrcml.density import Geometry, Parameters
from cxrcml.full import GEOMETRIES
from cxrcml.rows import Rows
from cxrcml.start import checked, cluster_labels, from_labels

Covariance = Literal["full", "tied", "diag", "spherical"]


class StudentTMixture(DensityMixin, BaseEstimator):
    """p(z) = sum_k pi_k T(z | mu_k, Sigma_k, nu), fitted by EM (Eqs. 1-2 of the paper).

    Args:
        n_components: K.
        covariance_type: "full", "tied", "diag" or "spherical". Sigma is the t's SCALE matrix; the
            covariance is nu / (nu - 2) times it, where that exists.
        nu: degrees of freedom, one for all components or (K,); "estimate" solves Peel and
            McLachlan's equation for each component; infinity is the Gaussian mixture itself.
        init: "kmeans"; "k-means++" (nearest of K drawn centres); "gmm" (a Gaussian mixture fitted
            from k-means++ first, then refined, as in the paper); an integer array (n,) of labels;
            or a tuple (weights, means, covariances) shaped like the fitted attributes.
        tol: EM stops when the mean log-likelihood of a row changes by less.
        max_iter: M steps at most; 0 keeps the initial parameters.
        ridge: added to every variance, as a share of the data's mean variance.
        shrinkage: g in Sigma_k <- (1 - g) Sigma_k + g diag(Sigma_tied). With g = 0 (and but for
            the ridge) the likelihood never falls.
        warm_start: begin the next fit at the parameters of the last.
        random_state: seed of the initial centres and of `sample`.
        dtype: "float32", with float64 sums and parameters, or "float64" throughout.
        device: where to compute; None means where a tensor lies, else the CPU.
        chunk_size: rows per block at most; None chooses.

    `X` may be an array or a 2-D tensor on any device; results are arrays.

    Attributes:
        weights_, means_, covariances_, nu_: pi (K,), mu (K, d), Sigma shaped as in scikit-learn's
            `GaussianMixture`, nu (K,); float64.
        converged_, n_iter_: whether and after how many M steps EM stopped.
        history_: (n_iter_,) mean log-likelihood before each M step; `lower_bound_` is its last.
        n_reseeded_: how often a dead component was moved to the row of lowest density.
        n_features_in_: d.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_t(3, (200, 2)) + np.repeat([[0], [20]], 100, 0)
        >>> StudentTMixture(2, nu=3.0).fit(x).predict(x[[0, 100]]).tolist() in ([0, 1], [1, 0])
        True
    """

    n_features_in_: int

    def __init__(
        self,
        n_components: int = 40,
        *,
        covariance_type: Covariance = "full",
        nu: float | np.ndarray | Literal["estimate"] = 4.0,
        init: Any = "kmeans",
        tol: float = 1e-3,
        max_iter: int = 100,
        ridge: float = 1e-6,
        shrinkage: float = 0.1,
        warm_start: bool = False,
        random_state: Any = 0,
        dtype: Literal["float32", "float64"] = "float32",
        device: str | torch.device | None = None,
        chunk_size: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.nu = nu
        self.init = init
        self.tol = tol
        self.max_iter = max_iter
        self.ridge = ridge
        self.shrinkage = shrinkage
        self.warm_start = warm_start
        self.random_state = random_state
        self.dtype = dtype
        self.device = device
        self.chunk_size = chunk_size

    # -- fitting ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: object = None, sample_weight: Any = None) -> StudentTMixture:
        """This mixture, fitted to the rows of `X` (n, d).

        Raises:
            ValueError: fewer rows than components, values that are not finite, or an argument
                out of range.
        """
        self._check_arguments()
        x = self._tensor(X, reset=True)
        weight = None
        if sample_weight is not None:
            checked = _check_sample_weight(
                sample_weight, np.empty((len(x), 0)), ensure_non_negative=True
            )
            weight = torch.from_numpy(checked.astype(np.float64)).to(x.device)
        rows = Rows(x, dtype=getattr(torch, self.dtype), weight=weight, chunk=self.chunk_size)
        n_used = len(x) if weight is None else int((weight > 0).sum())
        if n_used < self.n_components:
            raise ValueError(
                f"n_samples={n_used} rows cannot hold n_components={self.n_components}: give more "
                f"rows or ask for at most {n_used} components."
            )
        self._warn_if_singular(n_used, x.shape[1])
        variance = float(rows.centre_on_mean().mean())
        eps = torch.finfo(torch.float64).eps
        ridge = max(self.ridge, eps) * variance or eps
        nu = self._initial_nu(x.device)
        options = self._options(ridge, gaussian=bool(torch.isinf(nu[0])))
        fit = em.run(rows, self._start(rows, nu, options), options)
        self._store(fit, rows)
        if not fit.converged and self.max_iter > 0:
            warnings.warn(
                f"EM did not converge in {self.max_iter} iterations; raise max_iter or tol.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _options(self, ridge: float, *, gaussian: bool) -> em.Options:
        return em.Options(
            kind=self.covariance_type,
            gaussian=gaussian,
            estimate_nu=isinstance(self.nu, str) and not gaussian,
            tol=self.tol,
            max_iter=self.max_iter,
            shrinkage=self.shrinkage,
            ridge=ridge,
        )

    def _initial_nu(self, device: torch.device) -> Tensor:
        value = 4.0 if isinstance(self.nu, str) else self.nu
        nu = np.broadcast_to(np.asarray(value, dtype=np.float64), self.n_components)
        return torch.tensor(nu.copy(), device=device)

    def _start(self, rows: Rows, nu: Tensor, options: em.Options) -> Parameters:
        centre = rows.centre.double()
        if self.warm_start and hasattr(self, "means_"):
            start = checked(
                self._parameters(rows.x.device), options.kind, self.n_components, rows.d
            )
            if options.estimate_nu and math.isfinite(self.nu_[0]):
                nu = start.nu
            return start._replace(mu=start.mu - centre, nu=nu)
        if isinstance(self.init, tuple):
            pi, mu, sigma = (
                torch.tensor(np.asarray(part, dtype=np.float64), device=rows.x.device)
                for part in self.init
            )
            start = checked(Parameters(pi, mu, sigma, nu), options.kind, self.n_components, rows.d)
            return start._replace(mu=mu - centre)
        if isinstance(self.init, str):
            method = "kmeans" if self.init == "kmeans" else "k-means++"
            weight = None if rows.weight is None else rows.weight.cpu().numpy()
            seed = check_random_state(self.random_state)
            x = rows.x.to(rows.centre.dtype).cpu().numpy()
            found = cluster_labels(x, self.n_components, method, seed, weight)
        else:
            found = np.asarray(self.init)
            if (
                found.shape != (rows.n,)
                or found.dtype.kind not in "iu"
                or found.min() < 0
                or found.max() >= self.n_components
            ):
                raise ValueError(
                    f"init as labels must be ({rows.n},) integers in [0, {self.n_components})."
                )
        labels = torch.from_numpy(found.astype(np.int64)).to(rows.x.device)
        if not (isinstance(self.init, str) and self.init == "gmm"):
            return from_labels(rows, labels, nu, options)
        normal = self._options(options.ridge, gaussian=True)
        infinite = torch.full_like(nu, math.inf)
        return em.run(
            rows, from_labels(rows, labels, infinite, normal), normal
        ).parameters._replace(nu=nu)

    def _store(self, fit: em.Fit, rows: Rows) -> None:
        pi, mu, sigma, nu = fit.parameters
        self.weights_ = pi.cpu().numpy()
        self.means_ = (mu + rows.centre.double()).cpu().numpy()
        self.covariances_ = sigma.cpu().numpy()
        self.nu_ = nu.cpu().numpy()
        self.converged_ = fit.converged
        self.n_iter_ = len(fit.history)
        self.history_ = np.array(fit.history)
        self.lower_bound_ = fit.history[-1] if fit.history else -np.inf
        self.n_reseeded_ = fit.n_reseeded

    # -- reading the fit -------------------------------------------------------------------------

    def predict(self, X: Any) -> np.ndarray:
        """(n,) the component of highest responsibility for every row: the pseudo-label."""
        return np.concatenate([joint.argmax(0).cpu().numpy() for joint in self._log_joint(X)])

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, K) responsibilities tau, rows summing to 1, in the working precision."""
        return np.concatenate(
            [torch.softmax(joint, 0).mT.cpu().numpy() for joint in self._log_joint(X)]
        )

    def score_samples(self, X: Any) -> np.ndarray:
        """(n,) log p(z) of every row (Eq. 1), in the working precision."""
        return np.concatenate(
            [torch.logsumexp(joint, 0).cpu().numpy() for joint in self._log_joint(X)]
        )

    def score(self, X: Any, y: object = None) -> float:
        """Mean log-likelihood of a row."""
        return float(self.score_samples(X).mean(dtype=np.float64))

    def bic(self, X: Any) -> float:
        """Bayesian information criterion on `X`: lower is better."""
        return -2 * self.score(X) * len(X) + self._n_parameters() * math.log(len(X))

    def aic(self, X: Any) -> float:
        """Akaike information criterion on `X`: lower is better."""
        return -2 * self.score(X) * len(X) + 2 * self._n_parameters()

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Rows (n_samples, d) drawn from the mixture, and the component (n_samples,) of each."""
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, not {n_samples}.")
        rng = check_random_state(self.random_state)
        counts = rng.multinomial(n_samples, self.weights_)
        label = np.repeat(np.arange(len(counts)), counts)
        d = self.means_.shape[1]
        z = rng.standard_normal((n_samples, d))
        for k in range(len(counts)):
            part = label == k
            if self.covariance_type == "full":
                z[part] = z[part] @ np.linalg.cholesky(self.covariances_[k]).T
            elif self.covariance_type == "tied":
                z[part] = z[part] @ np.linalg.cholesky(self.covariances_).T
            else:
                z[part] *= np.sqrt(self.covariances_[k])
        nu = self.nu_[label]
        if np.isfinite(nu[0]):
            z /= np.sqrt(rng.chisquare(nu) / nu)[:, None]
        return self.means_[label] + z, label

    def _n_parameters(self) -> int:
        k, d = self.means_.shape
        scale = {
            "full": k * d * (d + 1) // 2,
            "tied": d * (d + 1) // 2,
            "diag": k * d,
            "spherical": k,
        }
        return scale[self.covariance_type] + k * d + k - 1 + (k if isinstance(self.nu, str) else 0)

    def _parameters(self, device: torch.device) -> Parameters:
        arrays = (self.weights_, self.means_, self.covariances_, self.nu_)
        return Parameters(*(torch.tensor(a, dtype=torch.float64, device=device) for a in arrays))

    def _log_joint(self, X: Any) -> Any:
        """(K, c) log joint densities, block by block."""
        check_is_fitted(self)
        x = self._tensor(X, reset=False)
        rows = Rows(x, dtype=getattr(torch, self.dtype), chunk=self.chunk_size)
        parameters = self._parameters(x.device)
        centre = torch.tensor(self.weights_ @ self.means_, device=x.device)
        rows.centre = centre.to(rows.centre.dtype)
        parameters = parameters._replace(mu=parameters.mu - rows.centre.double())
        gaussian = bool(np.isinf(self.nu_[0]))
        geometry: Geometry = GEOMETRIES[self.covariance_type](
            parameters, rows.dtype, gaussian=gaussian, n_rows=rows.n
        )
        for block in rows.blocks(geometry.precision):
            yield geometry.log_joint(block.x).log_joint

    # -- arguments -------------------------------------------------------------------------------

    def _tensor(self, X: Any, *, reset: bool) -> Tensor:
        """`X` as a finite 2-D tensor on the device of this mixture, copied only where needed."""
        if isinstance(X, Tensor):
            if X.ndim != 2 or not X.is_floating_point() or not bool(torch.isfinite(X).all()):
                raise ValueError("X must be a 2-D floating point tensor of finite values.")
            if not reset and X.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"X has {X.shape[1]} features, but this mixture was fitted to "
                    f"{self.n_features_in_}."
                )
            self.n_features_in_ = X.shape[1]
            x = X.detach()
        else:
            array = validate_data(self, X, reset=reset, dtype=[np.float32, np.float64], order="C")
            # torch cannot share memory that may not be written to.
            x = torch.from_numpy(array if array.flags.writeable else array.copy())
        return x if self.device is None else x.to(self.device)

    def _warn_if_singular(self, n: int, d: int) -> None:
        groups = {"full": self.n_components, "tied": 1}.get(self.covariance_type)
        if groups and self.shrinkage == 0 and n <= groups * d:
            warnings.warn(
                f"{n} rows cannot determine {groups} {self.covariance_type} scale "
                f"matri{'x' if groups == 1 else 'ces'} in {d} dimensions: only ridge={self.ridge} "
                "keeps them regular. Use shrinkage, covariance_type='diag', or fewer dimensions.",
                UserWarning,
                stacklevel=3,
            )

    def _check_arguments(self) -> None:
        least = {"n_components": 1, "max_iter": 0}
        if self.chunk_size is not None:
            least["chunk_size"] = 1
        for name, number in least.items():
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < number:
                raise ValueError(f"{name} must be an integer of at least {number}, not {value!r}.")
        if self.covariance_type not in GEOMETRIES:
            raise ValueError(
                f"covariance_type must be one of {', '.join(GEOMETRIES)}, "
                f"not {self.covariance_type!r}."
            )
        if isinstance(self.init, str) and self.init not in ("kmeans", "k-means++", "gmm"):
            raise ValueError(
                f"init must be 'kmeans', 'k-means++', 'gmm', labels or parameters, "
                f"not {self.init!r}."
            )
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', not {self.dtype!r}.")
        for name, low, high in (("tol", 0, math.inf), ("ridge", 0, math.inf), ("shrinkage", 0, 1)):
            value = getattr(self, name)
            if not isinstance(value, Real) or not low <= float(value) <= high:
                raise ValueError(f"{name} must be a number from {low} to {high}, not {value!r}.")
        self._check_nu()

    def _check_nu(self) -> None:
        if isinstance(self.nu, str):
            if self.nu != "estimate":
                raise ValueError(f"nu must be a number, an array or 'estimate', not {self.nu!r}.")
            return
        nu = np.asarray(self.nu, dtype=np.float64)
        if nu.shape not in ((), (self.n_components,)):
            raise ValueError(
                f"nu must be one number or {self.n_components} numbers, not shape {nu.shape}."
            )
        if not (nu > 0).all() or 0 < np.isinf(nu).sum() < nu.size:
            raise ValueError("nu must be positive, and infinite for all components or for none.")
