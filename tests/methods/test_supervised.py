"""The supervised reference: the tower of the CLIP-type methods, told the labels."""

from __future__ import annotations

import math

import pytest
import torch

from bench.errors import MethodError
from bench.protocol.method import find_method
from bench.protocol.planted import planted_dataset
from bench.protocol.prompts import prompts_for
from methods.supervised import Supervised
from tests.methods.trained import losses_of, part_of

CLASSES = ("Edema", "Hernia", "Normal")
CPU = torch.device("cpu")


def built(preset: str = "tiny") -> Supervised:
    method = Supervised(Supervised.Config.of_preset(preset))
    method.model = method.build(CLASSES, (), CPU)
    return method


def test_it_starts_at_a_coins_loss_and_learns() -> None:
    method = built()
    losses = losses_of(method)
    assert losses[0] == pytest.approx(math.log(2), abs=0.2)
    assert losses[-1] < losses[0] - 0.05


def test_its_image_tower_is_that_of_the_clip_type_methods() -> None:
    """Same shapes, so that the ceiling is the tower's and not another network's."""
    chexzero = find_method("chexzero").cls
    clip = chexzero(chexzero.Config.tiny())
    theirs = clip.build(CLASSES, ("edema is present",), CPU).clip.visual.state_dict()  # type: ignore[attr-defined]
    ours = built().model["image"].state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_prompts_are_not_read() -> None:
    method = built()
    method.model.eval()
    images = next(part_of(planted_dataset(), 0, 8).images())
    with torch.no_grad():
        pair, positive = (
            method.score(images, prompts_for(policy, CLASSES)) for policy in ("pair", "positive")
        )
        swapped = method.score(images, prompts_for("pair", CLASSES[::-1]))
    assert torch.equal(pair, positive)
    assert torch.equal(swapped, pair.flip(1))


def test_a_class_it_was_not_built_with_is_refused() -> None:
    images = next(part_of(planted_dataset(), 0, 8).images())
    with pytest.raises(MethodError, match="not for Azygos Lobe"):
        built().score(images, prompts_for("pair", ("Edema", "Azygos Lobe")))


def test_the_paper_preset_has_the_vision_transformer() -> None:
    method = built("paper")
    assert sum(p.numel() for p in method.model["image"].parameters()) > 80e6
    assert method.embed(torch.zeros(2, 1, 64, 64, dtype=torch.uint8)).shape == (2, 512)
