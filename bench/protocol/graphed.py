"""A training step recorded once as a CUDA graph, and replayed without Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Inputs = dict[str, Tensor]
Body = Callable[[Inputs], Tensor]
Recorder = Callable[[Body, Inputs], tuple[Callable[[], object], Tensor]]
"""Records a body on inputs that stay where they are: what runs it again, and where it then leaves
its result. Recording runs nothing."""


class Graphed:
    """A function of tensors that is recorded for every shape of its inputs.

    The first call of a shape is an ordinary one, in which libraries choose their kernels and an
    optimiser makes its state; the second records.
    """

    def __init__(self, body: Body, recorder: Callable[[], Recorder]) -> None:
        self._body, self._recorder, self._record = body, recorder, recorder()
        self._seen: set[Any] = set()
        self._recorded: dict[Any, tuple[Inputs, Callable[[], object], Tensor]] = {}

    def __call__(self, inputs: Inputs) -> Tensor:
        """The scalar that the body gives, which no later call changes."""
        shape = tuple((name, value.shape, value.dtype) for name, value in sorted(inputs.items()))
        if shape not in self._seen:
            self._seen.add(shape)
            return _apart(self._body, inputs)
        if shape not in self._recorded:
            own = {name: value.clone() for name, value in inputs.items()}
            self._recorded[shape] = (own, *self._record(self._body, own))
        own, replay, result = self._recorded[shape]
        for name, value in inputs.items():
            own[name].copy_(value)
        replay()
        return result.clone()

    def forget(self) -> None:
        """Records anew from now on: what the body reads besides its inputs may have moved."""
        self._recorded.clear()
        # Memory shared by recordings cannot be taken up again once none of them is left.
        self._record = self._recorder()


def recorder(device: torch.device) -> Callable[[], Recorder] | None:
    """Makes what records on a device; None where nothing can."""
    return _cuda_recorder if device.type == "cuda" else None


def _cuda_recorder() -> Recorder:
    # All graphs share their memory: they run one at a time, and what one leaves is copied at once.
    pool = torch.cuda.graph_pool_handle()

    def record(body: Body, inputs: Inputs) -> tuple[Callable[[], object], Tensor]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            result = body(inputs)
        return graph.replay, result

    return record


def _apart(body: Body, inputs: Inputs) -> Tensor:
    """The body on a stream of its own, as CUDA asks of what is recorded later."""
    if not next(iter(inputs.values())).is_cuda:
        return body(inputs)
    here, apart = torch.cuda.current_stream(), torch.cuda.Stream()
    apart.wait_stream(here)
    with torch.cuda.stream(apart):
        result = body(inputs)
    here.wait_stream(apart)
    return result
