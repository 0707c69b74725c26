"""One optimisation step: ordinary, in bfloat16, and recorded, which is seen on the CPU as well."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.protocol import step as step_module
from bench.protocol.batches import Batch, Split
from bench.protocol.captions import meta_captions
from bench.protocol.graphed import Body, Graphed, Inputs, recorder
from bench.protocol.method import Method
from bench.protocol.planted import planted_dataset
from bench.protocol.step import Step
from methods._tokens import LENGTHS
from methods.chexzero import CheXzero
from methods.cxrcml import CxrCml

DATA = planted_dataset()
CAPTIONS = meta_captions(DATA.labels, DATA.mask, DATA.classes)
CPU = torch.device("cpu")
# What a recording cannot hold: numbers asked of tensors, shapes made of values, host memory.
_UNRECORDABLE = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "lift_fresh")


def _part() -> Split:
    rows = np.flatnonzero([bool(caption) for caption in CAPTIONS])
    return Split(DATA, rows, CAPTIONS, CAPTIONS, 32, CPU)


def _built(cls: type[Method] = CheXzero, seed: int = 0, **settings: Any) -> Any:
    settings = {"schedule": "plateau", "clauses": "all", "lr": 1e-3, **settings}
    config = replace(cls.Config.tiny(), text="meta", **settings)
    torch.manual_seed(seed)
    method = cls(config)
    method.model = method.build(DATA.classes, CAPTIONS, CPU)
    method.model.train()
    method.start_epoch(0, _part())
    return method


def _batches(count: int = 5) -> list[Batch]:
    """Batches of one shape: a clause an image."""
    batches = list(_part().batches(8, np.random.default_rng(0)))[:count]
    return [replace(b, texts=[text.split(", ")[0] for text in b.texts]) for b in batches]


class Tape:
    """Records on the CPU as a GPU does: nothing runs until it is played, and inputs stay put."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, body: Body, inputs: Inputs) -> tuple[Callable[[], object], Tensor]:
        self.recorded += 1
        result = torch.zeros(())
        return lambda: result.copy_(body(inputs)), result


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Tape:
    tape = Tape()
    monkeypatch.setattr(step_module, "recorder", lambda device: lambda: tape)
    return tape


class Watch(TorchDispatchMode):
    """Names of the operations that a recording cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(name in str(func) for name in _UNRECORDABLE):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_loss_is_changed_by_no_later_step() -> None:
    method = _built()
    step = Step(method, 5)
    losses = [step(batch) for batch in _batches()]
    kept = [float(loss) for loss in losses]
    step(_batches()[0])
    assert [float(loss) for loss in losses] == kept
    assert len(set(kept)) == 5


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (CheXzero, {}),
        (CheXzero, {"max_scale": None}),
        (CxrCml, {"n_clusters": 4}),
        (CxrCml, {"n_clusters": 4, "soft": True}),
        (CxrCml, {"n_clusters": 4, "mining": "batch_hard", "distance": "image-text"}),
        (CxrCml, {"groups": "label_sets"}),
        (CxrCml, {"warm_up": 1}),
    ],
)
def test_the_loss_on_the_device_is_the_loss(cls: type[Method], settings: dict[str, Any]) -> None:
    method = _built(cls, **settings)
    for batch in _batches(3):
        inputs = method.inputs(batch)
        with Watch() as watch:
            found = method.loss_of(inputs)
        assert watch.seen == []
        torch.testing.assert_close(found, method.loss(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (CheXzero, {"equal_texts": "shared"}),
        (CxrCml, {"clustering": "batch", "n_clusters": 4}),
        (CxrCml, {"recipe": "authors-2025-02"}),
    ],
)
def test_a_loss_that_needs_the_host_is_not_recorded(
    cls: type[Method], settings: dict[str, Any], tape: Tape
) -> None:
    method = _built(cls, **settings)
    step = Step(method, 5)
    for batch in _batches(3):
        step(batch)
    assert tape.recorded == 0


def test_recorded_steps_come_to_what_ordinary_ones_do(
    tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, ordinary = _built(), _built()
    step = Step(recorded, 5)
    monkeypatch.setattr(step_module, "recorder", lambda device: None)
    other = Step(ordinary, 5)
    batches = _batches() * 2
    found = torch.stack([step(batch) for batch in batches])
    torch.testing.assert_close(found, torch.stack([other(b) for b in batches]), atol=1e-4, rtol=0)
    assert tape.recorded == 1


def test_a_rate_that_falls_is_read_by_what_was_recorded_before(tape: Tape) -> None:
    method = _built(plateau_patience=0, plateau_factor=0.0)
    step = Step(method, 5)
    for batch in _batches(3):
        step(batch)
    step.after_epoch(1.0)
    step.after_epoch(1.0)
    assert step.rate == 0.0
    before = {name: value.clone() for name, value in method.model.named_parameters()}
    step(_batches()[0])
    assert tape.recorded == 1
    assert all(torch.equal(value, before[name]) for name, value in method.model.named_parameters())


def test_an_epoch_records_anew_what_it_was_told(tape: Tape) -> None:
    method = _built(CxrCml, n_clusters=4, warm_up=1)
    step = Step(method, 5)
    batches = _batches()
    for batch in batches[:3]:
        step(batch)
    method.start_epoch(1, _part())
    step.start_epoch()
    found = [float(step(batch)) for batch in batches[3:]]
    assert tape.recorded == 2
    step.start_epoch()
    step(batches[0])
    assert tape.recorded == 3
    assert np.isfinite(found).all()
    assert method.diagnostics()["metric_loss"][1]["with_positive"] is not None


def test_a_recorded_training_goes_on_from_its_state(tape: Tape) -> None:
    first, batches = _built(), _batches()
    step = Step(first, 5)
    for batch in batches[:3]:
        step(batch)
    step.after_epoch(1.0)
    second = _built(seed=1)
    other = Step(second, 5)
    second.model.load_state_dict(first.model.state_dict())
    kept = io.BytesIO()
    torch.save(step.state_dict(), kept)
    kept.seek(0)
    other.load_state_dict(torch.load(kept, weights_only=True))
    for batch in batches[3:]:
        torch.testing.assert_close(step(batch), other(batch), atol=1e-6, rtol=0)


class Own(CheXzero):
    """A loss of a subclass's own, which the parent's recording would not know."""

    def loss(self, batch: Batch) -> Tensor:
        return super().loss(batch) * 0


def test_what_a_class_says_of_its_loss_is_not_true_of_a_subclass(tape: Tape) -> None:
    step = Step(_built(Own), 5)
    assert [float(step(batch)) for batch in _batches(3)] == [0.0] * 3
    assert tape.recorded == 0


@pytest.mark.parametrize("settings", [{"schedule": "one_cycle"}, {"optimiser": "sgd"}])
def test_what_a_recording_would_freeze_is_not_recorded(
    settings: dict[str, Any], tape: Tape
) -> None:
    step = Step(_built(**settings), 5)
    for batch in _batches(3):
        step(batch)
    assert tape.recorded == 0


def test_nothing_is_recorded_on_the_cpu() -> None:
    assert recorder(CPU) is None


def test_each_shape_is_recorded_once_and_the_first_call_is_ordinary() -> None:
    tape, calls = Tape(), []

    def body(inputs: Inputs) -> Tensor:
        calls.append(inputs["a"].shape)
        return inputs["a"].sum()

    graphed = Graphed(body, lambda: tape)
    results = [graphed({"a": torch.full((n,), float(n))}) for n in (2, 3, 2, 3, 2)]
    assert [float(result) for result in results] == [4, 9, 4, 9, 4]
    assert tape.recorded == 2
    graphed.forget()
    graphed({"a": torch.ones(2)})
    assert tape.recorded == 3


def test_texts_are_padded_to_few_lengths_without_changing_their_embeddings() -> None:
    method = _built()
    texts: Sequence[str] = list(dict.fromkeys(CAPTIONS))[:6]
    long = ", ".join(["hernia is present"] * 40)
    for some in (texts[:1], texts, [*texts, long]):
        padded = method._tokens.padded(list(some))
        assert padded.shape[1] in LENGTHS
        torch.testing.assert_close(
            method.model.encode_text(padded), method.encode_text(list(some)), atol=1e-6, rtol=0
        )


def test_bfloat16_is_near_float32_and_leaves_weights_and_scores_in_it() -> None:
    exact, rough = _built(), _built(precision="bfloat16")
    batches = _batches() * 4
    steps = Step(exact, 5), Step(rough, 5)
    losses = torch.tensor([[float(step(batch)) for step in steps] for batch in batches])
    assert not torch.equal(losses[:, 0], losses[:, 1])
    assert float((losses[:, 0] - losses[:, 1]).abs().max()) < 0.05
    assert {value.dtype for value in rough.model.parameters()} == {torch.float32}
    assert rough.embed(batches[0].images).dtype == torch.float32


def test_precision_is_part_of_a_trial_and_not_of_those_before_it() -> None:
    config = CheXzero.Config.tiny()
    assert "precision" not in config.as_dict()
    assert replace(config, precision="bfloat16").as_dict()["precision"] == "bfloat16"
