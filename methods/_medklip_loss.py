"""MedKLIP's objective: does each entity exist, and where (MediaBrain-SJTU/MedKLIP@8e60b03).

Upstream's labels are (positions x entities) matrices made by RadGraph from reports: 1 present, 0
absent, -1 not mentioned. Labels without positions train the first term alone, which is upstream's
own switch `no_cl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

EXCLUDED = (
    "pneumonia",
    "infiltrate",
    "mass",
    "nodule",
    "emphysema",
    "fibrosis",
    "thicken",
    "hernia",
)
"""Entities that upstream's switch `exclude_class` leaves out of both terms; fibrosis is none."""
CANDIDATES = 8
_NOT_ASKED = -1


class Positions(NamedTuple):
    """What the position term compares."""

    decoded: Tensor
    """(B, Q, w): `MedKlipNet.positions` of the decoded queries."""
    book: Tensor
    """(P, w) text vectors of the positions."""
    candidates: Tensor
    """(B, Q, K) int64 rows of the book; the first is a true position, where there is one."""


class Losses(NamedTuple):
    """The objective and its terms, scalars."""

    total: Tensor
    existence: Tensor
    position: Tensor


def objective(
    logits: Tensor,
    labels: Tensor,
    positions: Positions | None = None,
    keep: Sequence[int] | None = None,
) -> Losses:
    """The sum of both terms; without `positions` (`no_cl`) the second is 0.

    Args:
        logits: (B, Q, 2), absent and present.
        labels: (B, Q); 1 present, 0 absent, anything else is not asked.
        keep: the queries that count (`kept`); None = all.
    """
    if keep is not None:
        chosen = torch.tensor(keep, device=logits.device)
        logits, labels = logits[:, chosen], labels[:, chosen]
        if positions is not None:
            decoded, candidates = positions.decoded[:, chosen], positions.candidates[:, chosen]
            positions = Positions(decoded, positions.book, candidates)
    known = (labels == 0) | (labels == 1)
    existence = _mean_cross_entropy(logits, torch.where(known, labels, _NOT_ASKED))
    position = torch.zeros((), device=logits.device)
    if positions is not None:
        rows = positions.book[positions.candidates]
        similarity = torch.einsum("bqkw,bqw->bqk", rows, positions.decoded)
        position = _mean_cross_entropy(similarity, torch.where(labels == 1, 0, _NOT_ASKED))
    return Losses(existence + position, existence, position)


def kept(entities: Sequence[str]) -> list[int]:
    """Places of the entities that `exclude_class` keeps."""
    return [place for place, name in enumerate(entities) if name not in EXCLUDED]


def existence_labels(adjacency: Tensor) -> Tensor:
    """(B, Q) labels of (B, P, Q) matrices: 1 if any position has it, else 0 if any denies it, -1.

    >>> existence_labels(torch.tensor([[[0, -1, 0], [1, -1, 0]]]))
    tensor([[ 1, -1,  0]])
    """
    present, absent = (adjacency == 1).any(1), (adjacency == 0).any(1)
    return torch.where(present, 1, torch.where(absent, 0, -1))


def draw_candidates(adjacency: Tensor) -> Tensor:
    """(B, Q, 8) positions to tell apart, drawn from torch's generator, of (B, P, Q) matrices.

    The first is a true position of an entity that has one, the others are positions that are not
    true of it, each at most once. Upstream takes these seven from the whole matrix, so that they
    repeat and may be true ones themselves.
    """
    true = (adjacency == 1).transpose(1, 2)
    keys = torch.rand(true.shape, device=adjacency.device)
    order = torch.where(true, keys + 1, keys).argsort(-1)  # false ones first, both in random order
    first = torch.where(true.any(-1), order[..., -1], order[..., CANDIDATES - 1])
    return torch.cat([first.unsqueeze(-1), order[..., : CANDIDATES - 1]], -1)


def _mean_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the (B, Q) targets that are asked; 0 with a graph, and not NaN, when none is."""
    flat, wanted = logits.flatten(0, 1), target.flatten().long()
    total = F.cross_entropy(flat, wanted, ignore_index=_NOT_ASKED, reduction="sum")
    return total / (wanted != _NOT_ASKED).sum().clamp(min=1)
