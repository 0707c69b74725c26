from __future__ import annotations

import numpy as np
import pytest

from bench.runs.cohort import Cohort

CLASSES = ("Edema", "Hernia", "Mass", "Nodule")


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Of 400 patients: Edema is told well, Hernia has 9 patients, Mass is told wrong, and Nodule
    has 30 images of 3 patients."""
    rng = np.random.default_rng(0)
    n = 400
    labels = np.zeros((n, 4), np.uint8)
    labels[:100, 0] = labels[100:109, 1] = labels[:60, 2] = labels[:30, 3] = 1
    scores = rng.normal(size=(n, 4)).astype(np.float32)
    scores += labels * np.array([1.5, 1.5, -1.5, 1.5], np.float32)
    patients = np.arange(n)
    patients[:30] //= 10
    mask = np.ones((n, 4), bool)
    mask[300:, 0] = False
    return Cohort(CLASSES, scores, labels, mask, patients, (0.8, 0.8, 0.2, 0.8))


def test_probabilities_are_as_common_as_the_finding_and_rise_with_the_score(
    cohort: Cohort,
) -> None:
    told = cohort.findings(cohort.scores[:300])
    edema = [next(f for f in image if f.name == "Edema") for image in told]
    assert edema[0].prevalence == pytest.approx(1 / 3)  # of the 300 with a label
    probabilities = np.array([f.probability for f in edema], float)
    assert probabilities.mean() == pytest.approx(1 / 3, abs=0.01)
    order = np.argsort([f.score for f in edema])
    assert (np.diff(probabilities[order]) >= 0).all()


def test_what_too_few_patients_have_or_scores_do_not_tell_has_no_probability(
    cohort: Cohort,
) -> None:
    (told,) = cohort.findings(np.zeros((1, 4)))
    why = {f.name: f.why_not for f in told if f.probability is None}
    assert why == {
        "Hernia": "9 test patients with it",
        "Mass": "its score does not rise with the finding",
        "Nodule": "3 test patients with it",
    }
    rare = next(f for f in told if f.name == "Nodule")
    assert (rare.positives, rare.above_with) == (30, None)
    assert rare.above_without is not None


def test_ranks_count_equal_scores_half(cohort: Cohort) -> None:
    ordered = np.sort(cohort.scores[:, 2])
    new = np.zeros((3, 4))
    new[:, 2] = [ordered[0] - 1, ordered[100], ordered[-1] + 1]
    masses = [next(f for f in image if f.name == "Mass") for image in cohort.findings(new)]
    assert [f.above for f in masses] == [0.0, pytest.approx(100 * 100.5 / 400), 100.0]
    assert masses[2].above_with == masses[2].above_without == 100.0


def test_the_most_probable_comes_first_and_what_has_no_probability_last(cohort: Cohort) -> None:
    (told,) = cohort.findings(np.array([[-9.0, 0.0, 9.0, 9.0]]))
    assert told[0].name == "Edema"
    assert [f.above for f in told[1:]] == sorted((f.above for f in told[1:]), reverse=True)
