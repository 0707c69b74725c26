"""Report text of a study: affirmed, hedged, denied and omitted findings.

Sentences carry what they say about which class, so that a test can hold the text to the labels: a
sentence never affirms an absent finding and never denies a present one, absent findings are
sometimes raised with a hedge, and present ones are sometimes left out, more often from the
impression. Training on reports is therefore not training on labels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.classes import NORMAL
from bench.data.phantom.phrases import DENIALS, HEDGES, OFTEN_HEDGED, SIZES, TECHNIQUE, WORDING
from bench.data.phantom.traits import Trait

_OMITTED, _HEDGED = 0.14, 0.12  # of present findings, in the findings section
_IN_IMPRESSION = 0.62  # of findings that are mentioned above
_MOST_IN_IMPRESSION = 5
_NEVER_HEDGED = (NORMAL, "Support Devices")
_FALSE_ALARM = 0.16  # reports that hedge about something absent


class Sentence(NamedTuple):
    """One sentence with the classes that it affirms, raises with a hedge, or denies."""

    text: str
    affirms: tuple[str, ...] = ()
    hedges: tuple[str, ...] = ()
    denies: tuple[str, ...] = ()


class Report(NamedTuple):
    """The two sections of a report, sentence by sentence."""

    findings_said: tuple[Sentence, ...]
    impression_said: tuple[Sentence, ...]

    @property
    def findings(self) -> str:
        """FINDINGS as running text."""
        return " ".join(sentence.text for sentence in self.findings_said)

    @property
    def impression(self) -> str:
        """IMPRESSION as running text, nearly always under 60 words."""
        return " ".join(sentence.text for sentence in self.impression_said)


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _fill(template: str, trait: Trait, rng: np.random.Generator) -> str:
    """The template with the side and the words for the grade of a finding, capitalised."""
    step = int(trait.grade > 0.35) + int(trait.grade > 0.7)
    words = {slot: _pick(options[step], rng) for slot, options in SIZES.items()}
    text = template.format(side="left" if trait.side > 0 else "right", **words)
    return text[0].upper() + text[1:]


def _hedge(name: str, trait: Trait, rng: np.random.Generator) -> Sentence:
    noun = _pick(WORDING[name].nouns, rng)
    return Sentence(_fill(_pick(HEDGES, rng).format(noun=noun), trait, rng), hedges=(name,))


def _denials(absent: set[str], count: int, rng: np.random.Generator) -> list[Sentence]:
    """Up to `count` denials, none of them of what another has denied already."""
    said: list[Sentence] = []
    done: set[str] = set()
    for index in rng.permutation(len(DENIALS)):
        text, denies = DENIALS[int(index)]
        if len(said) < count and absent.issuperset(denies) and not done.intersection(denies):
            said.append(Sentence(text, denies=denies))
            done.update(denies)
    return said


def _impression(
    said: list[Sentence], traits: dict[str, Trait], rng: np.random.Generator
) -> list[Sentence]:
    """What is repeated of the findings, as short phrases."""
    repeated: list[Sentence] = []
    for sentence in said:
        names = sentence.affirms or sentence.hedges
        if not names or rng.random() > _IN_IMPRESSION or len(repeated) == _MOST_IN_IMPRESSION:
            continue
        name = names[0]
        if sentence.affirms:
            text = _fill(_pick(WORDING[name].nouns, rng) + ".", traits[name], rng)
            repeated.append(Sentence(text, affirms=(name,)))
        else:
            repeated.append(_hedge(name, traits[name], rng))
    return repeated


def write_report(traits: dict[str, Trait], portable: bool, rng: np.random.Generator) -> Report:
    """The report of a study whose positive classes are the keys of `traits`."""
    absent = set(WORDING).difference(traits)
    mentioned = dict(traits)
    said: list[Sentence] = []
    for name, trait in traits.items():
        draw = rng.random()
        if draw < _OMITTED:
            continue
        if draw < _OMITTED + _HEDGED and name not in _NEVER_HEDGED:
            said.append(_hedge(name, trait, rng))
        else:
            sentence = _pick(WORDING[name].sentences, rng)
            said.append(Sentence(_fill(sentence, trait, rng), affirms=(name,)))
    if rng.random() < _FALSE_ALARM:
        raised = [name for name in OFTEN_HEDGED if name in absent]
        if raised:
            name = _pick(tuple(raised), rng)
            mentioned[name] = Trait(-1 if rng.random() < 0.5 else 1, 0.2)
            said.append(_hedge(name, mentioned[name], rng))
    order = rng.permutation(len(said))
    said = [said[int(i)] for i in order]
    impression = _impression(said, mentioned, rng)

    hedged = {name for sentence in said for name in sentence.hedges}
    denials = _denials(absent - hedged, int(rng.integers(1, 5)), rng)
    if not impression and denials and rng.random() < 0.5:
        impression.append(denials[0])
    elif not impression and rng.random() < 0.5:
        impression.append(Sentence("No significant interval change."))
    if NORMAL in absent and not impression:
        impression.append(Sentence("Findings as described above."))
    view = "AP" if portable else "PA"
    opening = [Sentence(_pick(TECHNIQUE[view], rng))] if rng.random() < 0.7 else []
    return Report((*opening, *said, *denials), tuple(impression))
