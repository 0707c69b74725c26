"""The data as the EM loop sees it: centred blocks of rows, never a second copy of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Block(NamedTuple):
    """Consecutive rows of the data in working precision, the data's centre subtracted."""

    start: int
    x: Tensor
    """(c, d)."""
    weight: Tensor | None
    """(c,) float64 sample weights; None means one each."""


class Rows:
    """An (n, d) matrix read in blocks, centred so that float32 products lose nothing to an offset.

    `x` stays as it was given (any float dtype, any device, no copy); every block is centred and
    cast when it is read. Parameters of a mixture live in these centred coordinates, float64.
    """

    def __init__(
        self,
        x: Tensor,
        *,
        dtype: torch.dtype,
        weight: Tensor | None = None,
        chunk: int | None = None,
    ) -> None:
        self.x = x
        self.dtype = dtype
        self.weight = weight
        self.n, self.d = x.shape
        self.chunk = chunk or _default_chunk(self.d, x.device)
        self.total = (
            torch.tensor(float(self.n), dtype=torch.float64, device=x.device)
            if weight is None
            else weight.sum()
        )
        # A mass below which there is not one row: weights that are shares make it less than 1.
        self.one_row = (
            torch.ones_like(self.total)
            if weight is None
            else (self.total / (weight > 0).sum()).clamp_max(1.0)
        )
        precision = torch.promote_types(x.dtype, torch.float32)
        self.centre = torch.zeros(self.d, dtype=precision, device=x.device)

    def centre_on_mean(self) -> Tensor:
        """(d,) float64 weighted variances, after moving the centre to the weighted mean."""
        self.centre = torch.zeros_like(self.centre)
        total = sum((_weighted_sum(b.x, b.weight) for b in self.blocks(torch.float64)), start=0.0)
        self.centre = (total / self.total).to(self.centre.dtype)
        squares = sum(
            (_weighted_sum(b.x.square(), b.weight) for b in self.blocks(torch.float64)), start=0.0
        )
        return squares / self.total

    def blocks(self, dtype: torch.dtype | None = None) -> Iterator[Block]:
        """Every row once, in order."""
        dtype = dtype or self.dtype
        # Sums in float64 gain nothing from large blocks, and several of them live at a time.
        step = self.chunk if dtype == torch.float32 else max(1, self.chunk // 4)
        for start in range(0, self.n, step):
            stop = min(start + step, self.n)
            x = (self.x[start:stop] - self.centre).to(dtype)
            yield Block(start, x, None if self.weight is None else self.weight[start:stop])


def _weighted_sum(x: Tensor, weight: Tensor | None) -> Tensor:
    return x.sum(0) if weight is None else weight @ x


def _default_chunk(d: int, device: torch.device) -> int:
    """Rows per block: groups large enough for the matrix products, small beside the data."""
    budget = 1 << (21 if device.type == "cpu" else 24)
    return max(1024, min(budget // d, 16_384 if device.type == "cpu" else 65_536))
