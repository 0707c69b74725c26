"""What a trial's own test images say of a new image's scores: probabilities and ranks.

The model has not been trained on them, so they are what its scores can be read against; and they
are all there is, so a finding that too few of their patients have is told without a probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bench.protocol.prompts import HEADLINE
from bench.stats.calibration import platt, scaled

FEWEST_PATIENTS = 10
"""Patients with and without a finding below which it has no probability (as tables have it)."""


class Finding(NamedTuple):
    """What is told of one class of one image; None where it is undefined."""

    name: str
    score: float
    probability: float | None
    """Where the finding is as common as in the cohort."""
    why_not: str | None
    """Why there is no probability."""
    prevalence: float | None
    """Share of the cohort's images with a label that have the finding."""
    above: float
    """Percentage of the cohort's images with a lower score; equal ones count half."""
    above_without: float | None
    """The same of the images without the finding."""
    above_with: float | None
    """The same of those with it."""
    positives: int
    """The cohort's images with the finding."""
    auroc: float | None
    """How well the model tells the finding there."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return self._asdict()


@dataclass(frozen=True)
class Cohort:
    """The test images of a trial with their scores."""

    classes: tuple[str, ...]
    scores: np.ndarray
    """(N, C) float32."""
    labels: np.ndarray
    mask: np.ndarray
    patients: np.ndarray
    """(N,) codes."""
    auroc: tuple[float | None, ...]
    """Of each class, as the record has it."""

    @classmethod
    def of_trial(cls, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Cohort:
        """The cohort of a finished trial's record and `scores.npz`."""
        return cls(
            classes=tuple(record["spec"]["classes"]),
            scores=arrays[HEADLINE],
            labels=arrays["labels"],
            mask=arrays["mask"],
            patients=arrays["patients"],
            auroc=tuple(row["auroc"] for row in record["metrics"][HEADLINE]["classes"]),
        )

    def findings(self, scores: np.ndarray) -> list[list[Finding]]:
        """Of each image its findings, the most probable first and those without a probability last.

        Args:
            scores: (n, C) of new images under the headline prompts.
        """
        columns = [self._column(c, scores[:, c]) for c in range(len(self.classes))]
        return [sorted(image, key=_order) for image in zip(*columns, strict=True)]

    def _column(self, c: int, new: np.ndarray) -> list[Finding]:
        """What is told of one class of all new images."""
        known, values = self.mask[:, c], self.scores[:, c]
        present, absent = known & (self.labels[:, c] == 1), known & (self.labels[:, c] == 0)
        probabilities, why_not = self._probabilities(c, present, absent, new)
        above = _below(values, new)
        without, with_it = (
            _below(values[part], new) if self._patients(part) >= FEWEST_PATIENTS else None
            for part in (absent, present)
        )
        positives = int(present.sum())
        return [
            Finding(
                name=self.classes[c],
                score=float(new[i]),
                probability=None if probabilities is None else float(probabilities[i]),
                why_not=why_not,
                prevalence=positives / int(known.sum()) if known.any() else None,
                above=float(above[i]),
                above_without=None if without is None else float(without[i]),
                above_with=None if with_it is None else float(with_it[i]),
                positives=positives,
                auroc=self.auroc[c],
            )
            for i in range(len(new))
        ]

    def _probabilities(
        self, c: int, present: np.ndarray, absent: np.ndarray, new: np.ndarray
    ) -> tuple[np.ndarray | None, str | None]:
        """(n,) probabilities of new scores, or why there are none."""
        for part, which in ((present, "with"), (absent, "without")):
            if (patients := self._patients(part)) < FEWEST_PATIENTS:
                return None, f"{patients} test patients {which} it"
        fitted = platt(self.scores[:, c], self.labels[:, c], self.mask[:, c])
        if fitted is None or fitted[0] <= 0:
            return None, "its score does not rise with the finding"
        return scaled(new, fitted), None

    def _patients(self, images: np.ndarray) -> int:
        return len(np.unique(self.patients[images]))


def _below(values: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(n,) percentages of `values` below each new one, equal ones counted half."""
    ordered = np.sort(values)
    places = np.searchsorted(ordered, new, "left") + np.searchsorted(ordered, new, "right")
    percentages: np.ndarray = 50.0 * places / max(1, len(ordered))
    return percentages


def _order(finding: Finding) -> tuple[bool, float]:
    probability = finding.probability
    return (probability is None, -(finding.above if probability is None else probability))
