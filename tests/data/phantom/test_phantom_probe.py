from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.classes import CLASSES, NORMAL
from bench.data.phantom.cohort import Shot
from bench.data.phantom.traits import traits_of
from tests.perf import phantom_probe as probe
from tests.perf.phantom_probe import Answer, Auc

NODULE, DEVICES = CLASSES.index("Nodule"), CLASSES.index("Support Devices")
STUDIES = [(DEVICES,), (NODULE, DEVICES), (1, 4), (0, 2, NODULE)]


def asked(index: int, group: list[probe.Findings], first: int = 500) -> list[Shot]:
    return probe.question(3, index, group, first, np.random.default_rng(1))


@pytest.mark.parametrize("group", [[()], STUDIES], ids=["alone", "among others"])
def test_both_sides_of_a_question_differ_in_the_class_and_in_nothing_else(
    group: list[probe.Findings],
):
    drawn = asked(NODULE, group)
    assert len(drawn) == 2 * probe.SIDE
    with_it, without = drawn[: probe.SIDE], drawn[probe.SIDE :]
    for a, b in zip(with_it, without, strict=True):
        assert set(a.present) - set(b.present) == {NODULE}
        assert set(b.present) <= set(a.present)


def test_normal_is_asked_against_findings_and_has_none_itself():
    drawn = asked(CLASSES.index(NORMAL), STUDIES)
    assert {shot.present for shot in drawn[: probe.SIDE]} == {(CLASSES.index(NORMAL),)}
    assert {shot.present for shot in drawn[probe.SIDE :]} == set(STUDIES)


def test_every_image_has_a_patient_of_its_own_and_training_shares_none_with_the_tests():
    rng = np.random.default_rng(0)
    taught = {shot.patient for shot in probe.lessons(3, 50, [NODULE], STUDIES, rng)}
    assert taught == set(range(50))
    assert probe.TRAINED < probe._TEST
    assert probe._TEST + 4 * probe.SIDE * len(CLASSES) < probe._SHEET
    assert len({shot.patient for shot in asked(NODULE, STUDIES)}) == 2 * probe.SIDE


def test_companies_are_the_label_sets_of_the_ill():
    labels = np.zeros((5, len(CLASSES)), np.uint8)
    labels[[0, 1], CLASSES.index(NORMAL)] = 1
    labels[[1, 2, 3], DEVICES] = 1
    labels[3, NODULE] = 1
    assert probe.companies(labels) == [(NODULE, DEVICES)]


def test_training_shows_every_class_and_bare_chests():
    drawn = probe.lessons(3, 2000, range(len(CLASSES)), STUDIES, np.random.default_rng(2))
    labels = probe.labels_of(drawn).numpy()
    assert (labels.sum(axis=0) > 20).all()
    assert 100 < (labels.sum(axis=1) == 0).sum() < 400
    alone = labels[:, CLASSES.index(NORMAL)] == 1
    assert (labels[alone].sum(axis=1) == 1).all()


def test_grades_are_those_that_the_pictures_are_drawn_with():
    drawn = asked(NODULE, [()])
    grades = probe.grades_of(NODULE, drawn)
    labels = probe.labels_of(drawn[:1]).numpy()[0]
    expected = traits_of(3, drawn[0].patient, 0, labels)["Nodule"].grade
    assert grades[0] == expected
    assert np.isnan(grades[probe.SIDE :]).all()
    normal = CLASSES.index(NORMAL)
    assert np.isnan(probe.grades_of(normal, asked(normal, STUDIES))).all()


def test_the_probe_learns_a_spot_and_not_a_column_that_is_noise():
    rng = np.random.default_rng(5)
    labels = torch.from_numpy(rng.integers(0, 2, (768, 2)).astype(np.float32))
    pixels = torch.from_numpy(rng.integers(60, 160, (768, 1, 32, 32)).astype(np.uint8))
    pixels[labels[:, 0] == 1, :, 8:14, 8:14] += 60
    torch.manual_seed(0)
    fitted = probe.fit(pixels[:512], labels[:512], 4, torch.Generator().manual_seed(0))
    scores, truth = probe.scores_of(fitted, pixels[512:]), labels[512:].numpy().astype(int)
    assert probe.auc(scores[:, 0], truth[:, 0], seed=0).value > 0.95
    assert abs(probe.auc(scores[:, 1], truth[:, 1], seed=0).value - 0.5) < 0.15


def test_subtle_keeps_all_images_without_the_class():
    labels = np.array([1, 1, 1, 0, 0, 0])
    grades = np.array([0.9, 0.3, 0.4, np.nan, np.nan, np.nan])
    scores = np.array([9.0, 2.5, 0.5, 1.0, 2.0, 3.0])
    found = probe.answer(scores, labels, grades, seed=0)
    assert found.all.value == pytest.approx(5 / 9)
    assert found.subtle.value == pytest.approx(2 / 6)
    none = probe.answer(scores, labels, np.full(6, np.nan), seed=0)
    assert none.subtle == Auc(None, None)


def test_the_table_puts_the_hardest_first_and_names_who_falls_short():
    def both(value: float) -> Answer:
        return Answer(Auc(value, (value - 0.05, value + 0.02)), Auc(None, None))

    lines = probe.table({"Easy": (both(0.97), both(0.95)), "Hard": (both(0.9), both(0.8))}).split(
        "\n"
    )
    assert lines[2] == "| Hard | 0.900 [0.850, 0.920] | – | 0.800 [0.750, 0.820] | – |"
    assert lines[3].startswith("| Easy | 0.970 ")
    assert lines[-2].endswith("2 of 2 classes above 0.8.")
    assert lines[-1].endswith("lowest 0.800; 1 of 2 classes above 0.8, not Hard.")
