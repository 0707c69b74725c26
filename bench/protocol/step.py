"""One optimisation step: loss, gradient, optimiser and learning rate, the same for every method.

On a GPU the whole of it is one CUDA graph where the method says that its loss needs nothing of the
host (`Method.loss_on_device`); elsewhere it is the same operations one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from bench.protocol.batches import Batch
from bench.protocol.config import Config
from bench.protocol.graphed import Graphed, recorder
from bench.protocol.method import Method


class Step:
    """What a batch does to a method's model; holds the optimiser and the schedule."""

    def __init__(self, method: Method, steps_per_epoch: int) -> None:
        self._method = method
        self._device = next(method.model.parameters()).device
        recording = recorder(self._device) if _recordable(method) else None
        self._graphed = None if recording is None else Graphed(self._step_of, recording)
        self._optimiser = _optimiser(method, self._device, recorded=recording is not None)
        self._schedule = _Schedule(self._optimiser, method, steps_per_epoch)
        self._parameters = [p for g in self._optimiser.param_groups for p in g["params"]]

    @property
    def rate(self) -> float:
        """The learning rate of the next step; of the first group where groups differ."""
        return float(self._optimiser.param_groups[0]["lr"])

    def __call__(self, batch: Batch) -> Tensor:
        """Trains on a batch and returns its loss, a detached scalar that no later step changes."""
        inputs = None if self._graphed is None else self._method.inputs(batch)
        if self._graphed is None or inputs is None:
            loss = self._update(lambda: self._method.loss(batch))
        else:
            loss = self._graphed(inputs)
        self._schedule.after_step()
        return loss

    def start_epoch(self) -> None:
        """Called after the method's `start_epoch`, which may have changed what its loss does."""
        if self._graphed is not None:
            self._graphed.forget()

    def _step_of(self, inputs: dict[str, Tensor]) -> Tensor:
        return self._update(lambda: self._method.loss_of(inputs))

    def _update(self, loss_of: Callable[[], Tensor]) -> Tensor:
        self._optimiser.zero_grad(set_to_none=True)
        with self._precision():
            loss = loss_of()
        loss.backward()
        clip = self._method.config.clip_gradient
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, clip)
        self._optimiser.step()
        return loss.detach()

    def _precision(self) -> Any:
        if self._method.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)

    def after_epoch(self, validation: float | None) -> None:
        """Tells the schedule the validation loss of an epoch."""
        self._schedule.after_epoch(validation)

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on besides the model: optimiser and schedule."""
        return {
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])


def _recordable(method: Method) -> bool:
    """Whether steps can be recorded: one-cycle moves the betas, which a recording keeps."""
    config = method.config
    return (
        type(method).__dict__.get("loss_on_device", False)
        and config.optimiser == "adamw"
        and config.schedule != "one_cycle"
    )


def _optimiser(method: Method, device: torch.device, *, recorded: bool) -> torch.optim.Optimizer:
    config, groups = method.config, method.parameter_groups()
    if recorded:
        # A recording reads the rate from where the schedule writes it.
        return torch.optim.AdamW(
            groups,
            lr=torch.tensor(config.lr, device=device),
            weight_decay=config.weight_decay,
            fused=True,
            capturable=device.type == "cuda",
        )
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            groups, lr=config.lr, momentum=0.9, weight_decay=config.weight_decay, fused=True
        )
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)


class _Schedule:
    """The learning rate over training: by step, falling when validation stalls, or constant."""

    def __init__(self, optimiser: torch.optim.Optimizer, method: Method, steps: int) -> None:
        schedulers = torch.optim.lr_scheduler
        config: Config = method.config
        self._by_step: torch.optim.lr_scheduler.LRScheduler | None = None
        self._plateau: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        self._left = max(2, steps * config.epochs) - 1
        if config.schedule == "one_cycle":
            self._by_step = schedulers.OneCycleLR(
                optimiser, max_lr=config.lr, total_steps=self._left + 1
            )
        elif config.schedule == "own":
            self._by_step = schedulers.LambdaLR(
                optimiser, lambda step: method.rate(step, steps) / config.lr
            )
        elif config.schedule == "plateau":
            self._plateau = schedulers.ReduceLROnPlateau(
                optimiser, factor=config.plateau_factor, patience=config.plateau_patience
            )

    def after_step(self) -> None:
        if self._by_step is not None and self._left > 0:
            self._by_step.step()
            self._left -= 1

    def after_epoch(self, validation: float | None) -> None:
        if self._plateau is not None and validation is not None:
            self._plateau.step(validation)

    def state_dict(self) -> dict[str, Any]:
        return {
            "left": self._left,
            "by_step": None if self._by_step is None else self._by_step.state_dict(),
            "plateau": None if self._plateau is None else self._plateau.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._left = state["left"]
        if self._by_step is not None:
            self._by_step.load_state_dict(state["by_step"])
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])
