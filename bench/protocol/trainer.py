"""The trainer of every method: optimiser, schedule, early stopping and selection in one place.

Compute and selection are equal between methods because they are the same code. Selection looks at
the loss on the inner validation patients, never at the test fold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bench.errors import TrialError
from bench.protocol.batches import Split
from bench.protocol.captions import ClauseSampler
from bench.protocol.config import Config
from bench.protocol.method import Method


@dataclass
class Training:
    """What came of a training: how long it went and which epoch was kept."""

    epochs: int = 0
    steps: int = 0
    kept_epoch: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry an epoch: epoch, lr, loss, validation loss."""


def train(
    method: Method,
    train_part: Split,
    valid_part: Split,
    seed: tuple[int, ...],
    log: Callable[[dict[str, Any]], None],
) -> Training:
    """Trains `method.model` on one fold's training part; the kept epoch's weights stay in it.

    Args:
        seed: numbers that, with the epoch, decide order and augmentation of the images.
        log: called with one plain dict an epoch.

    Raises:
        TrialError: a loss is not finite; the message names the epoch and the step.
    """
    config: Config = method.config
    outcome = Training()
    optimiser = _optimiser(method)
    schedule = _Schedule(optimiser, method, max(1, len(train_part) // config.batch_size))
    words = None
    if (config.text, config.clauses) == ("meta", "some"):
        data = train_part.dataset
        words = ClauseSampler(data.labels, data.mask, data.classes)
    best, since_best = math.inf, 0
    kept: dict[str, torch.Tensor] | None = None
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for epoch in range(config.epochs):
        rate = optimiser.param_groups[0]["lr"]
        method.model.train()
        method.start_epoch(epoch, train_part)
        rng = np.random.default_rng((*seed, epoch))
        total, batches = 0.0, 0
        for batch in train_part.batches(
            config.batch_size, rng, order=method.order(rng), shift=config.shift, words=words
        ):
            optimiser.zero_grad(set_to_none=True)
            loss = method.loss(batch)
            value = loss.item()
            if not math.isfinite(value):
                raise TrialError(
                    f"The loss is {value} in epoch {epoch} at step {outcome.steps} of the trial. "
                    "A smaller lr usually mends it (--set lr=...)."
                )
            loss.backward()
            if config.clip_gradient is not None:
                torch.nn.utils.clip_grad_norm_(parameters, config.clip_gradient)
            optimiser.step()
            schedule.after_step()
            outcome.steps += 1
            total, batches = total + value, batches + 1
        validation = _validation_loss(method, valid_part, config.batch_size, seed)
        if validation is not None and not math.isfinite(validation):
            raise TrialError(
                f"The validation loss is {validation} after epoch {epoch}, step {outcome.steps}. "
                "A smaller lr usually mends it (--set lr=...)."
            )
        schedule.after_epoch(validation)
        entry = {"epoch": epoch, "lr": rate, "loss": total / batches, "validation": validation}
        outcome.history.append(entry)
        log(entry)
        outcome.epochs = epoch + 1
        if validation is not None and validation < best:
            best, since_best = validation, 0
            outcome.kept_epoch = epoch
            if config.select == "best":
                kept = {key: value.clone() for key, value in method.model.state_dict().items()}
        else:
            since_best += 1
        if config.early_stop is not None and since_best > config.early_stop:
            break
    if kept is not None:
        method.model.load_state_dict(kept)
    else:
        outcome.kept_epoch = outcome.epochs - 1
    return outcome


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


@torch.no_grad()
def _validation_loss(method: Method, part: Split, size: int, seed: tuple[int, ...]) -> float | None:
    """Mean loss over the validation part in one fixed order; None when it has under two images."""
    if len(part) < 2:
        return None
    method.model.eval()
    # One shuffle for all epochs: neighbours in the file share a patient and would be each other's
    # hardest negatives.
    rng = np.random.default_rng((*seed, 2**31))
    values = [method.loss(batch).item() for batch in part.batches(size, rng)]
    return float(np.mean(values))
