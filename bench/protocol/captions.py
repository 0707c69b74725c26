"""Meta-label captions: the sentence a row of labels is written as (the paper, section 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.classes import NORMAL, spelled

_MOST_ABSENT = 2


def clause(name: str) -> str:
    """One class as a clause of a caption.

    >>> clause("Round(ed) Atelectasis")
    'rounded atelectasis is present'
    """
    return f"{spelled(name)} is present"


def absence(name: str) -> str:
    """The absence of a class in words.

    "no normal" would ask the wrong question (CheXzero issue 19: an AUC of 0.07).

    >>> absence("Edema"), absence("Normal")
    ('no edema', 'abnormal')
    """
    return "abnormal" if name == NORMAL else f"no {spelled(name)}"


def meta_captions(labels: np.ndarray, mask: np.ndarray, classes: Sequence[str]) -> tuple[str, ...]:
    """A caption for each row: the clauses of its positive classes, in class order.

    Args:
        labels: (N, C), 1 = present.
        mask: (N, C) bool; a class the source does not label is never written.
        classes: the C class names.

    A row without a positive class gets the empty string, which the trainer leaves out.

    >>> labels = np.array([[1, 0, 1], [0, 0, 0]])
    >>> meta_captions(labels, np.ones((2, 3), bool), ["Edema", "Mass", "Hernia"])
    ('edema is present, hernia is present', '')
    """
    clauses = [clause(name) for name in classes]
    positive = (labels == 1) & mask
    return tuple(", ".join(clauses[c] for c in np.flatnonzero(row)) for row in positive)


class ClauseSampler:
    """A random part of what an image's labels say, for towers that learn language from captions.

    From whole captions such a tower reads their length, which is the number of findings, in place
    of their words; and it never meets "no", which the `pair` prompts ask with. So every step reads
    a random non-empty part of the positive clauses and up to two clauses of absent classes, in
    random order. A class the source does not label is in neither.
    """

    def __init__(self, labels: np.ndarray, mask: np.ndarray, classes: Sequence[str]) -> None:
        self._present = [clause(name) for name in classes]
        self._absent = [absence(name) for name in classes]
        self._positive = (labels == 1) & mask
        self._negative = (labels == 0) & mask

    def __call__(self, row: int, rng: np.random.Generator) -> str:
        """A caption for the image in `row`; empty when it has no positive class."""
        positive = np.flatnonzero(self._positive[row])
        if not len(positive):
            return ""
        some = rng.choice(positive, rng.integers(1, len(positive) + 1), replace=False)
        negative = np.flatnonzero(self._negative[row])
        count = min(int(rng.integers(0, _MOST_ABSENT + 1)), len(negative))
        none = rng.choice(negative, count, replace=False)
        clauses = [self._present[c] for c in some] + [self._absent[c] for c in none]
        return ", ".join(clauses[i] for i in rng.permutation(len(clauses)))
