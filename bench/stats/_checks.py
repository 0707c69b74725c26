"""What every metric asks of its arguments, in one place so that no two metrics differ in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.errors import DataError, UsageError


class Checked(NamedTuple):
    """Arguments that can be ranked; `positive` and `negative` leave out what is masked."""

    scores: np.ndarray
    positive: np.ndarray
    negative: np.ndarray


def checked(scores: np.ndarray, labels: np.ndarray, mask: np.ndarray | None) -> Checked:
    """Scores as given, and where they are read as a positive or as a negative.

    Raises:
        UsageError: shapes differ, or the mask is not bool.
        DataError: a label that is read is neither 0 nor 1, or its score is NaN.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.shape != labels.shape or (mask is not None and np.shape(mask) != labels.shape):
        told = "" if mask is None else f", mask {np.shape(mask)}"
        raise UsageError(f"Shapes differ: scores {scores.shape}, labels {labels.shape}{told}.")
    positive, negative = labels == 1, labels == 0
    if mask is not None:
        mask = np.asarray(mask)
        if mask.dtype != np.bool_:
            raise UsageError(f"The mask is {mask.dtype}; it has to be bool, True where labelled.")
        positive &= mask
        negative &= mask
    read = positive | negative
    unread = ~read if mask is None else mask & ~read
    if unread.any():
        raise DataError(
            f"{int(unread.sum())} labels are neither 0 nor 1, the first is "
            f"{labels[unread].flat[0]!r}. Mask what is not labelled."
        )
    if scores.dtype.kind == "f" and np.isnan(scores).any():
        nan = int((np.isnan(scores) & read).sum())
        if nan:
            raise DataError(f"{nan} scores are NaN and cannot be ranked.")
    return Checked(scores, positive, negative)


def checked_rows(name: str, values: np.ndarray, rows: int) -> np.ndarray:
    """One value a row, such as patients or folds; UsageError where there are more or fewer."""
    values = np.asarray(values)
    if values.shape != (rows,):
        raise UsageError(f"{name} has shape {values.shape}; one value for each of {rows} rows.")
    return values
