"""One optimisation step: loss, gradient, optimiser and learning rate, the same for every method."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.protocol.batches import Batch
from bench.protocol.config import Config
from bench.protocol.method import Method


class Step:
    """What a batch does to a method's model; holds the optimiser and the schedule."""

    def __init__(self, method: Method, steps_per_epoch: int) -> None:
        self._method = method
        self._optimiser = _optimiser(method)
        self._schedule = _Schedule(self._optimiser, method, steps_per_epoch)
        self._parameters = [p for g in self._optimiser.param_groups for p in g["params"]]

    @property
    def rate(self) -> float:
        """The learning rate of the next step; of the first group where groups differ."""
        return float(self._optimiser.param_groups[0]["lr"])

    def __call__(self, batch: Batch) -> Tensor:
        """Trains on a batch and returns its loss, a detached scalar that no later step changes."""
        self._optimiser.zero_grad(set_to_none=True)
        loss = self._method.loss(batch)
        loss.backward()
        clip = self._method.config.clip_gradient
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, clip)
        self._optimiser.step()
        self._schedule.after_step()
        return loss.detach()

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


def _optimiser(method: Method) -> torch.optim.Optimizer:
    config, groups = method.config, method.parameter_groups()
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
