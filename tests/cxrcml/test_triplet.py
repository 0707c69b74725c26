"""Tests of the metric loss against triple loops, pytorch-metric-learning and a stored oracle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import AvgNonZeroReducer, MeanReducer, SumReducer
from torch import Tensor

from cxrcml import triplet_loss, triplet_result

with np.load(Path(__file__).parent.parent / "fixtures" / "cxrcml.npz") as _arrays:
    ORACLE = {key[4:]: torch.from_numpy(_arrays[key]) for key in _arrays if key[:4] == "tri/"}

REDUCTIONS: tuple[Any, ...] = ("mean_active", "mean", "sum")

every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)
both_minings = pytest.mark.parametrize("mining", ["all", "batch_hard"])
some_batches = pytest.mark.parametrize("seed", range(3))


def _batch(seed: int, rows: int = 14, clusters: int = 4) -> tuple[Tensor, Tensor]:
    """Unit float64 embeddings with gradient, and labels of which some are -1."""
    generator = torch.Generator().manual_seed(seed)
    e = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, clusters, (rows,), generator=generator)
    return torch.nn.functional.normalize(e).requires_grad_(), labels


def _value(loss: Tensor) -> float:
    return loss.detach().item()


def _triplets(labels: list[int]) -> list[tuple[int, int, int]]:
    """Every anchor with every positive and every negative."""
    rows = [i for i, label in enumerate(labels) if label >= 0]
    return [
        (a, p, n)
        for a in rows
        for p in rows
        for n in rows
        if a != p and labels[a] == labels[p] and labels[a] != labels[n]
    ]


def _mined(e: np.ndarray, labels: list[int], mining: str) -> list[tuple[int, int, int]]:
    triplets = _triplets(labels)
    if mining == "all":
        return triplets
    hardest = []
    for anchor in sorted({a for a, _, _ in triplets}):
        own = [(p, n) for a, p, n in triplets if a == anchor]
        far = max((p for p, _ in own), key=lambda p: np.linalg.norm(e[anchor] - e[p]))
        near = min((n for _, n in own), key=lambda n: np.linalg.norm(e[anchor] - e[n]))
        hardest.append((anchor, far, near))
    return hardest


def _hinges(e: np.ndarray, triplets: list[tuple[int, int, int]], margin: float) -> np.ndarray:
    def distance(i: int, j: int) -> float:
        return float(np.linalg.norm(e[i] - e[j]))

    return np.array([max(0.0, distance(a, p) - distance(a, n) + margin) for a, p, n in triplets])


def _reduced(hinges: np.ndarray, reduction: str, weight: np.ndarray | float = 1.0) -> float:
    weight = np.broadcast_to(weight, hinges.shape)
    total = float((weight * hinges).sum())
    if reduction == "sum":
        return total
    count = weight[hinges > 0].sum() if reduction == "mean_active" else weight.sum()
    return total / count if count else 0.0


# -- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mining", "reduction", "expected"),
    [
        ("all", "sum", "all_sum"),
        ("all", "mean", "all_mean"),
        ("all", "mean_active", "all_mean_nonzero"),
        ("batch_hard", "sum", "batch_hard_sum"),
        ("batch_hard", "mean", "batch_hard_mean"),
    ],
)
def test_losses_are_the_oracles(mining: str, reduction: str, expected: str) -> None:
    margin = float(ORACLE["alpha"])
    settings: dict[str, Any] = {"margin": margin, "reduction": reduction, "mining": mining}
    loss = triplet_loss(ORACLE["E"], ORACLE["c"], **settings)
    assert _value(loss) == pytest.approx(float(ORACLE[expected]), abs=1e-8)
    single = triplet_loss(ORACLE["E"].float(), ORACLE["c"], **settings)
    assert single.dtype == torch.float32
    assert _value(single) == pytest.approx(float(ORACLE[expected]), rel=1e-4)


def test_counts_are_the_oracles() -> None:
    result = triplet_result(ORACLE["E"], ORACLE["c"], margin=float(ORACLE["alpha"]))
    assert result.n_triplets == ORACLE["n"]
    assert result.n_active == ORACLE["n_active"]
    hard = triplet_result(ORACLE["E"], ORACLE["c"], mining="batch_hard")
    assert hard.n_triplets == ORACLE["anchors_used"]


@some_batches
@both_minings
@every_reduction
@pytest.mark.parametrize("margin", [0.05, 1.0])
def test_losses_are_those_of_a_triple_loop(
    seed: int, mining: Any, reduction: Any, margin: float
) -> None:
    e, labels = _batch(seed)
    result = triplet_result(e, labels, margin=margin, reduction=reduction, mining=mining)
    values = e.detach().numpy()
    hinges = _hinges(values, _mined(values, labels.tolist(), mining), margin)
    assert _value(result.loss) == pytest.approx(_reduced(hinges, reduction), abs=1e-12)
    assert result.n_triplets == len(hinges)
    assert result.n_active == (hinges > 0).sum()


@some_batches
@both_minings
@pytest.mark.parametrize(
    ("reduction", "reducer"),
    [("mean_active", AvgNonZeroReducer), ("mean", MeanReducer), ("sum", SumReducer)],
)
def test_losses_and_gradients_are_those_of_pytorch_metric_learning(
    seed: int, mining: Any, reduction: Any, reducer: type
) -> None:
    e, labels = _batch(seed)
    labels = labels + 1  # for them every row has a class
    distance = LpDistance(normalize_embeddings=False)
    theirs = TripletMarginLoss(margin=0.2, distance=distance, reducer=reducer())
    pairs = BatchHardMiner(distance=distance)(e, labels) if mining == "batch_hard" else None
    expected = theirs(e, labels, pairs)
    loss = triplet_loss(e, labels, reduction=reduction, mining=mining)
    torch.testing.assert_close(loss, expected, atol=1e-10, rtol=1e-10)
    ours, others = (torch.autograd.grad(value, e)[0] for value in (loss, expected))
    torch.testing.assert_close(ours, others, atol=1e-8, rtol=1e-8)


@both_minings
@every_reduction
def test_gradients_are_those_of_finite_differences(mining: Any, reduction: Any) -> None:
    e, labels = _batch(1, rows=7, clusters=2)
    assert torch.autograd.gradcheck(
        lambda x: triplet_loss(x, labels, mining=mining, reduction=reduction), e
    )


@both_minings
@every_reduction
def test_names_of_labels_and_order_of_rows_do_not_matter(mining: Any, reduction: Any) -> None:
    e, labels = _batch(2)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    renamed = torch.where(labels < 0, -7, 100 - 9 * labels)
    loss = triplet_loss(e, labels, mining=mining, reduction=reduction)
    other = triplet_loss(e[order], renamed[order], mining=mining, reduction=reduction)
    torch.testing.assert_close(loss, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_loss_keeps_the_precision_of_the_embeddings(dtype: torch.dtype) -> None:
    e, labels = _batch(3)
    e = e.detach().to(dtype).requires_grad_()
    loss = triplet_loss(e, labels)
    loss.backward()
    assert loss.dtype == e.grad.dtype == dtype
    torch.testing.assert_close(loss.double(), triplet_loss(e.double(), labels), atol=0, rtol=1e-2)


# -- batches with little to learn from -----------------------------------------------------------


@pytest.mark.parametrize("mining", ["all", "batch_hard", "random"])
@pytest.mark.parametrize(
    "labels", [[0, 1, 2, 3], [1, 1, 1, 1], [-1, -1, -1, -1], [0, -1, 1, -1], [2, 2, -1, -1]]
)
def test_a_batch_without_triplets_gives_zero_with_a_graph(labels: list[int], mining: Any) -> None:
    for reduction in REDUCTIONS:
        e = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
        result = triplet_result(e, torch.tensor(labels), mining=mining, reduction=reduction)
        assert result.loss == result.n_triplets == result.n_active == 0
        assert result.active_share() is None
        result.loss.backward()
        assert torch.equal(e.grad, torch.zeros(4, 3))


@pytest.mark.parametrize("mining", ["all", "batch_hard", "random"])
def test_rows_without_a_label_take_no_part(mining: Any) -> None:
    e, labels = _batch(4)
    known = labels >= 0
    assert 0 < known.sum() < len(labels)
    if mining == "random":  # a draw depends on the size of the batch
        assert torch.autograd.grad(triplet_loss(e, labels, mining=mining), e)[0][~known].eq(0).all()
        return
    whole = triplet_result(e, labels, mining=mining)
    torch.testing.assert_close(whole, triplet_result(e[known], labels[known], mining=mining))
    assert torch.autograd.grad(whole.loss, e)[0][~known].eq(0).all()


@pytest.mark.parametrize("mining", ["all", "batch_hard", "random"])
def test_equal_embeddings_have_a_finite_gradient(mining: Any) -> None:
    e = torch.ones(6, 4, requires_grad=True)
    loss = triplet_loss(e, torch.tensor([0, 0, 0, 1, 1, 1]), mining=mining)
    loss.backward()
    assert _value(loss) == pytest.approx(0.2)
    assert torch.isfinite(e.grad).all()


def test_counts_tell_labelled_rows_from_anchors() -> None:
    e, labels = torch.eye(6), torch.tensor([0, 0, 1, 2, 2, -1])
    result = triplet_result(e, labels)
    assert (int(result.n_labelled), int(result.n_anchors)) == (5, 4)
    assert result.anchor_share() == 0.8
    # All distances are equal, so every hinge is the margin: 4 anchors, 1 positive, 3 negatives.
    assert (int(result.n_triplets), result.active_share()) == (12, 1.0)
    assert triplet_result(e, torch.full((6,), -1)).anchor_share() is None


def test_triplets_that_are_far_enough_are_counted_and_not_active() -> None:
    e = torch.tensor([[0.0], [0.1], [9.0], [9.1]])
    result = triplet_result(e, torch.tensor([0, 0, 1, 1]))
    assert (int(result.n_triplets), int(result.n_active), _value(result.loss)) == (8, 0, 0.0)
    assert result.active_share() == 0.0


# -- random mining -------------------------------------------------------------------------------


@pytest.mark.parametrize("own_generator", [True, False])
def test_random_mining_draws_uniformly_among_the_valid(own_generator: bool) -> None:
    """With the axes as embeddings the gradient tells the triplets.

    A positive pair (a, p) leaves -1/sqrt(2) at [a, p] and at [p, a], a negative pair the opposite.
    """
    labels = torch.tensor([0, 0, 0, 1, 1, 2, -1])
    generator = torch.Generator().manual_seed(3) if own_generator else None
    torch.manual_seed(4)
    e, draws = torch.eye(7, dtype=torch.float64, requires_grad=True), 800
    total = torch.zeros(7, 7, dtype=torch.float64)
    for _ in range(draws):
        loss = triplet_loss(e, labels, mining="random", reduction="sum", generator=generator)
        total += torch.autograd.grad(loss, e)[0]
    drawn = (total * math.sqrt(2) / draws).fill_diagonal_(0)
    chance = torch.zeros(7, 7, dtype=torch.float64)
    for a, p, n in _triplets(labels.tolist()):
        own = [(i, j) for x, i, j in _triplets(labels.tolist()) if x == a]
        chance[a, p] -= 1 / len(own)
        chance[a, n] += 1 / len(own)
    chance += chance.mT.clone()
    # Two draws a pair: the deviation is at most sqrt(2 / 4 / 800) = 0.025.
    torch.testing.assert_close(drawn, chance, atol=5 * 0.025, rtol=0)
    assert torch.equal(drawn == 0, chance == 0)


def test_random_mining_takes_one_triplet_of_each_anchor() -> None:
    e, labels = _batch(6)
    anchors = {a for a, _, _ in _triplets(labels.tolist())}
    result = triplet_result(e, labels, mining="random", margin=9.0)
    assert result.n_triplets == result.n_active == len(anchors)


def test_without_a_generator_the_draws_are_torchs_own() -> None:
    e, labels = _batch(7)
    torch.manual_seed(5)
    default = [_value(triplet_loss(e, labels, mining="random")) for _ in range(4)]
    generator = torch.Generator().manual_seed(5)
    own = [_value(triplet_loss(e, labels, mining="random", generator=generator)) for _ in range(4)]
    assert default == own
    assert len(set(own)) == 4


# -- soft labels ---------------------------------------------------------------------------------


@some_batches
@every_reduction
def test_one_hot_responsibilities_are_hard_labels(seed: int, reduction: Any) -> None:
    e, labels = _batch(seed)
    tau = torch.nn.functional.one_hot(labels.clamp_min(0), 4).float()
    hard = triplet_result(e, labels, reduction=reduction)
    soft = triplet_result(e, labels, reduction=reduction, responsibilities=tau)
    torch.testing.assert_close(soft, hard)


@some_batches
@every_reduction
def test_soft_weights_are_those_of_a_triple_loop(seed: int, reduction: Any) -> None:
    e, labels = _batch(seed, rows=9)
    generator = torch.Generator().manual_seed(seed)
    tau = torch.rand(9, 4, generator=generator, dtype=torch.float64)
    tau /= tau.sum(1, keepdim=True)
    rows = [i for i, label in enumerate(labels.tolist()) if label >= 0]
    triplets = [(a, p, n) for a in rows for p in rows for n in rows if len({a, p, n}) == 3]
    q = (tau @ tau.mT).numpy()
    weight = np.array([q[a, p] * (1 - q[a, n]) for a, p, n in triplets])
    hinges = _hinges(e.detach().numpy(), triplets, 0.2)
    soft = triplet_result(e, labels, reduction=reduction, responsibilities=tau)
    assert _value(soft.loss) == pytest.approx(_reduced(hinges, reduction, weight), abs=1e-12)
    assert (int(soft.n_triplets), int(soft.n_active)) == (len(triplets), (hinges > 0).sum())


def test_two_rows_make_no_soft_triplet() -> None:
    """A row cannot be positive and negative of the same anchor at once."""
    tau = torch.full((2, 2), 0.5)
    result = triplet_result(torch.eye(2), torch.tensor([0, 1]), responsibilities=tau)
    assert result.loss == result.n_triplets == 0


def test_responsibilities_get_no_gradient() -> None:
    e, labels = _batch(8)
    tau = torch.full((len(labels), 4), 0.25, requires_grad=True)
    triplet_loss(e, labels, responsibilities=tau).backward()
    assert tau.grad is None
    assert e.grad.abs().sum() > 0


# -- across modalities ----------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean_active", "mean", "sum"])
@pytest.mark.parametrize("soft", [False, True])
def test_triplets_across_modalities_are_those_of_a_triple_loop(reduction: Any, soft: bool) -> None:
    generator = torch.Generator().manual_seed(4)
    images, texts = torch.randn(2, 9, 5, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1, 1, 2, -1, 0, 2])
    tau = torch.softmax(torch.randn(9, 3, generator=generator, dtype=torch.float64), 1)
    q = tau @ tau.T
    total = count = active = 0.0
    for a in range(9):
        for p in range(9):
            for n in range(9):
                if p == n or min(labels[a], labels[p], labels[n]) < 0:
                    continue
                valid = float(labels[a] == labels[p] and labels[a] != labels[n])
                weight = float(q[a, p] * (1 - q[a, n])) if soft else valid
                hinge = float((images[a] - texts[p]).norm() - (images[a] - texts[n]).norm()) + 0.2
                count += weight
                active += weight * (hinge > 0)
                total += weight * max(hinge, 0.0)
    expected = total / {"mean_active": active, "mean": count, "sum": 1.0}[reduction]
    loss = triplet_loss(
        images,
        labels,
        others=texts,
        reduction=reduction,
        responsibilities=tau if soft else None,
    )
    assert float(loss) == pytest.approx(expected)


def test_an_images_own_text_is_a_positive_of_it() -> None:
    x = torch.eye(3)
    result = triplet_result(x, torch.arange(3), others=x, margin=2.0)
    assert (int(result.n_triplets), int(result.n_anchors)) == (6, 3)
    assert float(result.loss) == pytest.approx(2.0 - 2**0.5, abs=1e-5)


# -- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"labels \(B,\)"),
        ({"embeddings": torch.zeros(4)}, r"embeddings must be \(B, d\)"),
        ({"embeddings": torch.zeros(4, 2, dtype=torch.int64)}, "floating point"),
        ({"reduction": "median"}, "reduction must be mean_active, mean or sum, not 'median'"),
        ({"mining": "semi"}, "mining must be all, batch_hard or random, not 'semi'"),
        ({"responsibilities": torch.ones(3, 2)}, r"\(B, K\) with B = 4"),
        ({"responsibilities": torch.ones(4)}, r"\(B, K\) with B = 4"),
        ({"responsibilities": torch.ones(4, 2), "mining": "batch_hard"}, "need mining='all'"),
        ({"others": torch.ones(3, 2)}, r"others must be \(4, 2\)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changed: dict[str, Any], message: str) -> None:
    arguments = {"embeddings": torch.zeros(4, 2), "labels": torch.tensor([0, 0, 1, 1]), **changed}
    with pytest.raises(ValueError, match=message):
        triplet_result(**arguments)
