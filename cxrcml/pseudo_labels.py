"""Pseudo-labels: which component of the mixture each training image belongs to.

The paper leaves open when, on what and how the mixture is fitted; `PseudoLabelConfig` names each
choice, with the default taken. One `PseudoLabeller` serves one training: it is called with all
embeddings at the start of every epoch and remembers the last labels.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from torch import Tensor

from cxrcml.mixture import Covariance, StudentTMixture


@dataclass(frozen=True)
class PseudoLabelConfig:
    """How labels are made from embeddings."""

    n_components: int = 40
    """K; the paper has one component a class."""
    normalise: bool = True
    """Scale embeddings to unit length: their space is compared by cosine."""
    pca: int | None = 64
    """Dimensions kept, not whitened; None keeps the embedding as it is."""
    covariance: Covariance | Literal["auto"] = "auto"
    """auto: full with PCA and at least 5 rows per component and dimension, else diag."""
    init: Literal["k-means++", "kmeans"] = "k-means++"
    gmm_iters: int = 100
    """Iterations of the Gaussian mixture at most."""
    gmm_rows: int = 50_000
    """The Gaussian mixture is fitted to a random subset of this size when there are more rows."""
    t_iters: int = 10
    """Iterations of the Student-t refinement on all rows at most; 0 only scores with Eq. 2."""
    nu: float = 4.0
    """Degrees of freedom (Eq. 2); infinity keeps the Gaussian mixture."""
    tol: float = 1e-3
    """Both fits stop when the mean log-likelihood changes by less."""
    shrinkage: float = 0.1
    ridge: float = 1e-6
    warm_start: bool = True
    """Start at the groups of the last call's labels when the rows are as many."""


class Diagnostics(TypedDict):
    """How a clustering came out; None where a quantity is undefined."""

    covariance: str
    dimensions: int
    gmm_iterations: int
    t_iterations: int
    reseeded: int
    log_likelihood: float
    """Mean of a row, in the space the mixture was fitted in."""
    mean_top_responsibility: float
    occupancy: list[int]
    """Rows of each component, largest first."""
    empty_clusters: int
    churn: float | None
    """Share of rows that left their last cluster, under the best one-to-one renaming."""
    nmi: float | None
    """Normalised mutual information (arithmetic) with the label sets given."""


class PseudoLabels(NamedTuple):
    """One clustering of the training images."""

    labels: Tensor
    """(N,) int64, the component of highest responsibility, on the CPU."""
    responsibilities: Tensor
    """(N, K) float32 posterior tau, on the CPU."""
    diagnostics: Diagnostics


class PseudoLabeller:
    """Makes pseudo-labels of embeddings, epoch after epoch, as a function of `seed` and its calls.

    Example:
        >>> labeller = PseudoLabeller(PseudoLabelConfig(n_components=2, pca=None), seed=0)
        >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> labeller(torch.cat([x + 9, x - 9])).diagnostics["occupancy"]
        [50, 50]
    """

    def __init__(
        self, config: PseudoLabelConfig, *, seed: int, device: str | torch.device | None = None
    ) -> None:
        self.config = config
        self.seed = seed
        self.device = device
        self._last: Tensor | None = None

    def __call__(
        self, embeddings: Tensor | np.ndarray, label_sets: np.ndarray | Tensor | None = None
    ) -> PseudoLabels:
        """Labels, responsibilities and diagnostics of `embeddings` (N, d).

        Args:
            embeddings: one row an image, always in the same order.
            label_sets: for the NMI alone: (N,) integers, or (N, C) rows of which equal ones are
                equal label sets.

        Raises:
            ValueError: fewer rows than components, or values that are not finite.
        """
        config = self.config
        z = self._reduced(_matrix(embeddings, self.device))
        n, d = z.shape
        kind = self._covariance(n, d)
        gmm, t = self._fit(z, kind)
        responsibilities = torch.from_numpy(t.predict_proba(z))
        top, labels = responsibilities.max(1)
        occupancy = torch.bincount(labels, minlength=config.n_components)
        diagnostics = Diagnostics(
            covariance=kind,
            dimensions=d,
            gmm_iterations=gmm.n_iter_,
            t_iterations=t.n_iter_ if t is not gmm else 0,
            reseeded=gmm.n_reseeded_ + (t.n_reseeded_ if t is not gmm else 0),
            log_likelihood=t.score(z),
            mean_top_responsibility=float(top.mean(dtype=torch.float64)),
            occupancy=sorted(occupancy.tolist(), reverse=True),
            empty_clusters=int((occupancy == 0).sum()),
            churn=self._churn(labels),
            nmi=None if label_sets is None else label_set_nmi(labels.numpy(), label_sets),
        )
        self._last = labels
        return PseudoLabels(labels, responsibilities, diagnostics)

    def state_dict(self) -> dict[str, Any]:
        """What the next call depends on besides its arguments: the last labels."""
        return {"labels": self._last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._last = state["labels"]

    def _reduced(self, x: Tensor) -> Tensor:
        """(N, <= pca) float32 features the mixture sees."""
        if self.config.normalise:
            x = torch.nn.functional.normalize(x, dim=1)
        if self.config.pca is None:
            return x
        return principal_components(x, self.config.pca)

    def _covariance(self, n: int, d: int) -> Covariance:
        if self.config.covariance != "auto":
            return self.config.covariance
        enough = n >= 5 * d * self.config.n_components
        return "full" if enough and self.config.pca is not None else "diag"

    def _fit(self, z: Tensor, kind: Covariance) -> tuple[StudentTMixture, StudentTMixture]:
        """The Gaussian start and the t mixture refined from it (the same when nu is infinite)."""
        config = self.config
        last = self._last if config.warm_start else None
        init: Any = config.init if last is None or len(last) != len(z) else last
        subset = z
        if len(z) > config.gmm_rows:
            rng = np.random.default_rng((self.seed, len(z)))
            index = torch.from_numpy(np.sort(rng.choice(len(z), config.gmm_rows, replace=False)))
            subset = z[index.to(z.device)]
            init = init if isinstance(init, str) else init[index]
        gmm = StudentTMixture(
            config.n_components,
            covariance_type=kind,
            nu=math.inf,
            init=init if isinstance(init, str) else init.numpy(),
            tol=config.tol,
            max_iter=config.gmm_iters,
            ridge=config.ridge,
            shrinkage=config.shrinkage,
            random_state=self.seed,
        )
        with warnings.catch_warnings():
            # Bounded refinement is the method here, not a failure.
            warnings.simplefilter("ignore", ConvergenceWarning)
            gmm.fit(subset)
            if math.isinf(config.nu):
                return gmm, gmm
            start = (gmm.weights_, gmm.means_, gmm.covariances_)
            t = StudentTMixture(**{**gmm.get_params(), "nu": config.nu, "init": start})
            return gmm, t.set_params(max_iter=config.t_iters).fit(z)

    def _churn(self, labels: Tensor) -> float | None:
        if self._last is None or len(self._last) != len(labels):
            return None
        return label_churn(self._last.numpy(), labels.numpy())


def label_churn(before: np.ndarray, after: np.ndarray) -> float:
    """Share of rows whose cluster changed, under the one-to-one renaming that changes fewest."""
    table = contingency_matrix(before, after)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return 1.0 - float(table[rows, columns].sum()) / len(before)


def label_set_nmi(labels: np.ndarray, label_sets: np.ndarray | Tensor) -> float:
    """Normalised mutual information of clusters (N,) with label sets, (N,) codes or (N, C) rows."""
    sets = np.asarray(label_sets)
    if len(sets) != len(labels):
        raise ValueError(f"{len(sets)} label sets for {len(labels)} rows.")
    if sets.ndim > 1:
        sets = np.unique(sets, axis=0, return_inverse=True)[1].reshape(-1)
    return float(normalized_mutual_info_score(sets, labels))


def class_purity(labels: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(C,) of the pairs that clusters (N,) make of an image of a class, the share that has it too.

    What a triplet loss pulls an image of the class to. A random clustering gives about the class's
    prevalence; NaN where no image of the class shares a cluster with another image.

    Args:
        labels: (N,) integers; a negative one is in no cluster.
        positive: (N, C) bool.
    """
    known = labels >= 0
    _, codes = np.unique(labels[known], return_inverse=True)
    size = np.bincount(codes)
    # (K, C) images of each class in each cluster.
    count = np.zeros((len(size), positive.shape[1]))
    np.add.at(count, codes, positive[known])
    pairs = count.T @ (size - 1)
    together = (count * (count - 1)).sum(0)
    return np.divide(together, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)


def principal_components(x: Tensor, k: int) -> Tensor:
    """(N, min(k, d)) float32 scores of the rows of `x` on its leading principal axes.

    Eigenvectors of the covariance, accumulated in float64; each axis is signed so that its
    largest loading is positive, which makes the result a function of `x` alone.
    """
    mean = x.mean(0, dtype=torch.float64)
    d = x.shape[1]
    scatter = torch.zeros((d, d), dtype=torch.float64, device=x.device)
    for block in x.split(16_384):
        centred = block - mean.to(block.dtype)
        scatter += (centred.mT @ centred).double()
    axes = torch.linalg.eigh(scatter)[1].flip(1)[:, :k]
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    axes = axes * largest.sign()
    shift = (mean @ axes).to(x.dtype)
    return x @ axes.to(x.dtype) - shift


def _matrix(embeddings: Tensor | np.ndarray, device: str | torch.device | None) -> Tensor:
    x = torch.as_tensor(embeddings).detach().to(device=device, dtype=torch.float32)
    if x.ndim != 2 or not bool(torch.isfinite(x).all()):
        raise ValueError(f"embeddings must be (N, d) finite numbers; got shape {tuple(x.shape)}.")
    return x
