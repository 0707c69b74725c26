"""Tests of how embeddings become pseudo-labels, epoch after epoch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from cxrcml import PseudoLabelConfig, PseudoLabeller, StudentTMixture, class_purity
from cxrcml.pseudo_labels import label_churn, label_set_nmi, principal_components

K = 6


def _planted(n: int = 600, d: int = 32, noise: float = 0.12) -> tuple[Tensor, np.ndarray]:
    """Unit embeddings around six directions, the last of which is rare, and whose each is."""
    rng = np.random.default_rng((11, n, d))
    share = np.array([0.3, 0.25, 0.2, 0.13, 0.1, 0.02])
    label = rng.choice(K, n, p=share)
    axes = np.linalg.qr(rng.normal(size=(d, K)))[0].T
    x = axes[label] + noise / math.sqrt(d) * rng.standard_t(4, size=(n, d))
    return torch.nn.functional.normalize(torch.from_numpy(x).float()), label


def _diffuse(epoch: int, n: int = 800, d: int = 10) -> Tensor:
    """One cloud without clusters that moves a little every epoch: labels are arbitrary cuts."""
    base = np.random.default_rng(12).normal(size=(n, d))
    step = np.random.default_rng((13, epoch)).normal(size=(n, d))
    return torch.from_numpy(base + 0.05 * step).float()


def _labeller(seed: int = 0, **settings: Any) -> PseudoLabeller:
    return PseudoLabeller(PseudoLabelConfig(**{"n_components": K, "pca": 8, **settings}), seed=seed)


# -- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["auto", "full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("init", ["k-means++", "kmeans"])
@pytest.mark.parametrize("seed", range(2))
def test_labels_recover_planted_clusters(covariance: Any, init: Any, seed: int) -> None:
    x, planted = _planted()
    found = _labeller(seed, covariance=covariance, init=init)(x)
    assert adjusted_rand_score(planted, found.labels) > 0.99


def test_labels_are_the_components_of_highest_responsibility() -> None:
    found = _labeller()(_planted()[0])
    assert found.labels.dtype == torch.int64
    assert found.responsibilities.shape == (600, K)
    assert torch.equal(found.labels, found.responsibilities.argmax(1))
    torch.testing.assert_close(found.responsibilities.sum(1), torch.ones(600))


@pytest.mark.parametrize("gmm_rows", [50_000, 300])
def test_labels_are_a_function_of_the_seed_and_the_calls(gmm_rows: int) -> None:
    one, same, other = (_labeller(seed, gmm_rows=gmm_rows) for seed in (0, 0, 1))
    for epoch in range(2):
        x = _diffuse(epoch)
        first, second = one(x), same(x)
        assert torch.equal(first.labels, second.labels)
        assert first.diagnostics == second.diagnostics
        assert not torch.equal(first.labels, other(x).labels)


def test_arrays_and_tensors_of_any_precision_are_taken() -> None:
    x, _ = _planted()
    expected = _labeller()(x).labels
    assert torch.equal(_labeller()(x.numpy()).labels, expected)
    assert torch.equal(_labeller()(x.double().requires_grad_()).labels, expected)
    assert adjusted_rand_score(_labeller()(x.half()).labels, expected) > 0.99


def test_normalised_embeddings_are_compared_by_direction_alone() -> None:
    x, _ = _planted()
    length = torch.linspace(1, 9, len(x))[:, None]
    assert torch.equal(_labeller()(x * length).labels, _labeller()(x).labels)
    raw = _labeller(normalise=False)
    assert not torch.equal(raw(x * length).labels, _labeller(normalise=False)(x).labels)


def test_infinite_nu_keeps_the_gaussian_mixture() -> None:
    x, _ = _planted()
    found = _labeller(nu=math.inf, covariance="full")(x)
    z = principal_components(x, 8)
    gaussian = StudentTMixture(K, nu=math.inf, init="k-means++").fit(z)
    assert np.array_equal(found.labels, gaussian.predict(z))
    assert found.diagnostics["t_iterations"] == 0
    assert found.diagnostics["gmm_iterations"] == gaussian.n_iter_


def test_without_t_iterations_the_gaussian_mixture_is_scored_with_eq_2() -> None:
    x = _diffuse(0)
    found = _labeller(t_iters=0, covariance="full", normalise=False)(x)
    z = principal_components(x, 8).double().numpy()
    gmm = StudentTMixture(K, nu=math.inf, init="k-means++").fit(z.astype(np.float32))
    density = [
        np.log(pi) + stats.multivariate_t.logpdf(z, mu, sigma, 4.0)
        for pi, mu, sigma in zip(gmm.weights_, gmm.means_, gmm.covariances_, strict=True)
    ]
    assert found.diagnostics["t_iterations"] == 0
    assert np.mean(np.argmax(density, axis=0) == found.labels.numpy()) > 0.999
    assert not np.array_equal(found.labels, gmm.predict(z))


def test_the_t_mixture_is_refined_from_the_gaussian_one() -> None:
    found = _labeller(t_iters=3, tol=0.0, gmm_iters=5)(_diffuse(0))
    assert found.diagnostics["gmm_iterations"] == 5
    assert found.diagnostics["t_iterations"] == 3


def test_many_rows_are_all_labelled_although_the_start_sees_a_part() -> None:
    x, planted = _planted(3000)
    found = _labeller(gmm_rows=400)(x)
    assert len(found.labels) == sum(found.diagnostics["occupancy"]) == 3000
    assert adjusted_rand_score(planted, found.labels) > 0.99


# -- from epoch to epoch -------------------------------------------------------------------------


def _mean_churn(seed: int, gmm_rows: int, *, warm_start: bool) -> float:
    labeller = _labeller(seed, gmm_rows=gmm_rows, warm_start=warm_start, pca=None, normalise=False)
    churns = [labeller(_diffuse(epoch)).diagnostics["churn"] for epoch in range(4)]
    assert churns[0] is None
    return float(np.mean(churns[1:]))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("gmm_rows", [50_000, 400])
def test_a_warm_start_lowers_churn(seed: int, gmm_rows: int) -> None:
    cold = _mean_churn(seed, gmm_rows, warm_start=False)
    assert _mean_churn(seed, gmm_rows, warm_start=True) < 0.5 * cold


@pytest.mark.parametrize("gmm_rows", [50_000, 500])
def test_a_saved_state_goes_on_as_if_nothing_had_happened(gmm_rows: int) -> None:
    whole, resumed = _labeller(gmm_rows=gmm_rows), _labeller(gmm_rows=gmm_rows)
    whole(_diffuse(0))
    resumed.load_state_dict(whole.state_dict())
    one, other = whole(_diffuse(1)), resumed(_diffuse(1))
    assert torch.equal(one.labels, other.labels)
    assert one.diagnostics == other.diagnostics
    assert one.diagnostics["churn"] is not None
    assert not torch.equal(one.labels, _labeller(gmm_rows=gmm_rows)(_diffuse(1)).labels)


def test_another_number_of_rows_starts_anew() -> None:
    labeller = _labeller()
    labeller(_diffuse(0))
    found = labeller(_diffuse(1)[:700])
    assert found.diagnostics["churn"] is None
    assert torch.equal(found.labels, _labeller()(_diffuse(1)[:700]).labels)


def test_a_warm_start_survives_clusters_that_have_run_empty() -> None:
    labeller = _labeller()
    labeller.load_state_dict({"labels": torch.arange(800) % 2})
    found = labeller(_diffuse(0))
    assert found.diagnostics["reseeded"] >= K - 2
    assert found.diagnostics["empty_clusters"] == 0


def test_churn_is_the_share_that_moved_whatever_the_names() -> None:
    before = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
    after = np.array([5, 5, 5, 3, 3, 4, 4, 4, 4, 4])  # only the sixth has left its group
    assert label_churn(before, after) == pytest.approx(0.1)
    assert label_churn(after, before) == pytest.approx(0.1)
    rename = np.random.default_rng(0).permutation(6)
    assert label_churn(rename[before], after) == pytest.approx(0.1)
    assert label_churn(before, before + 7) == 0.0


def test_two_clusters_that_merge_are_not_renamed_into_one() -> None:
    assert label_churn(np.array([0, 0, 0, 1]), np.zeros(4, int)) == pytest.approx(0.25)
    assert label_churn(np.zeros(4, int), np.array([0, 0, 0, 1])) == pytest.approx(0.25)


def test_churn_of_one_cluster_is_zero() -> None:
    labeller = _labeller(n_components=1)
    labeller(_diffuse(0))
    assert labeller(_diffuse(1)).diagnostics["churn"] == 0.0


# -- diagnostics ---------------------------------------------------------------------------------


@pytest.mark.parametrize("nu", [4.0, math.inf])
def test_diagnostics_add_up(nu: float) -> None:
    x, planted = _planted()
    found = _labeller(nu=nu)(x, planted)
    told = found.diagnostics
    counts = np.bincount(found.labels, minlength=K)
    assert told["occupancy"] == sorted(counts.tolist(), reverse=True)
    assert sum(told["occupancy"]) == len(x)
    assert told["empty_clusters"] == (counts == 0).sum()
    top = found.responsibilities.max(1).values.double().mean()
    assert told["mean_top_responsibility"] == pytest.approx(float(top))
    assert told["nmi"] == pytest.approx(normalized_mutual_info_score(planted, found.labels))
    assert (told["dimensions"], told["covariance"], told["churn"]) == (8, "full", None)


def test_clusters_nobody_is_in_are_counted() -> None:
    """Two points cannot fill three clusters: two of the three are the same."""
    x = torch.eye(2).repeat_interleave(20, 0)
    told = _labeller(n_components=3, pca=None)(x).diagnostics
    assert told["occupancy"] == [20, 20, 0]
    assert told["empty_clusters"] == 1


def test_the_log_likelihood_told_is_that_of_the_space_of_the_mixture() -> None:
    x = _diffuse(0)
    told = _labeller(n_components=1, t_iters=500, tol=1e-7, pca=3, shrinkage=0.0)(x).diagnostics
    z = PCA(3).fit_transform(torch.nn.functional.normalize(x).double().numpy())
    alone = StudentTMixture(1, shrinkage=0, tol=1e-7, max_iter=500, dtype="float64").fit(z)
    assert told["log_likelihood"] == pytest.approx(alone.score(z), abs=1e-3)


def test_nmi_is_scikit_learns_with_label_sets_as_classes() -> None:
    rng = np.random.default_rng(3)
    labels, sets = rng.integers(0, 5, 200), rng.integers(0, 2, (200, 3))
    codes = sets @ [4, 2, 1]
    expected = normalized_mutual_info_score(codes, labels)
    assert label_set_nmi(labels, codes) == pytest.approx(expected)
    assert label_set_nmi(labels, sets) == pytest.approx(expected)
    assert label_set_nmi(labels, torch.from_numpy(sets)) == pytest.approx(expected)
    assert label_set_nmi(codes, sets) == pytest.approx(1)


# -- reduction and covariance --------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_scores_are_those_of_pca_with_the_largest_loading_positive(offset: float) -> None:
    rng = np.random.default_rng(4)
    x = (rng.normal(size=(500, 12)) * np.linspace(3, 0.3, 12) + offset).astype(np.float32)
    pca = PCA(5).fit(x.astype(np.float64))
    largest = pca.components_[range(5), np.abs(pca.components_).argmax(1)]
    expected = pca.transform(x.astype(np.float64)) * np.sign(largest)
    np.testing.assert_allclose(principal_components(torch.from_numpy(x), 5), expected, atol=1e-3)


def test_no_more_components_than_dimensions_are_kept() -> None:
    x = _diffuse(0)
    z = principal_components(x, 64)
    assert z.shape == x.shape
    torch.testing.assert_close(torch.cdist(z[:9], z[:9]), torch.cdist(x[:9], x[:9]))
    told = _labeller(pca=64)(x).diagnostics
    assert told["dimensions"] == 10


def test_scores_of_many_rows_do_not_depend_on_the_blocks() -> None:
    """The scatter is summed over blocks of 16,384 rows."""
    x = torch.randn(20_000, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7)
    turned = torch.cat([x[10_000:], x[:10_000]])
    z, other = principal_components(x, 3), principal_components(turned, 3)
    torch.testing.assert_close(torch.cat([other[10_000:], other[:10_000]]), z, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("rows", "pca", "expected"),
    [(240, 8, "full"), (239, 8, "diag"), (240, None, "diag"), (1000, None, "diag")],
)
def test_auto_is_full_with_pca_and_five_rows_a_component_and_dimension(
    rows: int, pca: int | None, expected: str
) -> None:
    told = _labeller(pca=pca)(_planted(rows)[0]).diagnostics
    assert told["covariance"] == expected


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_a_covariance_asked_for_is_used(covariance: Any) -> None:
    told = _labeller(covariance=covariance)(_planted(100)[0]).diagnostics
    assert told["covariance"] == covariance


# -- arguments -----------------------------------------------------------------------------------


def test_embeddings_that_do_not_fit_are_refused() -> None:
    x, planted = _planted()
    spoiled = x.clone()
    spoiled[0, 0] = math.nan
    for bad in (x[0], spoiled):
        with pytest.raises(ValueError, match=r"embeddings must be \(N, d\) finite numbers"):
            _labeller()(bad)
    with pytest.raises(ValueError, match="5 rows cannot hold n_components=6"):
        _labeller()(x[:5])
    with pytest.raises(ValueError, match="599 label sets for 600 rows"):
        _labeller()(x, planted[1:])


def test_a_setting_of_the_mixture_reaches_it() -> None:
    config = PseudoLabelConfig(n_components=K, pca=8)
    for setting, value in {"shrinkage": 2.0, "ridge": -1.0, "nu": 0.0, "tol": -1.0}.items():
        with pytest.raises(ValueError, match=setting):
            PseudoLabeller(replace(config, **{setting: value}), seed=0)(_diffuse(0))


def test_purity_of_a_class_is_that_of_the_pairs_its_images_are_in() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, -1])
    positive = np.array([[1, 1, 0, 1, 0, 1, 1], [0, 0, 0, 0, 0, 1, 0]], bool).T
    # Images 0 and 1 meet each other and image 2, image 3 meets image 4; image 5 is alone.
    expected = [2 / 5, np.nan]
    np.testing.assert_allclose(class_purity(labels, positive), expected)


def test_purity_of_random_clusters_is_the_prevalence() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random((20_000, 2)) < [0.3, 0.05]
    purity = class_purity(rng.integers(0, 40, 20_000), positive)
    np.testing.assert_allclose(purity, [0.3, 0.05], rtol=0.1)
