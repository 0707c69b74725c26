"""The metric loss on pseudo-labels: Eq. 3 of the paper over the triplets of a batch."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Reduction = Literal["mean_active", "mean", "sum"]
Mining = Literal["all", "batch_hard", "random"]


class TripletResult(NamedTuple):
    """A batch's metric loss L_m with the counts that explain it, all 0-d tensors on its device."""

    loss: Tensor
    n_triplets: Tensor
    """Triplets the loss is made of, after mining."""
    n_active: Tensor
    """Those of them with a positive hinge, i.e. with a gradient."""
    n_anchors: Tensor
    """Labelled rows that have a positive in the batch."""
    n_labelled: Tensor
    """Rows with a label."""

    def active_share(self) -> float | None:
        """Share of the triplets that have a gradient; None without triplets."""
        return _ratio(self.n_active, self.n_triplets)

    def anchor_share(self) -> float | None:
        """Share of the labelled rows that have a positive; None without labelled rows."""
        return _ratio(self.n_anchors, self.n_labelled)


def triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.2,
    reduction: Reduction = "mean_active",
    mining: Mining = "all",
    responsibilities: Tensor | None = None,
    others: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """L_m of a batch (Eq. 3), a 0-d tensor in the embeddings' dtype; see `triplet_result`."""
    return triplet_result(
        embeddings,
        labels,
        margin=margin,
        reduction=reduction,
        mining=mining,
        responsibilities=responsibilities,
        others=others,
        generator=generator,
    ).loss


def triplet_result(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.2,
    reduction: Reduction = "mean_active",
    mining: Mining = "all",
    responsibilities: Tensor | None = None,
    others: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> TripletResult:
    """L_m = sum of max(0, d(a, p) - d(a, n) + alpha) over triplets, reduced; and counts (Eq. 3).

    Args:
        embeddings: (B, d) features with gradient; the paper's d(., .) is their Euclidean distance,
            at least 1e-6 so that its gradient stays finite for equal rows.
        labels: (B,) integers: p shares a's label, n does not. A negative label takes no part.
        margin: the paper's alpha.
        reduction: divide the sum by the triplets with a positive hinge, by all, or by nothing.
        mining: every valid triplet; the farthest positive with the nearest negative of each
            anchor; or one triplet drawn uniformly for each anchor.
        responsibilities: (B, K) rows of the mixture's posterior. A triplet then counts with
            q_ap (1 - q_an), where q_ij = sum_k tau_ik tau_jk is the probability that two rows
            share a component, and `reduction` divides by the sum of these; one-hot rows give the
            hard loss. Needs mining="all".
        others: (B, d) the texts of the rows, for triplets across modalities: a is then an image,
            p and n are texts, and an image's own text is one of its positives.
        generator: source of the draws of mining="random", on the embeddings' device; None means
            torch's default one.

    Anchors without a positive or without a negative are skipped. With none left the loss is 0 and
    still part of the graph.

    Raises:
        ValueError: shapes that do not fit, an unknown option, or soft labels with mining.
    """
    _check(embeddings, labels, reduction, mining, responsibilities, others)
    if not embeddings.is_floating_point():
        raise ValueError(f"embeddings must be floating point, not {embeddings.dtype}.")
    distance = _distances(embeddings, others)
    known = labels >= 0
    pairs = known[:, None] & known
    same = labels[:, None] == labels
    other_row = torch.ones_like(pairs)
    if others is None:
        other_row.fill_diagonal_(False)
    positive, negative = pairs & same & other_row, pairs & ~same
    n_anchors, n_labelled = positive.any(1).sum(), known.sum()
    if mining != "all":
        pick = _hardest if mining == "batch_hard" else _random
        p, n = pick(distance.detach(), positive, negative, generator)
        hinge = (distance.gather(1, p) - distance.gather(1, n) + margin).clamp_min(0).squeeze(1)
        weight = (positive.any(1) & negative.any(1)).to(hinge.dtype)
    else:
        hinge = (distance[:, :, None] - distance[:, None, :] + margin).clamp_min(0)
        if responsibilities is None:
            weight = (positive[:, :, None] & negative[:, None, :]).to(hinge.dtype)
        else:
            weight = _soft_weights(responsibilities, pairs & other_row)
    active = weight * (hinge.detach() > 0)
    total = (weight * hinge).sum()
    if reduction != "sum":
        count = active.sum() if reduction == "mean_active" else weight.sum()
        total = total / torch.where(count > 0, count, 1.0)
    return TripletResult(
        total.to(embeddings.dtype), (weight > 0).sum(), (active > 0).sum(), n_anchors, n_labelled
    )


def _distances(embeddings: Tensor, others: Tensor | None) -> Tensor:
    """(B, B) Euclidean distances in float64, where the Gram form loses nothing to cancellation."""
    e = embeddings.double()
    length = e.square().sum(1)
    t, t_length = e, length
    if others is not None:
        t = others.double()
        t_length = t.square().sum(1)
    squared = length[:, None] + t_length - 2 * e @ t.mT
    return squared.clamp_min(1e-12).sqrt()


def _hardest(
    distance: Tensor, positive: Tensor, negative: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """(B, 1) columns of each anchor's farthest positive and nearest negative."""
    farthest = distance.masked_fill(~positive, -torch.inf).argmax(1, keepdim=True)
    return farthest, distance.masked_fill(~negative, torch.inf).argmin(1, keepdim=True)


def _random(
    distance: Tensor, positive: Tensor, negative: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """(B, 1) columns of one positive and one negative of each anchor, uniform among the valid."""
    draw = torch.rand((2, *distance.shape), generator=generator, device=distance.device)
    return (
        draw[0].masked_fill(~positive, -1).argmax(1, keepdim=True),
        draw[1].masked_fill(~negative, -1).argmax(1, keepdim=True),
    )


def _soft_weights(responsibilities: Tensor, partners: Tensor) -> Tensor:
    """(B, B, B) probabilities that a triplet of three rows is valid under the posterior."""
    tau = responsibilities.detach().double()
    q = (tau @ tau.mT).clamp(0, 1)
    together, apart = q * partners, (1 - q) * partners
    distinct = ~torch.eye(len(tau), dtype=torch.bool, device=tau.device)
    return together[:, :, None] * apart[:, None, :] * distinct


def _ratio(part: Tensor, whole: Tensor) -> float | None:
    return float(part) / float(whole) if float(whole) else None


def _check(
    embeddings: Tensor,
    labels: Tensor,
    reduction: str,
    mining: str,
    responsibilities: Tensor | None,
    others: Tensor | None,
) -> None:
    if others is not None and others.shape != embeddings.shape:
        raise ValueError(
            f"others must be {tuple(embeddings.shape)} like the embeddings, "
            f"not {tuple(others.shape)}."
        )
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"embeddings must be (B, d) and labels (B,), not {tuple(embeddings.shape)} "
            f"and {tuple(labels.shape)}."
        )
    if reduction not in ("mean_active", "mean", "sum"):
        raise ValueError(f"reduction must be mean_active, mean or sum, not {reduction!r}.")
    if mining not in ("all", "batch_hard", "random"):
        raise ValueError(f"mining must be all, batch_hard or random, not {mining!r}.")
    if responsibilities is None:
        return
    if mining != "all":
        raise ValueError(f"responsibilities need mining='all', not {mining!r}.")
    if responsibilities.ndim != 2 or len(responsibilities) != len(labels):
        raise ValueError(
            f"responsibilities must be (B, K) with B = {len(labels)}, "
            f"not {tuple(responsibilities.shape)}."
        )
