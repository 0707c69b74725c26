"""Tests of the Student-t mixture against scipy, scikit-learn, a float64 oracle and EM in NumPy."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import solve_triangular
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import pairwise_distances_argmin
from sklearn.mixture import GaussianMixture
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch.utils._python_dispatch import TorchDispatchMode

from cxrcml import StudentTMixture, pruning
from cxrcml.density import Parameters
from cxrcml.full import GEOMETRIES, Full

with np.load(Path(__file__).parent.parent / "fixtures" / "cxrcml.npz") as _arrays:
    ORACLE = dict(_arrays)

X = ORACLE["X"]
KINDS = ("full", "tied", "diag", "spherical")

every_kind = pytest.mark.parametrize("kind", KINDS)
each_oracle = pytest.mark.parametrize("nu", [2, 4, 6])
each_precision = pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-8), ("float32", 1e-4)])
# From 25 dimensions on, a full covariance leaves out the components that bounds rule out, above 64
# by bounds of every component's own.
few_and_many_dimensions = pytest.mark.parametrize("d", [3, 30, 70])


class Start(NamedTuple):
    """A mixture with one matrix a component, whatever its covariance type allows."""

    pi: np.ndarray
    mu: np.ndarray
    sigma: np.ndarray

    def init(self, kind: str) -> tuple[np.ndarray, ...]:
        """As the estimator takes it and returns it."""
        diagonals = np.diagonal(self.sigma, axis1=1, axis2=2)
        shaped = {
            "full": self.sigma,
            "tied": self.sigma[0],
            "diag": diagonals,
            "spherical": diagonals[:, 0],
        }
        return self.pi, self.mu, shaped[kind]


ORACLE_START = Start(ORACLE["pi0"], ORACLE["mu0"], ORACLE["Sigma0"])


def _restricted(sigma: np.ndarray, kind: str, share: np.ndarray) -> np.ndarray:
    """Matrices (K, d, d) as near to `sigma` as the covariance type allows."""
    eye = np.eye(sigma.shape[1])
    if kind == "tied":
        return np.broadcast_to(np.average(sigma, axis=0, weights=share), sigma.shape)
    if kind == "spherical":
        return np.trace(sigma, axis1=1, axis2=2)[:, None, None] / len(eye) * eye
    return sigma * eye if kind == "diag" else sigma


def _data(n: int = 300, d: int = 3, seed: int = 0) -> np.ndarray:
    """(n, d) rows of three overlapping heavy-tailed clusters, each with a shape of its own."""
    rng = np.random.default_rng((seed, n, d))
    label = np.arange(n) % 3
    centre = 2 * rng.normal(size=(3, d)) + 5
    shape = np.eye(d) + rng.normal(size=(3, d, d)) / (2 * np.sqrt(d))
    z = rng.standard_t(5, size=(n, d))
    return centre[label] + np.einsum("nd,nde->ne", z, shape[label])


def _start(x: np.ndarray, kind: str) -> Start:
    """Parameters of three groups that cut the data badly, so that EM has far to go."""
    labels = x[:, 0].argsort().argsort() * 3 // len(x)
    groups = [x[labels == k] for k in range(3)]
    sigma = np.array([np.atleast_2d(np.cov(g.T)) + 0.1 * np.eye(x.shape[1]) for g in groups])
    third = np.full(3, 1 / 3)
    return Start(third, np.array([g.mean(0) for g in groups]), _restricted(sigma, kind, third))


def _log_joint(x: np.ndarray, start: Start, nu: np.ndarray) -> np.ndarray:
    """(n, K) log pi + log T by scipy."""
    return np.stack(
        [
            np.log(pi)
            + (
                stats.multivariate_normal.logpdf(x, mu, sigma)
                if math.isinf(df)
                else stats.multivariate_t.logpdf(x, mu, sigma, df)
            )
            for pi, mu, sigma, df in zip(*start, nu, strict=True)
        ],
        axis=1,
    )


def _plain_step(
    x: np.ndarray, start: Start, kind: str, nu: np.ndarray, g: float = 0.0, ridge: float = 0.0
) -> Start:
    """One E and one M step as textbooks write them, with the docstring's shrinkage and ridge."""
    joint = _log_joint(x, start, nu)
    tau = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    moved = x[:, None] - start.mu
    delta = np.einsum("nkd,kde,nke->nk", moved, np.linalg.inv(start.sigma), moved)
    u = np.ones_like(delta) if np.isinf(nu).all() else (nu + x.shape[1]) / (nu + delta)
    mass = tau.sum(0)
    mu = (tau * u).T @ x / (tau * u).sum(0)[:, None]
    moved = x[:, None] - mu
    sigma = np.einsum("nk,nkd,nke->kde", tau * u, moved, moved) / mass[:, None, None]
    eye = np.eye(x.shape[1])
    sigma = _restricted(sigma, kind, mass)
    sigma = (1 - g) * sigma + eye * (g * np.average(sigma, axis=0, weights=mass) + ridge)
    return Start(mass / len(x), mu, sigma)


def _mixture(k: int = 3, **settings: Any) -> StudentTMixture:
    """EM as textbooks have it: nothing added to a covariance, nothing rounded, no early stop."""
    textbook: dict[str, Any] = {"dtype": "float64", "tol": 0, "shrinkage": 0, "ridge": 0}
    return StudentTMixture(k, **{**textbook, **settings})


def _unconverged(mixture: StudentTMixture, x: Any, **arguments: Any) -> StudentTMixture:
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        return mixture.fit(x, **arguments)


def _parameters(mixture: StudentTMixture) -> tuple[np.ndarray, ...]:
    return mixture.weights_, mixture.means_, mixture.covariances_


def _assert_same(ours: StudentTMixture, theirs: tuple[np.ndarray, ...], atol: float = 1e-8) -> None:
    for one, other in zip(_parameters(ours), theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=atol, rtol=0)


def _blobs(n: int = 200, d: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two clusters far apart, and which of them each row is from."""
    label = np.arange(n) % 2
    rng = np.random.default_rng((1, n, d))
    return rng.normal(size=(n, d)) + 20 * label[:, None], label


# -- densities and responsibilities --------------------------------------------------------------


@each_oracle
@each_precision
def test_log_densities_are_the_oracles(nu: float, dtype: str, atol: float) -> None:
    for k in range(3):
        alone = (np.ones(1), ORACLE["mu0"][k : k + 1], ORACLE["Sigma0"][k : k + 1])
        found = _mixture(1, nu=nu, init=alone, max_iter=0, dtype=dtype).fit(X)
        expected = ORACLE[f"nu{nu}/logpdf"][:, k]
        np.testing.assert_allclose(found.score_samples(X), expected, atol=atol, rtol=0)


@pytest.mark.parametrize(("nu", "atol"), [(math.inf, 1e-8), (1e8, 1e-3)])
def test_infinite_nu_is_gaussian_and_large_nu_comes_close(nu: float, atol: float) -> None:
    for k in range(3):
        alone = (np.ones(1), ORACLE["mu0"][k : k + 1], ORACLE["Sigma0"][k : k + 1])
        found = _mixture(1, nu=nu, init=alone, max_iter=0).fit(X)
        expected = ORACLE["gauss/logpdf"][:, k]
        np.testing.assert_allclose(found.score_samples(X), expected, atol=atol, rtol=0)


@each_oracle
@each_precision
def test_responsibilities_are_the_oracles(nu: float, dtype: str, atol: float) -> None:
    found = _mixture(nu=nu, init=tuple(ORACLE_START), max_iter=0, dtype=dtype).fit(X)
    np.testing.assert_allclose(found.predict_proba(X), ORACLE[f"nu{nu}/resp"], atol=atol, rtol=0)
    assert np.array_equal(found.predict(X), ORACLE[f"nu{nu}/labels0"])
    assert found.score(X) * len(X) == pytest.approx(ORACLE[f"nu{nu}/loglik0"], rel=atol)


@each_oracle
def test_distances_and_weights_of_outliers_are_the_oracles(nu: float) -> None:
    parts = (torch.from_numpy(part) for part in ORACLE_START)
    parameters = Parameters(*parts, torch.full((3,), float(nu), dtype=torch.float64))
    geometry = GEOMETRIES["full"](parameters, torch.float64, gaussian=False)
    delta = geometry.log_joint(torch.from_numpy(X)).delta
    np.testing.assert_allclose(delta.mT, ORACLE[f"nu{nu}/delta"], atol=1e-8, rtol=0)
    np.testing.assert_allclose(geometry.weight_of(delta).mT, ORACLE[f"nu{nu}/u"], atol=1e-8, rtol=0)


@every_kind
@pytest.mark.parametrize("nu", [0.7, 4.0, math.inf])
@pytest.mark.parametrize("d", [1, 24, 25, 60, 70, 150])
def test_densities_are_scipys(kind: str, nu: float, d: int) -> None:
    x = _data(max(200, 4 * d), d)
    start = _start(x, kind)
    found = _mixture(covariance_type=kind, nu=nu, init=start.init(kind), max_iter=0).fit(x)
    expected = _log_joint(x, start, np.full(3, nu))
    np.testing.assert_allclose(
        found.score_samples(x), logsumexp(expected, axis=1), atol=1e-8, rtol=0
    )
    tau = np.exp(expected - logsumexp(expected, axis=1, keepdims=True))
    np.testing.assert_allclose(found.predict_proba(x), tau, atol=1e-8, rtol=0)


def test_a_component_may_have_its_own_nu() -> None:
    nu, start = np.array([1.5, 4.0, 40.0]), _start(_data(), "full")
    found = _mixture(nu=nu, init=tuple(start), max_iter=0).fit(_data())
    expected = logsumexp(_log_joint(_data(), start, nu), axis=1)
    np.testing.assert_allclose(found.score_samples(_data()), expected, atol=1e-8, rtol=0)


@every_kind
@pytest.mark.parametrize("nu", [4.0, math.inf])
@few_and_many_dimensions
def test_the_farthest_row_that_float32_can_hold_has_a_density(kind: str, nu: float, d: int) -> None:
    found = StudentTMixture(2, covariance_type=kind, nu=nu).fit(_data(200, d))
    far = np.full((1, d), 1e37, dtype=np.float32)
    assert np.isfinite(found.score_samples(far)).all()
    assert found.predict_proba(far).sum() == pytest.approx(1)


# -- EM ------------------------------------------------------------------------------------------


@each_oracle
@each_precision
def test_one_step_is_the_oracles(nu: float, dtype: str, atol: float) -> None:
    mixture = _mixture(nu=nu, init=tuple(ORACLE_START), max_iter=1, dtype=dtype)
    expected = tuple(ORACLE[f"nu{nu}/{name}1"] for name in ("pi", "mu", "Sigma"))
    _assert_same(_unconverged(mixture, X), expected, atol)


@each_oracle
@each_precision
def test_twenty_steps_and_one_are_the_oracles(nu: float, dtype: str, atol: float) -> None:
    """The oracle took its last log-likelihood after 20 M steps, its parameters after the next."""
    mixture = _mixture(nu=nu, init=tuple(ORACLE_START), max_iter=21, dtype=dtype)
    found = _unconverged(mixture, X)
    expected = tuple(ORACLE[f"nu{nu}/{name}_20"] for name in ("pi", "mu", "Sigma"))
    _assert_same(found, expected, atol)
    trace = ORACLE[f"nu{nu}/loglik_trace"]
    np.testing.assert_allclose(found.history_ * len(X), trace, rtol=atol / 10)


@every_kind
@few_and_many_dimensions
@pytest.mark.parametrize("nu", [3.0, math.inf, (2.0, 5.0, 30.0)])
@pytest.mark.parametrize(("g", "ridge"), [(0.0, 0.0), (0.2, 0.01)])
def test_steps_are_those_of_plain_em(
    kind: str, d: int, nu: float | tuple[float, ...], g: float, ridge: float
) -> None:
    x, degrees = _data(300, d), np.broadcast_to(nu, 3)
    start = expected = _start(x, kind)
    for _ in range(5):
        expected = _plain_step(x, expected, kind, degrees, g, ridge * x.var(0).mean())
    found = _mixture(
        covariance_type=kind,
        nu=degrees if isinstance(nu, tuple) else nu,
        init=start.init(kind),
        max_iter=5,
        shrinkage=g,
        ridge=ridge,
    )
    _assert_same(_unconverged(found, x), expected.init(kind))


@every_kind
@few_and_many_dimensions
def test_infinite_nu_is_the_gaussian_mixture_of_scikit_learn(kind: str, d: int) -> None:
    x = _data(400, d)
    pi, mu, sigma = _start(x, kind).init(kind)
    ours = _mixture(covariance_type=kind, nu=math.inf, init=(pi, mu, sigma), max_iter=15)
    theirs = GaussianMixture(
        3,
        covariance_type=kind,
        tol=0,
        reg_covar=0,
        max_iter=15,
        init_params="random_from_data",
        weights_init=pi,
        means_init=mu,
        precisions_init=np.linalg.inv(sigma) if sigma.ndim > 1 and kind != "diag" else 1 / sigma,
        random_state=0,
    )
    _unconverged(ours, x)
    with pytest.warns(ConvergenceWarning):
        theirs.fit(x)
    _assert_same(ours, (theirs.weights_, theirs.means_, theirs.covariances_))
    np.testing.assert_allclose(ours.score_samples(x), theirs.score_samples(x), rtol=1e-10)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-8)
    assert ours.bic(x) == pytest.approx(theirs.bic(x), rel=1e-10)
    assert ours.aic(x) == pytest.approx(theirs.aic(x), rel=1e-10)


@every_kind
@few_and_many_dimensions
@pytest.mark.parametrize("nu", [3.0, "estimate", math.inf])
def test_the_likelihood_never_falls_without_shrinkage(kind: str, d: int, nu: float | str) -> None:
    x = _data(400, d, seed=2)
    init = _start(x, kind).init(kind)
    found = _unconverged(_mixture(covariance_type=kind, nu=nu, init=init, max_iter=40), x)
    assert found.n_reseeded_ == 0
    assert found.history_[-1] > found.history_[0] + 0.01
    assert np.diff(np.append(found.history_, found.score(x))).min() > -1e-10


def test_em_stops_when_the_likelihood_settles() -> None:
    found = StudentTMixture(3, tol=1e-3, max_iter=200).fit(_data())
    assert found.converged_
    assert found.n_iter_ == len(found.history_) < 200
    assert found.lower_bound_ == found.history_[-1]
    gains = np.abs(np.diff(found.history_))
    assert gains[-1] < 1e-3
    assert (gains[:-1] >= 1e-3).all()


def test_without_a_step_the_initial_parameters_stay() -> None:
    found = _mixture(init=tuple(ORACLE_START), max_iter=0).fit(X)
    _assert_same(found, tuple(ORACLE_START), atol=1e-12)
    assert (found.converged_, found.n_iter_, found.lower_bound_) == (False, 0, -math.inf)


# -- nu ------------------------------------------------------------------------------------------


def test_estimated_nu_of_one_component_is_the_maximum_likelihood_of_scipy() -> None:
    x = 3 + 2 * np.random.default_rng(5).standard_t(4, 1500)
    found = _mixture(1, nu="estimate", tol=1e-12, max_iter=2000).fit(x[:, None])
    df, location, scale = stats.t.fit(x)
    assert found.nu_[0] == pytest.approx(df, rel=1e-3)
    assert found.means_[0, 0] == pytest.approx(location, abs=1e-3)
    assert found.covariances_[0, 0, 0] == pytest.approx(scale**2, rel=1e-3)


@every_kind
def test_estimated_nu_comes_close_to_that_of_the_data(kind: str) -> None:
    truth = StudentTMixture(2, covariance_type=kind, nu=np.array([2.5, 8.0]), max_iter=0)
    centres = np.array([[0.0, 0.0, 0.0], [30.0, 30.0, 30.0]])
    apart = Start(np.array([0.4, 0.6]), centres, np.stack([np.eye(3)] * 2))
    truth.set_params(init=apart.init(kind)).fit(np.eye(3))
    x, label = truth.sample(12_000)
    found = StudentTMixture(
        2, covariance_type=kind, nu="estimate", init=label, tol=1e-6, max_iter=300, shrinkage=0
    ).fit(x)
    np.testing.assert_allclose(found.nu_, [2.5, 8.0], rtol=0.15)


def test_estimated_nu_of_gaussian_data_is_large_and_finite() -> None:
    found = StudentTMixture(2, nu="estimate", tol=0, max_iter=200)
    _unconverged(found, _blobs(2000)[0])
    assert (found.nu_ > 20).all()
    assert np.isfinite(found.nu_).all()


# -- invariances ---------------------------------------------------------------------------------


@few_and_many_dimensions
@pytest.mark.parametrize("nu", [4.0, "estimate", math.inf])
def test_a_rotation_of_the_data_rotates_the_mixture(d: int, nu: float | str) -> None:
    x = _data(300, d)
    q = stats.ortho_group.rvs(d, random_state=3)
    pi, mu, sigma = _start(x, "full")
    plain = _unconverged(_mixture(nu=nu, init=(pi, mu, sigma), max_iter=15), x)
    turned = _mixture(nu=nu, init=(pi, mu @ q, q.T @ sigma @ q), max_iter=15)
    _unconverged(turned, x @ q)
    _assert_same(turned, (plain.weights_, plain.means_ @ q, q.T @ plain.covariances_ @ q))
    np.testing.assert_allclose(turned.score_samples(x @ q), plain.score_samples(x), atol=1e-8)


@every_kind
@pytest.mark.parametrize("scale", [1e-8, 1e6])
def test_the_unit_of_the_data_does_not_matter(kind: str, scale: float) -> None:
    settings = {"covariance_type": kind, "dtype": "float64", "init": np.arange(300) % 3}
    one, other = StudentTMixture(3, **settings), StudentTMixture(3, **settings)
    one.fit(_data())
    other.fit(_data() * scale)
    _assert_same(one, (other.weights_, other.means_ / scale, other.covariances_ / scale**2))


@every_kind
@pytest.mark.parametrize("nu", [4.0, "estimate", math.inf])
def test_a_far_origin_does_not_matter_in_float32(kind: str, nu: float | str) -> None:
    # 2^14 with data on a grid of 2^-9: neither the shift nor the shifted rows are rounded.
    x = (np.round(_data() * 512) / 512).astype(np.float32)
    init = np.arange(300) % 3
    settings = {"covariance_type": kind, "nu": nu, "init": init, "tol": 0, "max_iter": 20}
    near = _unconverged(StudentTMixture(3, **settings), x)
    far = _unconverged(StudentTMixture(3, **settings), x + np.float32(16_384))
    _assert_same(far, (near.weights_, near.means_ + 16_384, near.covariances_), atol=1e-4)


@every_kind
@few_and_many_dimensions
@pytest.mark.parametrize("nu", [4.0, "estimate", math.inf])
def test_integer_weights_are_repeated_rows(kind: str, d: int, nu: float | str) -> None:
    x = _data(240, d)
    weight = np.random.default_rng(4).integers(0, 4, len(x))
    settings = {"covariance_type": kind, "nu": nu, "max_iter": 10, "shrinkage": 0.1}
    labels = np.arange(len(x)) % 3
    weighted = _mixture(init=labels, **settings)
    repeated = _mixture(init=np.repeat(labels, weight), **settings)
    _unconverged(weighted, x, sample_weight=weight)
    _unconverged(repeated, np.repeat(x, weight, axis=0))
    _assert_same(weighted, _parameters(repeated))
    np.testing.assert_allclose(weighted.nu_, repeated.nu_, rtol=1e-8)
    np.testing.assert_allclose(weighted.history_, repeated.history_, rtol=1e-10)


@pytest.mark.parametrize("scale", [1e-6, 1 / 300, 1e6])
def test_weights_may_be_shares(scale: float) -> None:
    """A component's mass is then a fraction of one although it holds many rows."""
    settings = {"init": np.arange(300) % 3, "dtype": "float64"}
    plain = StudentTMixture(3, **settings).fit(_data())
    shares = StudentTMixture(3, **settings).fit(_data(), sample_weight=np.full(300, scale))
    assert shares.n_reseeded_ == 0
    _assert_same(shares, _parameters(plain))


@every_kind
@few_and_many_dimensions
@pytest.mark.parametrize("chunk", [1, 7])
def test_the_size_of_the_blocks_changes_nothing(kind: str, d: int, chunk: int) -> None:
    x, weight = _data(60, d), np.linspace(0, 2, 60)
    settings = {"covariance_type": kind, "init": np.arange(60) % 3, "max_iter": 10}
    whole = _mixture(shrinkage=0.1, **settings)
    parts = _mixture(shrinkage=0.1, chunk_size=chunk, **settings)
    _unconverged(whole, x, sample_weight=weight)
    _unconverged(parts, x, sample_weight=weight)
    _assert_same(parts, _parameters(whole))
    np.testing.assert_allclose(parts.history_, whole.history_, rtol=1e-10)
    np.testing.assert_allclose(parts.predict_proba(x), whole.predict_proba(x), atol=1e-10)


def test_the_order_of_the_rows_does_not_matter() -> None:
    order = np.random.default_rng(6).permutation(len(X))
    settings = {"init": tuple(ORACLE_START), "max_iter": 10}
    one, other = _mixture(**settings), _mixture(**settings)
    _assert_same(_unconverged(one, X), _parameters(_unconverged(other, X[order])))


@every_kind
@few_and_many_dimensions
@pytest.mark.parametrize("nu", [4.0, "estimate", math.inf])
def test_float32_stays_close_to_float64(kind: str, d: int, nu: float | str) -> None:
    x = _data(400, d)
    settings = {"covariance_type": kind, "nu": nu, "init": np.arange(400) % 3, "max_iter": 20}
    fine = _unconverged(_mixture(**settings), x)
    coarse = _unconverged(_mixture(**settings, dtype="float32"), x.astype(np.float32))
    _assert_same(coarse, _parameters(fine), atol=2e-3)
    assert coarse.score(x) == pytest.approx(fine.score(x), abs=1e-4)
    assert coarse.score_samples(x).dtype == coarse.predict_proba(x).dtype == np.float32
    assert coarse.means_.dtype == coarse.covariances_.dtype == np.float64


# -- hard cases ----------------------------------------------------------------------------------


@every_kind
def test_a_component_without_rows_is_moved_to_where_the_density_is_lowest(kind: str) -> None:
    x = np.random.default_rng(7).normal(size=(170, 2))
    x[150:, 0] += 40
    centres = np.array([[0.0, 0.0], [0.0, 1e5]])
    nowhere = Start(np.array([1 - 1e-12, 1e-12]), centres, np.stack([np.eye(2)] * 2))
    found = StudentTMixture(2, covariance_type=kind, init=nowhere.init(kind), tol=1e-5).fit(x)
    assert found.n_reseeded_ >= 1
    assert found.weights_[1] == pytest.approx(20 / 170, abs=0.01)
    assert found.means_[1, 0] == pytest.approx(40, abs=1)


def test_a_moved_component_starts_at_the_farthest_row_that_counts() -> None:
    """With the pooled scale matrix and weight 1/K; a row of weight zero is not there."""
    x, weight = _data(), np.ones(300)
    x[7], x[8], weight[8] = 60, 1e4, 0
    start = _start(x, "full")
    centres = np.array([start.mu[0], [0.0, 0.0, 1e9]])
    mixture = _mixture(2, init=(np.array([1 - 1e-12, 1e-12]), centres, start.sigma[:2]), max_iter=1)
    _unconverged(mixture, x, sample_weight=weight)
    np.testing.assert_allclose(mixture.means_[1], 60)
    np.testing.assert_allclose(mixture.covariances_[1], mixture.covariances_[0])
    np.testing.assert_allclose(mixture.weights_, [2 / 3, 1 / 3])


def test_em_goes_on_while_components_are_moved() -> None:
    """One outlier is too little for a full covariance, so the component moves a second time."""
    x = np.random.default_rng(10).normal(size=(300, 3))
    x[0, 0] = 1e3
    centres = np.array([[0.0, 0.0, 0.0], [0.0, 1e6, 0.0]])
    init = (np.array([1 - 1e-12, 1e-12]), centres, np.stack([np.eye(3)] * 2))
    found = _mixture(2, init=init, tol=math.inf).fit(x)
    assert (found.n_reseeded_, found.n_iter_, found.converged_) == (2, 3, True)


def test_an_empty_group_of_labels_is_given_rows() -> None:
    x, label = _blobs()
    found = StudentTMixture(3, init=2 * label).fit(x)
    assert found.n_reseeded_ >= 1
    assert (found.weights_ > 1 / len(x)).all()


@every_kind
def test_fewer_rows_than_components_is_an_error_that_says_so(kind: str) -> None:
    x = _data(30)
    with pytest.raises(ValueError, match="n_samples=30 rows cannot hold n_components=31"):
        StudentTMixture(31, covariance_type=kind).fit(x)
    weight = np.repeat([1, 0], [4, 26])
    with pytest.raises(ValueError, match="n_samples=4 rows cannot hold n_components=5"):
        StudentTMixture(5, covariance_type=kind).fit(x, sample_weight=weight)


@every_kind
@pytest.mark.parametrize("nu", [4.0, "estimate", math.inf])
def test_as_many_components_as_rows_is_possible(kind: str, nu: float | str) -> None:
    x = _data(8, 2)
    found = StudentTMixture(8, covariance_type=kind, nu=nu, max_iter=500).fit(x)
    assert np.isfinite(found.score_samples(x)).all()
    assert all(np.isfinite(part).all() for part in _parameters(found))


@every_kind
@pytest.mark.parametrize("nu", [4.0, "estimate", math.inf])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_more_dimensions_than_rows_never_gives_nan(kind: str, nu: float | str) -> None:
    x = _data(20, 50)
    shrunk = StudentTMixture(2, covariance_type=kind, nu=nu).fit(x)
    bare = StudentTMixture(2, covariance_type=kind, nu=nu, shrinkage=0)
    if kind in ("full", "tied"):
        with pytest.warns(UserWarning, match="20 rows cannot determine"):
            bare.fit(x)
    else:
        bare.fit(x)
    for found in (shrunk, bare):
        assert all(np.isfinite(part).all() for part in _parameters(found))
        assert not np.isnan(found.nu_).any()
        assert np.isfinite(found.score_samples(x)).all()
        np.testing.assert_allclose(found.predict_proba(x).sum(1), 1, atol=1e-5)


@every_kind
@pytest.mark.parametrize("value", [0.1, 1e6])
def test_equal_rows_are_no_reason_to_fail(kind: str, value: float) -> None:
    x = np.full((30, 3), value)
    found = StudentTMixture(2, covariance_type=kind, init=np.arange(30) % 2).fit(x)
    np.testing.assert_allclose(found.means_, value, rtol=1e-12)
    assert np.isfinite(found.score(x))
    assert np.isfinite(found.predict_proba(x)).all()


def test_a_constant_feature_is_no_reason_to_fail() -> None:
    x = np.concatenate([_data(), np.full((300, 1), 3.0)], axis=1)
    found = StudentTMixture(3, shrinkage=0).fit(x)
    np.testing.assert_allclose(found.means_[:, 3], 3)
    assert np.isfinite(found.score_samples(x)).all()


# -- starts --------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("init", ["kmeans", "k-means++", "gmm", "labels"])
def test_every_start_finds_clusters_far_apart(kind: str, init: str) -> None:
    x, label = _blobs()
    found = StudentTMixture(2, covariance_type=kind, init=label if init == "labels" else init)
    labels = found.fit(x).predict(x)
    assert np.array_equal(labels, label) or np.array_equal(labels, 1 - label)
    if init == "labels":
        assert np.array_equal(labels, label)


@pytest.mark.parametrize("init", ["kmeans", "k-means++"])
def test_the_starts_are_those_of_scikit_learn(init: str) -> None:
    x, weight = _data(), np.random.default_rng(2).exponential(size=300)
    if init == "kmeans":
        labels = KMeans(3, n_init=1, random_state=4).fit(x, sample_weight=weight).labels_
    else:
        centres, _ = kmeans_plusplus(x, 3, sample_weight=weight, random_state=4)
        labels = pairwise_distances_argmin(x, centres)
    ours = _mixture(init=init, random_state=4, max_iter=0).fit(x, sample_weight=weight)
    expected = _mixture(init=labels, max_iter=0).fit(x, sample_weight=weight)
    _assert_same(ours, _parameters(expected))


@every_kind
def test_labels_start_at_the_moments_of_their_groups(kind: str) -> None:
    x, label = _data(300, 4), np.repeat([0, 1, 2], [150, 100, 50])
    found = _mixture(covariance_type=kind, init=label, max_iter=0).fit(x)
    share = np.array([150, 100, 50]) / 300
    groups = [x[label == k] for k in range(3)]
    sigma = np.array([np.cov(group.T, bias=True) for group in groups])
    means = np.array([group.mean(0) for group in groups])
    _assert_same(found, Start(share, means, _restricted(sigma, kind, share)).init(kind))


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "gmm"])
def test_the_seed_decides_the_fit(init: str) -> None:
    x = _data(300, 6)
    one, same, other = (
        StudentTMixture(8, init=init, random_state=seed, max_iter=300).fit(x) for seed in (0, 0, 1)
    )
    _assert_same(one, _parameters(same), atol=0)
    assert not np.array_equal(one.means_, other.means_)


def test_the_gmm_start_is_a_gaussian_mixture_refined() -> None:
    x = _data()
    gmm = StudentTMixture(3, nu=math.inf, init="k-means++", random_state=5).fit(x)
    refined = StudentTMixture(3, init=_parameters(gmm)).fit(x)
    _assert_same(StudentTMixture(3, init="gmm", random_state=5).fit(x), _parameters(refined))


@pytest.mark.parametrize("nu", [4.0, "estimate", math.inf])
def test_a_warm_start_goes_on_where_the_last_fit_ended(nu: float | str) -> None:
    settings = {"nu": nu, "init": tuple(ORACLE_START)}
    whole = _unconverged(_mixture(max_iter=14, **settings), X)
    parts = _unconverged(_mixture(max_iter=7, warm_start=True, **settings), X)
    first = parts.history_
    _unconverged(parts, X)
    _assert_same(parts, _parameters(whole))
    np.testing.assert_allclose(np.append(first, parts.history_), whole.history_, rtol=1e-10)


def test_without_warm_start_a_fit_forgets_the_last() -> None:
    mixture = StudentTMixture(3).fit(_data(300, seed=8))
    _assert_same(mixture.fit(_data()), _parameters(StudentTMixture(3).fit(_data())), atol=0)


def test_a_warm_start_may_turn_a_gaussian_mixture_into_one_of_t() -> None:
    mixture = StudentTMixture(3, nu=math.inf, warm_start=True, max_iter=300).fit(_data())
    mixture.set_params(nu="estimate").fit(_data())
    assert np.isfinite(mixture.nu_).all()
    assert np.isfinite(mixture.history_).all()


@pytest.mark.parametrize("change", [{"n_components": 2}, {"covariance_type": "diag"}])
def test_a_warm_start_at_another_kind_of_mixture_is_refused(change: dict[str, Any]) -> None:
    mixture = StudentTMixture(3, warm_start=True).fit(_data())
    with pytest.raises(ValueError, match="EM cannot start"):
        mixture.set_params(**change).fit(_data())


# -- reading the fit -----------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("nu", [4.0, math.inf])
def test_what_a_fit_tells_is_consistent(kind: str, nu: float) -> None:
    x = _data()
    found = StudentTMixture(3, covariance_type=kind, nu=nu, dtype="float64").fit(x)
    tau = found.predict_proba(x)
    np.testing.assert_allclose(tau.sum(1), 1)
    assert np.array_equal(found.predict(x), tau.argmax(1))
    assert found.score(x) == pytest.approx(found.score_samples(x).mean())
    free = {"full": 18, "tied": 6, "diag": 9, "spherical": 3}[kind] + 9 + 2
    deviance = -2 * found.score_samples(x).sum()
    assert found.bic(x) == pytest.approx(deviance + free * math.log(300))
    assert found.aic(x) == pytest.approx(deviance + 2 * free)


def test_every_estimated_nu_counts_as_a_parameter() -> None:
    found = StudentTMixture(3, nu="estimate", max_iter=500).fit(_data())
    expected = -2 * 300 * found.score(_data()) + 2 * (18 + 9 + 2 + 3)
    assert found.aic(_data()) == pytest.approx(expected)


@every_kind
@pytest.mark.parametrize("nu", [5.0, math.inf])
def test_samples_follow_the_mixture(kind: str, nu: float) -> None:
    """Squared distances over d are F(d, nu), or chi-squared of d over d, in the right shares."""
    turn = stats.ortho_group.rvs(3, size=3, random_state=2)
    sigma = turn @ np.diag([9.0, 1.0, 0.1]) @ turn.mT
    share = np.array([0.5, 0.3, 0.2])
    truth = Start(share, 9 * turn[0], _restricted(sigma, kind, share))
    found = _mixture(
        covariance_type=kind, nu=nu, init=truth.init(kind), max_iter=0, random_state=9
    ).fit(_data())
    x, label = found.sample(9000)
    assert x.shape == (9000, 3)
    assert np.array_equal(label, np.sort(label))
    np.testing.assert_allclose(np.bincount(label) / 9000, share, atol=0.02)
    law = stats.chi2(3, scale=1 / 3) if math.isinf(nu) else stats.f(3, nu)
    for k in range(3):
        factor = np.linalg.cholesky(truth.sigma[k])
        white = np.linalg.solve(factor, (x[label == k] - truth.mu[k]).T)
        length = np.linalg.norm(white, axis=0)
        assert stats.kstest(length**2 / 3, law.cdf).pvalue > 1e-3
        direction = white / length
        np.testing.assert_allclose(direction.mean(1), 0, atol=0.05)
        np.testing.assert_allclose(np.cov(direction), np.eye(3) / 3, atol=0.04)


def test_samples_are_a_function_of_the_seed() -> None:
    found = StudentTMixture(3, random_state=3).fit(_data())
    np.testing.assert_array_equal(found.sample(5)[0], found.sample(5)[0])
    with pytest.raises(ValueError, match="n_samples must be at least 1"):
        found.sample(0)


@pytest.mark.parametrize(
    "ask",
    [
        lambda mixture: mixture.predict(_data()),
        lambda mixture: mixture.predict_proba(_data()),
        lambda mixture: mixture.score_samples(_data()),
        lambda mixture: mixture.score(_data()),
        lambda mixture: mixture.sample(),
    ],
)
def test_nothing_can_be_read_before_a_fit(ask: Callable[[StudentTMixture], object]) -> None:
    with pytest.raises(NotFittedError):
        ask(StudentTMixture(3))


def test_a_pickle_keeps_the_fit_and_a_clone_only_the_settings() -> None:
    found = StudentTMixture(3, nu=np.array([2.0, 4.0, 8.0]), init=tuple(_start(_data(), "full")))
    found.fit(_data())
    copy = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(copy.predict_proba(_data()), found.predict_proba(_data()))
    fresh = clone(found)
    assert not hasattr(fresh, "means_")
    _assert_same(fresh.fit(_data()), _parameters(found), atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_tensor_is_its_values_whatever_its_precision(dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(_data(200)).to(dtype)
    array = tensor.double().numpy()
    ours, theirs = StudentTMixture(3).fit(tensor), StudentTMixture(3).fit(array)
    _assert_same(ours, _parameters(theirs), atol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(tensor), ours.predict_proba(array), atol=1e-4)
    assert isinstance(ours.predict(tensor), np.ndarray)


def test_the_data_are_left_alone() -> None:
    x = _data().astype(np.float32)
    before = x.copy()
    StudentTMixture(3).fit(x).predict(x)
    tensor = torch.from_numpy(x).requires_grad_()
    StudentTMixture(3).fit(tensor).predict(tensor)
    np.testing.assert_array_equal(x, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_kind
@pytest.mark.parametrize("nu", [math.inf, "estimate"])
def test_a_gpu_computes_the_same(kind: str, nu: float | str) -> None:
    x, weight = _data(400, 30), np.linspace(0, 2, 400)
    settings = {"covariance_type": kind, "nu": nu, "init": np.arange(400) % 3, "max_iter": 20}
    cpu, gpu = _mixture(**settings), _mixture(**settings, device="cuda")
    _unconverged(cpu, x, sample_weight=weight)
    _unconverged(gpu, x, sample_weight=weight)
    _assert_same(gpu, _parameters(cpu))
    np.testing.assert_allclose(gpu.predict_proba(x), cpu.predict_proba(x), atol=1e-8)


@pytest.mark.parametrize("nu", [math.inf, 4.0])
@pytest.mark.parametrize("few", [0, 1000])
def test_what_bounds_rule_out_cannot_be_seen_in_a_sum(
    nu: float, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten clusters most are ruled out for most rows, by common axes and by their own."""
    label = np.arange(600) % 10
    rng = np.random.default_rng(4)
    x = rng.standard_t(5, size=(600, 40)) + 2 * rng.normal(size=(10, 40))[label]
    monkeypatch.setattr(pruning, "FEW", few)
    asked = []
    complete = Full._complete

    def counted(self: Full, x: torch.Tensor, k: int, rows: torch.Tensor, *rest: Any) -> None:
        asked.append(len(rows))
        complete(self, x, k, rows, *rest)

    monkeypatch.setattr(Full, "_complete", counted)
    settings = {"nu": nu, "init": label, "shrinkage": 0.1, "dtype": "float32"}
    pruned = _unconverged(_mixture(10, max_iter=1, **settings), x)
    assert 600 <= sum(asked) < 3000
    found = pruned.score_samples(x), pruned.predict_proba(x)
    monkeypatch.setattr(pruning, "applies", lambda device: False)
    dense = _unconverged(_mixture(10, max_iter=1, **settings), x)
    _assert_same(pruned, _parameters(dense), atol=1e-5)
    np.testing.assert_allclose(found[0], dense.score_samples(x), rtol=1e-5)
    np.testing.assert_allclose(found[1], dense.predict_proba(x), atol=1e-5)


@pytest.mark.parametrize("d", [5, 128, 300])
def test_substitution_by_blocks_is_a_triangular_solve(d: int) -> None:
    rng = np.random.default_rng(d)
    factor = np.tril(rng.normal(size=(d, d))) / np.sqrt(d) + np.eye(d)
    z = rng.normal(size=(7, d))
    expected = solve_triangular(factor, z.T, lower=True).T
    found = pruning.solved(torch.tensor(z), pruning.solvable(torch.tensor(factor)))
    np.testing.assert_allclose(found, expected, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("nu", [math.inf, 4.0])
@pytest.mark.parametrize("d", [30, 70])
def test_a_step_as_a_gpu_does_it_is_the_same(
    nu: float, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight = _data(400, d), np.linspace(0, 2, 400)
    settings = {"nu": nu, "init": np.arange(400) % 3, "max_iter": 20}
    pruned = _unconverged(_mixture(**settings), x, sample_weight=weight)
    monkeypatch.setattr(pruning, "applies", lambda device: False)
    monkeypatch.setattr(pruning, "CACHED", 1 << 13)
    _assert_same(_unconverged(_mixture(**settings), x, sample_weight=weight), _parameters(pruned))


class _HostReads(TorchDispatchMode):
    """Counts the operations that make the host wait for a GPU."""

    names: ClassVar = {"_local_scalar_dense", "nonzero", "bincount", "masked_select", "_unique2"}

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in self.names
        return func(*args, **(kwargs or {}))


@every_kind
@pytest.mark.parametrize("nu", [math.inf, 4.0, "estimate"])
def test_an_iteration_as_a_gpu_does_it_never_waits_for_the_host(
    kind: str, nu: float | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "applies", lambda device: False)
    x = _data(400, 30)

    def reads(iterations: int) -> int:
        model = _mixture(covariance_type=kind, nu=nu, init=np.arange(400) % 3)
        with _HostReads() as mode:
            _unconverged(model.set_params(max_iter=iterations, tol=0.0), x)
        return mode.count

    assert reads(6) == reads(2)


# -- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": 0}, "n_components must be an integer of at least 1"),
        ({"n_components": 2.0}, "n_components must be an integer"),
        ({"max_iter": -1}, "max_iter must be an integer of at least 0"),
        ({"chunk_size": 0}, "chunk_size must be an integer of at least 1"),
        ({"covariance_type": "round"}, "covariance_type must be one of full, tied"),
        ({"init": "random"}, "init must be 'kmeans', 'k-means"),
        ({"dtype": "float16"}, "dtype must be"),
        ({"tol": -1e-3}, "tol must be a number from 0"),
        ({"tol": math.nan}, "tol must be a number from 0"),
        ({"ridge": -1e-6}, "ridge must be a number from 0"),
        ({"shrinkage": 1.1}, "shrinkage must be a number from 0 to 1"),
        ({"nu": 0.0}, "nu must be positive"),
        ({"nu": math.nan}, "nu must be positive"),
        ({"nu": [4.0, 4.0, math.inf]}, "infinite for all components or for none"),
        ({"nu": [4.0, 4.0]}, "one number or 3 numbers"),
        ({"nu": "fit"}, "a number, an array or 'estimate'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudentTMixture(**{"n_components": 3, **settings}).fit(_data())


@pytest.mark.parametrize(
    "labels",
    [np.zeros(299, int), np.full(300, 3), np.full(300, -1), np.full(300, 0.5), None],
    ids=["short", "high", "negative", "fractions", "none"],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match=r"init as labels must be \(300,\) integers in \[0, 3\)"):
        StudentTMixture(3, init=labels).fit(_data())


@every_kind
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda pi, mu, sigma: (pi[:2], mu[:2], sigma), "shapes"),
        (lambda pi, mu, sigma: (pi, mu[:, :2], sigma), "shapes"),
        (lambda pi, mu, sigma: (pi, mu, sigma[..., :2]), "shapes"),
        (lambda pi, mu, sigma: (pi, mu * np.nan, sigma), "not finite"),
        (lambda pi, mu, sigma: (pi * 2, mu, sigma), "not shares of 1"),
        (lambda pi, mu, sigma: (pi - [1, 0, -1], mu, sigma), "not shares of 1"),
    ],
    ids=["components", "dimensions", "covariances", "nan", "sum", "negative"],
)
def test_initial_parameters_that_do_not_fit_are_refused(
    kind: str, spoil: Callable[..., tuple[np.ndarray, ...]], message: str
) -> None:
    init = spoil(*_start(_data(), kind).init(kind))
    with pytest.raises(ValueError, match=f"EM cannot start.*{message}"):
        StudentTMixture(3, covariance_type=kind, init=init).fit(_data())


def test_data_that_do_not_fit_are_refused() -> None:
    found = StudentTMixture(3).fit(_data())
    with pytest.raises(ValueError, match="X has 4 features"):
        found.predict(torch.zeros(5, 4))
    spoiled = torch.from_numpy(_data())
    spoiled[3, 1] = math.nan
    with pytest.raises(ValueError, match="finite"):
        StudentTMixture(3).fit(spoiled)
    with pytest.raises(ValueError, match="floating point"):
        StudentTMixture(3).fit(torch.zeros(300, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="Negative values"):
        StudentTMixture(3).fit(_data(), sample_weight=-np.ones(300))


def _expected_failures(estimator: BaseEstimator) -> dict[str, str]:
    if estimator.n_components == 1:
        return {}
    # With equal starts weights are repeated rows: test_integer_weights_are_repeated_rows.
    reason = "k-means draws other centres from repeated rows than from weighted ones"
    return {"check_sample_weight_equivalence_on_dense_data": reason}


@parametrize_with_checks(
    [
        StudentTMixture(2),
        StudentTMixture(1, nu="estimate", init="gmm", dtype="float64", max_iter=500),
        StudentTMixture(2, nu=math.inf, covariance_type="diag", init="k-means++"),
    ],
    expected_failed_checks=_expected_failures,
)
def test_it_is_an_estimator_of_scikit_learn(
    estimator: BaseEstimator, check: Callable[[BaseEstimator], None]
) -> None:
    check(estimator)
