"""The common prompt policies, fixed before any result was looked at.

`pair` (headline) asks "{}" against "no {}", as CheXzero does; `positive` asks "{} is present",
the words of the meta captions. Normal is asked against "abnormal".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.classes import spelled
from bench.protocol.captions import absence, clause

Policy = Literal["pair", "positive", "own"]
POLICIES: tuple[Policy, ...] = ("pair", "positive")
"""The common ones; `own` is the zero-shot procedure of a method's authors, where it declares one.
Under `own` the texts are those of `positive`, for a method to start from."""
HEADLINE: Policy = "pair"


@dataclass(frozen=True)
class Prompts:
    """What is asked of every class: a positive text and, under `pair`, a negative one."""

    policy: Policy
    classes: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...] | None


def prompts_for(policy: Policy, classes: Sequence[str]) -> Prompts:
    """The prompts of a policy in the order of `classes`.

    >>> prompts_for("pair", ["Edema", "Normal"])
    Prompts(policy='pair', classes=('Edema', 'Normal'), positive=('edema', 'normal'), \
negative=('no edema', 'abnormal'))
    """
    names = tuple(classes)
    if policy != "pair":
        return Prompts(policy, names, tuple(clause(name) for name in names), None)
    negative = tuple(absence(name) for name in names)
    return Prompts(policy, names, tuple(spelled(name) for name in names), negative)


def prompts_digest(classes: Sequence[str]) -> str:
    """Twelve hex digits that change when any prompt of any policy does."""
    asked = [
        [p.positive, p.negative] for p in (prompts_for(policy, classes) for policy in POLICIES)
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]
