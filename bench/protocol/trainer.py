"""The trainer of every method: schedule, early stopping and selection in one place.

Compute and selection are equal between methods because they are the same code. Selection looks at
the loss on the inner validation patients, never at the test fold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.errors import TrialError
from bench.protocol.batches import Split
from bench.protocol.captions import ClauseSampler
from bench.protocol.config import Config
from bench.protocol.method import Method
from bench.protocol.step import Step

# Reading a loss waits for the GPU. A step later than the one that went wrong costs nothing there,
# since the trial fails anyway; on the CPU every loss is read at once.
_READ_EVERY = {"cuda": 100}
_ADVICE = "A smaller lr usually mends it (--set lr=...)."


@dataclass
class Training:
    """What came of a training: how long it went and which epoch was kept."""

    epochs: int = 0
    steps: int = 0
    kept_epoch: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry an epoch: epoch, lr, loss, validation loss."""


class Resume(Protocol):
    """Where the state of a training is kept, so that it can be gone on with."""

    def load(self) -> dict[str, Any] | None:
        """The state that was kept last, on the device it came from; None to start anew."""

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Called after every epoch; `state()` gives what is to be kept, of tensors and plain
        values, and the next epoch changes it."""


def train(
    method: Method,
    train_part: Split,
    valid_part: Split,
    seed: tuple[int, ...],
    log: Callable[[dict[str, Any]], None],
    resume: Resume | None = None,
) -> Training:
    """Trains `method.model` on one fold's training part; the kept epoch's weights stay in it.

    Args:
        seed: numbers that, with the epoch, decide order and augmentation of the images.
        log: called with one plain dict an epoch, those before an interruption first.
        resume: keeps the training's state; one that was interrupted goes on after the last epoch
            that was kept, and comes to the same as without the interruption (on the CPU to the
            bit).

    Raises:
        TrialError: a loss is not finite; the message names the epoch and the step.
    """
    config: Config = method.config
    step = Step(method, max(1, len(train_part) // config.batch_size))
    words = None
    if (config.text, config.clauses) == ("meta", "some"):
        data = train_part.dataset
        words = ClauseSampler(data.labels, data.mask, data.classes)
    outcome, selection = Training(), _Selection()
    before = None if resume is None else resume.load()
    if before is not None:
        outcome = _restore(before, method, step, selection, train_part.device)
    for entry in outcome.history:
        log(entry)
    for epoch in range(outcome.epochs, config.epochs):
        if config.early_stop is not None and selection.since_best > config.early_stop:
            break
        rate = step.rate
        method.model.train()
        method.start_epoch(epoch, train_part)
        step.start_epoch()
        rng = np.random.default_rng((*seed, epoch))
        losses = _Losses(epoch, outcome.steps, _READ_EVERY.get(train_part.device.type, 1))
        for batch in train_part.batches(
            config.batch_size, rng, order=method.order(rng), shift=config.shift, words=words
        ):
            losses.add(step(batch))
        outcome.steps += losses.count
        loss = losses.mean()
        validation = _validation_loss(method, valid_part, config.batch_size, seed)
        if validation is not None and not math.isfinite(validation):
            raise TrialError(
                f"The validation loss is {validation} after epoch {epoch}, step {outcome.steps}. "
                + _ADVICE
            )
        step.after_epoch(validation)
        entry = {"epoch": epoch, "lr": rate, "loss": loss, "validation": validation}
        outcome.history.append(entry)
        log(entry)
        outcome.epochs = epoch + 1
        if selection.look(validation, epoch) and config.select == "best":
            selection.keep(method)
        if resume is not None:
            resume.offer(lambda: _state(method, step, outcome, selection, train_part.device))
    if selection.weights is not None:
        method.model.load_state_dict(selection.weights)
    outcome.kept_epoch = outcome.epochs - 1 if selection.weights is None else selection.epoch
    return outcome


class _Losses:
    """The losses of an epoch, looked at every few steps."""

    def __init__(self, epoch: int, before: int, every: int) -> None:
        """
        Args:
            before: steps of the training before this epoch.
        """
        self.count = 0
        self._epoch, self._before, self._every = epoch, before, every
        self._unread: list[Tensor] = []
        self._total = 0.0

    def add(self, loss: Tensor) -> None:
        """Raises TrialError when one that is read now is not finite."""
        self._unread.append(loss.reshape(()))
        self.count += 1
        if len(self._unread) >= self._every:
            self._read()

    def mean(self) -> float:
        self._read()
        return self._total / self.count

    def _read(self) -> None:
        first = self._before + self.count - len(self._unread)
        values = torch.stack(self._unread).tolist() if self._unread else []
        self._unread.clear()
        for place, value in enumerate(values):
            if not math.isfinite(value):
                raise TrialError(
                    f"The loss is {value} in epoch {self._epoch} at step {first + place} of the "
                    f"trial. {_ADVICE}"
                )
            self._total += value


@dataclass
class _Selection:
    """The best epoch so far, and for how many there was no better one."""

    best: float = math.inf
    since_best: int = 0
    epoch: int | None = None
    weights: dict[str, Tensor] | None = None
    """Of the best epoch; only where the best one is scored."""

    def look(self, validation: float | None, epoch: int) -> bool:
        """Whether the epoch is the best one so far."""
        if validation is None or validation >= self.best:
            self.since_best += 1
            return False
        self.best, self.since_best, self.epoch = validation, 0, epoch
        return True

    def keep(self, method: Method) -> None:
        self.weights = {key: value.clone() for key, value in method.model.state_dict().items()}


def _state(
    method: Method, step: Step, outcome: Training, selection: _Selection, device: torch.device
) -> dict[str, Any]:
    """All that the epochs to come depend on; order and augmentation follow from seed and epoch."""
    return {
        "model": method.model.state_dict(),
        "method": method.state_dict(),
        "step": step.state_dict(),
        "outcome": vars(outcome),
        "selection": vars(selection),
        "generator": torch.get_rng_state(),
        "device_generator": _device_generator(device),
    }


def _restore(
    state: dict[str, Any],
    method: Method,
    step: Step,
    selection: _Selection,
    device: torch.device,
) -> Training:
    """Puts method, step and generators back to where `_state` was taken; the training so far.

    Raises:
        TrialError: the state does not fit the method, whose code has changed since.
    """
    try:
        method.model.load_state_dict(state["model"])
        method.load_state_dict(state["method"])
        step.load_state_dict(state["step"])
        vars(selection).update(state["selection"])
        outcome = Training(**state["outcome"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TrialError(
            f"The state of the interrupted training does not fit {type(method).__name__} any "
            f"more ({error}). Run again: the trial then starts over."
        ) from error
    # Last, so that nothing above has drawn from them.
    torch.set_rng_state(state["generator"])
    if state["device_generator"] is not None:
        torch.cuda.set_rng_state(state["device_generator"], device)
    return outcome


def _device_generator(device: torch.device) -> Tensor | None:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@torch.no_grad()
def _validation_loss(method: Method, part: Split, size: int, seed: tuple[int, ...]) -> float | None:
    """Mean loss over the validation part in one fixed order; None when it has under two images."""
    if len(part) < 2:
        return None
    method.model.eval()
    # One shuffle for all epochs: neighbours in the file share a patient and would be each other's
    # hardest negatives.
    rng = np.random.default_rng((*seed, 2**31))
    values = torch.stack([method.loss(batch).reshape(()) for batch in part.batches(size, rng)])
    return float(np.mean(values.tolist()))
