"""The metric loss of the authors' snapshot, against what its description says of small cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cxrcml import positive_pairs, soft_labels, soft_pair_loss


def _unit(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(x, dim=1)


def _clusters(sizes: list[int]) -> np.ndarray:
    """Unit rows in tight clusters of these sizes around orthogonal directions."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.eye(8)[: len(sizes)], sizes, axis=0) + 0.01 * rng.normal(size=(sum(sizes), 8))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_soft_labels_are_shares_that_tell_clusters_apart() -> None:
    labels = soft_labels(_clusters([12, 10, 6, 3, 1]), seed=0)
    assert labels.shape == (32, 5)
    np.testing.assert_allclose(labels.sum(1), 1)
    assert len(set(labels.argmax(1))) == 5


def test_soft_labels_are_a_function_of_the_seed() -> None:
    x = np.random.default_rng(1).normal(size=(16, 8))
    np.testing.assert_array_equal(soft_labels(x, seed=3), soft_labels(x, seed=3))


def test_equal_images_are_no_reason_to_fail() -> None:
    assert np.isfinite(soft_labels(np.ones((12, 4)) / 2, seed=0)).all()


def test_only_an_image_alone_in_its_cluster_has_a_positive() -> None:
    one_hot = np.eye(3)[[0, 0, 1, 2]]
    expected = np.zeros((4, 4), bool)
    expected[2, 2] = expected[3, 3] = True
    np.testing.assert_array_equal(positive_pairs(one_hot), expected)


def test_pairs_that_are_no_majority_of_their_row_are_cut() -> None:
    soft = np.array([[0.9, 0.1], [0.1, 0.9]])
    # Row sums of S S^T are 0.82 + 0.18: the image itself keeps 0.82.
    np.testing.assert_array_equal(positive_pairs(soft), np.eye(2, dtype=bool))


def test_the_loss_is_one_hinge_on_two_means_over_all_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (_unit(torch.randn(6, 4, generator=generator)) for _ in range(2))
    positive = torch.eye(6, dtype=torch.bool)
    temperature = torch.tensor(0.05)
    near = far = 0.0
    for i in range(6):
        for j in range(6):
            d = 0.05 * math.dist(images[i].tolist(), texts[j].tolist())
            near, far = (near + d, far) if i == j else (near, far + d)
    near, far = near / 36, far / 36
    expected = max(0.0, near - far + 0.3 * (1 + math.exp(-near)))
    result = soft_pair_loss(images, texts, positive, temperature)
    assert float(result.loss) == pytest.approx(expected, rel=1e-5)
    assert (float(result.is_active), int(result.n_positive)) == (1.0, 6)


def test_a_large_temperature_switches_the_hinge_off() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (_unit(torch.randn(6, 4, generator=generator)) for _ in range(2))
    result = soft_pair_loss(images, texts, torch.eye(6, dtype=torch.bool), torch.tensor(14.0))
    assert (float(result.loss), float(result.is_active)) == (0.0, 0.0)


def test_equal_image_and_text_have_a_finite_gradient() -> None:
    images = _unit(torch.ones(3, 4)).requires_grad_()
    result = soft_pair_loss(images, images.detach(), torch.eye(3).bool(), torch.tensor(1.0))
    result.loss.backward()
    assert images.grad is not None
    assert bool(images.grad.isfinite().all())
