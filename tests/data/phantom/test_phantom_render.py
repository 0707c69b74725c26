from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bench.classes import CLASSES
from bench.data.phantom import Cohort, make_cohort, render
from bench.data.phantom.anatomy import draw_anatomy, pose
from bench.data.phantom.canvas import Canvas
from bench.data.phantom.signs import SIGNS


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return make_cohort(400, seed=4)


def with_labels(cohort: Cohort, rows: np.ndarray, names: tuple[str, ...]) -> Cohort:
    labels = cohort.labels.copy()
    labels[rows] = 0
    labels[rows[:, None], [CLASSES.index(name) for name in names]] = 1
    return dataclasses.replace(cohort, labels=labels)


def test_images_are_uint8_of_the_size_asked_for(cohort: Cohort):
    for size in (16, 64, 100):
        images = render(cohort, [0, 3], size)
        assert images.shape == (2, size, size)
        assert images.dtype == np.uint8
    assert render(cohort, [], 64).shape == (0, 64, 64)


def test_an_image_depends_on_no_other_row(cohort: Cohort):
    rows = [0, 17, 101, 399]
    together = render(cohort, rows, 64)
    backwards = render(cohort, rows[::-1], 64)[::-1]
    alone = np.concatenate([render(cohort, [row], 64) for row in rows])
    np.testing.assert_array_equal(together, backwards)
    np.testing.assert_array_equal(together, alone)


def test_an_image_ignores_the_labels_of_other_rows_and_the_reports(cohort: Cohort):
    changed = with_labels(cohort, np.arange(1, 400), ("Mass",))
    silent = dataclasses.replace(changed, findings=("",) * 400, impressions=("",) * 400)
    np.testing.assert_array_equal(render(cohort, [0], 64), render(silent, [0], 64))


def test_images_of_one_patient_are_alike_but_not_the_same(cohort: Cohort):
    patients = np.array(cohort.patients)
    names, sizes = np.unique(patients, return_counts=True)
    rows = np.flatnonzero(patients == names[sizes.argmax()])[:2]
    others = np.array([np.flatnonzero(patients == name)[0] for name in names[:12]])
    bare = with_labels(cohort, np.arange(400), ())
    first, second = render(bare, rows, 64).astype(float)
    assert not np.array_equal(first, second)
    rest = render(bare, others, 64).astype(float)
    between = np.mean([np.abs(a - b).mean() for a, b in zip(rest[1:], rest[:-1], strict=True)])
    assert np.abs(first - second).mean() < between


def test_every_class_has_a_sign():
    assert set(SIGNS) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_a_sign_changes_the_pixels_of_its_own_chest(cohort: Cohort, name: str):
    rows = np.arange(0, 400, 50)
    bare = render(with_labels(cohort, rows, ()), rows, 64).astype(float)
    drawn = render(with_labels(cohort, rows, (name,)), rows, 64).astype(float)
    change = np.abs(drawn - bare)
    # Noise is the same in both, so whatever differs is the sign.
    assert (change.max(axis=(1, 2)) > 12).all()
    assert ((change > 6).sum(axis=(1, 2)) >= 6).all()


def test_no_two_classes_draw_the_same_thing(cohort: Cohort):
    rows = np.array([40])
    bare = render(with_labels(cohort, rows, ()), rows, 64).astype(float).ravel()
    change = np.stack(
        [
            render(with_labels(cohort, rows, (name,)), rows, 64).astype(float).ravel() - bare
            for name in CLASSES
        ]
    )
    change /= np.linalg.norm(change, axis=1, keepdims=True)
    alike = change @ change.T - np.eye(40)
    assert alike.max() < 0.9


def test_small_and_large_renderings_show_the_same_picture(cohort: Cohort):
    rows = np.arange(0, 400, 67)
    small = render(cohort, rows, 56).astype(float)
    large = render(cohort, rows, 224).astype(float)
    shrunk = large.reshape(len(rows), 56, 4, 56, 4).mean(axis=(2, 4))
    for a, b in zip(small, shrunk, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.97


def test_lungs_are_dark_and_the_heart_lies_on_the_images_right(cohort: Cohort):
    rows = np.arange(0, 400, 40)
    images = render(with_labels(cohort, rows, ("Normal",)), rows, 64).astype(float)
    lungs = images[:, 22:36, 12:24].mean()
    middle = images[:, 22:44, 30:34].mean()
    assert middle > lungs + 40
    left, right = images[:, 38:44, 20:30].mean(), images[:, 38:44, 34:44].mean()
    assert right > left + 10


def test_findings_draw_within_a_frame_that_is_cut_by_the_image():
    canvas = Canvas(32, zoom=1.3, shift=(0.3, -0.3), tilt=0.1)
    for shape in (
        canvas.ellipse(1.4, 0.5, 0.1, 0.2),
        canvas.ellipse(0.0, 0.0, 0.2, 0.1, angle=0.5),
        canvas.stroke([(-0.5, 0.2), (1.5, 0.4)], 0.01),
        canvas.polygon([(-0.4, -0.4), (0.3, -0.2), (0.0, 0.4)]),
    ):
        box, mask = shape
        assert canvas.density[box].shape == mask.shape
        canvas.add(box, mask, 1.0)
    assert np.isfinite(canvas.density).all()


def test_a_thin_line_keeps_its_contrast_at_any_size():
    for size in (32, 64, 224):
        canvas = Canvas(size)
        _, mask = canvas.stroke([(0.2, 0.3), (0.8, 0.35)], 0.001)
        assert mask.max() > 0.5


def test_portable_films_magnify_the_heart():
    anatomy = draw_anatomy(np.random.default_rng(1))
    pa = [pose(anatomy, False, np.random.default_rng((2, i))).heart_left for i in range(50)]
    ap = [pose(anatomy, True, np.random.default_rng((2, i))).heart_left for i in range(50)]
    assert np.mean(ap) > np.mean(pa)
