"""The common trainer on a method so small that what it should do can be worked out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.errors import TrialError
from bench.protocol.batches import Batch, Split
from bench.protocol.config import Config
from bench.protocol.method import Card, Method
from bench.protocol.planted import planted_dataset
from bench.protocol.prompts import Prompts
from bench.protocol.trainer import Training, train

DATA = planted_dataset()


class Point(Method):
    """One parameter that each training step moves; losses by call can be written into it."""

    card = Card(title="Point", citation="none", licence="none")

    def __init__(self, config: Config, validation: list[float] | None = None) -> None:
        super().__init__(config)
        self.planned = iter(validation or [])
        self.texts: list[str] = []
        self.rows: list[int] = []
        self.epochs: list[int] = []
        device = torch.device("cpu")
        self.model = self.build(DATA.classes, (), device)

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        return nn.ParameterDict({"at": nn.Parameter(torch.zeros(()))}).to(device)

    def start_epoch(self, epoch: int, train: Split) -> None:
        self.epochs.append(epoch)

    def loss(self, batch: Batch) -> Tensor:
        if not self.model.training:
            return torch.tensor(next(self.planned, 0.0))
        self.texts += batch.texts
        self.rows += batch.rows.tolist()
        at: Tensor = self.model["at"]
        return (at - 10) ** 2

    def score(self, images: Tensor, prompts: Prompts) -> Tensor:
        return torch.zeros(len(images), len(prompts.classes))


def _trained(
    validation: list[float] | None = None, **settings: Any
) -> tuple[Point, Training, list[dict[str, Any]]]:
    config = replace(Config.tiny(), batch_size=16, clauses="all", weight_decay=0.0, **settings)
    method = Point(config, validation)
    texts, device = DATA.reports, torch.device("cpu")
    fit = Split(DATA, np.arange(64), texts, texts, 64, device)
    held = Split(DATA, np.arange(80, 96), texts, texts, 64, device)
    log: list[dict[str, Any]] = []
    return method, train(method, fit, held, (0, 0, 0), log.append), log


def test_every_epoch_sees_every_image_in_an_order_of_its_own() -> None:
    method, outcome, _ = _trained(epochs=3)
    assert (outcome.epochs, outcome.steps) == (3, 12)
    orders = np.reshape(method.rows, (3, 64))
    assert (np.sort(orders) == np.arange(64)).all()
    assert len({tuple(order) for order in orders}) == 3
    assert method.epochs == [0, 1, 2]


def test_the_log_has_an_entry_an_epoch_with_rate_and_losses() -> None:
    _, outcome, log = _trained([3.0, 1.0], epochs=2)
    assert log == outcome.history
    assert [entry["validation"] for entry in log] == [3.0, 1.0]
    assert log[0]["loss"] > log[1]["loss"]
    assert all(entry["lr"] > 0 for entry in log)


def test_the_best_epoch_is_kept_when_asked_for() -> None:
    validation = [3.0, 1.0, 2.0, 2.0]
    best, outcome, _ = _trained(validation, epochs=4, select="best")
    assert outcome.kept_epoch == 1
    last, at_the_end, _ = _trained(validation, epochs=4, select="last")
    assert at_the_end.kept_epoch == 3
    two, _, _ = _trained(validation, epochs=2, select="last", schedule="plateau")
    again, _, _ = _trained(validation, epochs=4, select="best", schedule="plateau")
    assert torch.equal(again.model["at"], two.model["at"])
    assert not torch.equal(best.model["at"], last.model["at"])


def test_training_stops_early_after_as_many_epochs_without_a_better_one() -> None:
    _, outcome, _ = _trained([2.0, 1.0, 1.5, 1.5, 1.5, 0.5], epochs=6, early_stop=2)
    assert outcome.epochs == 5


def test_the_rate_falls_when_validation_stalls() -> None:
    _, outcome, _ = _trained([1.0] * 6, epochs=6, schedule="plateau", lr=1e-2)
    rates = [entry["lr"] for entry in outcome.history]
    # ReduceLROnPlateau with the paper's patience 2: the third epoch without a gain lowers it.
    assert rates == pytest.approx([1e-2] * 4 + [1e-3] * 2)


def test_one_cycle_rises_and_falls() -> None:
    _, outcome, _ = _trained(epochs=6, lr=1e-2)
    rates = [entry["lr"] for entry in outcome.history]
    assert max(rates) > 2 * rates[0]
    assert rates[-1] < max(rates) / 2


def test_captions_are_sampled_anew_when_some_clauses_are_asked_for() -> None:
    config = replace(Config.tiny(), batch_size=16, epochs=2, clauses="some")
    method = Point(config)
    texts, device = DATA.reports, torch.device("cpu")
    fit = Split(DATA, np.arange(64), texts, texts, 64, device)
    train(method, fit, fit, (0, 0, 0), lambda entry: None)
    assert any("no " in text for text in method.texts)
    first, second = method.texts[:64], method.texts[64:]
    assert dict(zip(method.rows[:64], first, strict=True)) != dict(
        zip(method.rows[64:], second, strict=True)
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_epoch_and_step(value: float) -> None:
    class Broken(Point):
        def loss(self, batch: Batch) -> Tensor:
            loss = super().loss(batch)
            return loss * value if len(self.rows) > 80 else loss

    method = Broken(replace(Config.tiny(), batch_size=16, epochs=2))
    texts = DATA.reports
    part = Split(DATA, np.arange(64), texts, texts, 64, torch.device("cpu"))
    with pytest.raises(TrialError, match="in epoch 1 at step 5"):
        train(method, part, part, (0, 0, 0), lambda entry: None)


def test_a_validation_loss_that_is_not_finite_stops_the_trial() -> None:
    with pytest.raises(TrialError, match="validation loss is nan after epoch 1"):
        _trained([1.0, float("nan")], epochs=3)


def test_without_validation_images_the_last_epoch_is_kept() -> None:
    method = Point(replace(Config.tiny(), batch_size=16, epochs=2, select="best"))
    texts, device = DATA.reports, torch.device("cpu")
    fit = Split(DATA, np.arange(64), texts, texts, 64, device)
    nobody = Split(DATA, np.arange(1), texts, texts, 64, device)
    outcome = train(method, fit, nobody, (0, 0, 0), lambda entry: None)
    assert outcome.kept_epoch == 1
    assert [entry["validation"] for entry in outcome.history] == [None, None]
