"""What MedCLIP reads in a step and is asked in its own way: sentences of one finding, with labels.

Upstream draws one sentence of a report a step and looks its labels up in a file of which nine rows
are published. A meta caption is such a report already labelled: its clauses are its sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.classes import NORMAL, spelled
from bench.protocol.captions import absence, clause

_SENTENCE_WORDS = 5  # upstream keeps sentences of more than four word tokens
_PRESENT, _NAME, _ABSENT = range(3)
FORMS: tuple[Callable[[str], str], ...] = (clause, spelled, absence)
"""How a class is written in a sentence: "x is present", "x", "no x"."""
_PARAPHRASES = ("there is {}", "{} is seen", "evidence of {}", "findings in keeping with {}")
_NORMAL_PARAPHRASES = ("no abnormality is seen", "the lungs are clear", "a normal chest")


class Units(NamedTuple):
    """A sentence an image, with the labels of both."""

    texts: list[str]
    image_labels: Tensor
    """(B, C): 1 present, 0 otherwise; signed, -1 absent and 0 unlabelled."""
    text_labels: Tensor
    """(B, C): the sentence's class alone, as 1, or as -1 where it says that it is absent."""


def units(
    labels: Tensor, mask: Tensor, rows: Tensor, classes: Sequence[str], *, draw: bool, signed: bool
) -> Units:
    """The sentence of one positive class of each image, "x is present".

    Args:
        labels: (B, C), 1 = present, 0 = absent where `mask` is set. Every image has a positive
            class, since the harness trains on no others.
        rows: (B,) the images' rows in the data set.
        draw: draw the class; else the row decides, so that a validation loss compares epochs.
        signed: label absent classes with -1, as upstream's note on its labels has it; a drawn
            sentence then is the clause, the bare name or, of an absent class, "no x" in equal
            parts. A tower that learns language from these sentences meets all that prompts ask.
    """
    present = (labels == 1) & mask
    absent = (labels == 0) & mask
    chosen = pick(present, rows, draw=draw)
    forms = torch.full_like(chosen, _PRESENT)
    if signed and draw:
        forms = torch.randint(len(FORMS), chosen.shape, device=chosen.device)
        forms = torch.where(absent.any(1) | (forms != _ABSENT), forms, _PRESENT)
        chosen = torch.where(forms == _ABSENT, pick(absent, rows, draw=True), chosen)
    sign = torch.where(forms == _ABSENT, -1.0, 1.0)
    places = zip(chosen.tolist(), forms.tolist(), strict=True)
    return Units(
        texts=[FORMS[form](classes[place]) for place, form in places],
        image_labels=present.float() - absent.float() * signed,
        text_labels=F.one_hot(chosen, labels.shape[1]) * sign[:, None],
    )


def pick(flags: Tensor, rows: Tensor, *, draw: bool) -> Tensor:
    """(B,) the place of one set flag of each row, all equally likely; 0 in a row without any."""
    count = flags.sum(1)
    if draw:
        # A product of floats may be rounded up to the count itself.
        rank = (torch.rand(len(flags), device=flags.device) * count).long().minimum(count - 1)
    else:
        rank = rows % count.clamp(min=1)
    return ((flags.cumsum(1) == rank[:, None] + 1) & flags).int().argmax(1)


def sentences(report: str) -> list[str]:
    """The sentences of a report of at least five words, lower-cased; if there are none, all of it.

    >>> sentences("Clear lungs. There is a small left pleural effusion.")
    ['there is a small left pleural effusion.']
    """
    parts = re.split(r"(?<=[.!?])\s+", report.lower().strip())
    return [part for part in parts if len(part.split()) >= _SENTENCE_WORDS] or [report.lower()]


def drawn_sentences(reports: Sequence[str], rows: Tensor, *, draw: bool) -> list[str]:
    """One sentence of each report, drawn or decided by the image's row."""
    choices = [sentences(report) for report in reports]
    flags = torch.zeros(len(choices), max(map(len, choices)), dtype=torch.bool)
    for row, found in enumerate(choices):
        flags[row, : len(found)] = True
    places = pick(flags, rows.cpu(), draw=draw).tolist()
    return [found[place] for found, place in zip(choices, places, strict=True)]


def paraphrases(name: str) -> list[str]:
    """Other ways to say that a class is present.

    The lists of the authors cover five classes of 40, so these are ours.
    """
    if name == NORMAL:
        return list(_NORMAL_PARAPHRASES)
    return [template.format(spelled(name)) for template in _PARAPHRASES]
