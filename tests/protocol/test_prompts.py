from __future__ import annotations

from bench.classes import CLASSES
from bench.protocol.captions import clause
from bench.protocol.prompts import POLICIES, prompts_digest, prompts_for


def test_the_pair_asks_for_a_class_against_its_absence() -> None:
    prompts = prompts_for("pair", ["Round(ed) Atelectasis"])
    assert (prompts.positive, prompts.negative) == (
        ("rounded atelectasis",),
        ("no rounded atelectasis",),
    )


def test_normal_is_not_asked_as_no_normal() -> None:
    assert prompts_for("pair", ["Normal"]).negative == ("abnormal",)


def test_the_positive_policy_uses_the_words_of_the_captions() -> None:
    prompts = prompts_for("positive", CLASSES)
    assert prompts.positive == tuple(clause(name) for name in CLASSES)
    assert prompts.negative is None


def test_every_policy_follows_the_order_of_the_classes() -> None:
    for policy in POLICIES:
        turned = prompts_for(policy, CLASSES[::-1])
        assert turned.positive == prompts_for(policy, CLASSES).positive[::-1]


def test_the_digest_changes_with_the_classes() -> None:
    assert prompts_digest(CLASSES) != prompts_digest(CLASSES[::-1])
