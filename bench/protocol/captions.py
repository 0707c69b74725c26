"""Meta-label captions: the sentence a row of labels is written as (the paper, section 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.classes import spelled


def clause(name: str) -> str:
    """One class as a clause of a caption.

    >>> clause("Round(ed) Atelectasis")
    'rounded atelectasis is present'
    """
    return f"{spelled(name)} is present"


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
