from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from methods import _augment
from methods._augment import (
    brightness_contrast,
    gaussian_blur,
    horizontal_flip,
    random_affine,
    random_crop,
    random_resized_crop,
)


def _images(count: int = 4, height: int = 20, width: int = 30) -> Tensor:
    return torch.rand(count, 2, height, width, generator=torch.Generator().manual_seed(1))


EVERY = {
    "resized crop": lambda x: random_resized_crop(x, 16, (0.2, 1.0)),
    "crop": lambda x: random_crop(x, 12),
    "flip": horizontal_flip,
    "light": lambda x: brightness_contrast(x, 0.4, 0.4),
    "affine": lambda x: random_affine(x, 10, 0.1, (0.8, 1.1)),
    "blur": lambda x: gaussian_blur(x, (0.5, 2.0)),
}


@pytest.mark.parametrize("name", EVERY)
def test_draws_come_from_the_generator_and_are_an_images_own(name: str) -> None:
    same = _images(1).expand(8, -1, -1, -1).contiguous()
    before = same.clone()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = EVERY[name](same)
        torch.manual_seed(0)
        again = EVERY[name](same)
        other = EVERY[name](same)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert any(not torch.equal(first[0], row) for row in first[1:])
    assert torch.equal(same, before)


@pytest.mark.parametrize("size", [9, 20, 41])
def test_a_resized_crop_is_the_box_interpolated(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _images(2)
    boxes = torch.tensor([[3.0, 5.0, 11.0, 17.0], [0.0, 0.0, 20.0, 30.0]])
    monkeypatch.setattr(_augment, "_boxes", lambda *_: boxes)
    for image, found, box in zip(
        images, random_resized_crop(images, size, (0.1, 1.0)), boxes.int().tolist(), strict=True
    ):
        top, left, tall, wide = box
        cut = image[None, :, top : top + tall, left : left + wide]
        expected = F.interpolate(cut, size=(size, size), mode="bilinear")[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_boxes_have_the_areas_and_ratios_asked_for() -> None:
    boxes = _augment._boxes(2000, 200, 200, (0.25, 0.5), (0.8, 1.25), torch.device("cpu"))
    top, left, tall, wide = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + tall <= 200).all()
    assert (left + wide <= 200).all()
    area, ratio = tall * wide / 200**2, wide / tall
    assert 0.24 < area.min() < 0.26
    assert 0.49 < area.max() < 0.51
    assert 0.78 < ratio.min() < 0.82
    assert 1.22 < ratio.max() < 1.28
    assert {int(top.min()), int(left.min())} == {0}
    assert (top + tall).max() == 200


def test_an_image_in_which_no_box_fits_gives_its_middle() -> None:
    boxes = _augment._boxes(3, 10, 100, (1.0, 1.0), (3 / 4, 4 / 3), torch.device("cpu"))
    assert boxes.tolist() == [[0, 43, 10, 13]] * 3


def test_a_random_crop_is_a_part_of_the_image() -> None:
    images = torch.arange(600.0).view(1, 1, 20, 30).expand(50, -1, -1, -1)
    crops = random_crop(images, 12)
    corners = crops[:, 0, 0, 0].long()
    assert crops.shape == (50, 1, 12, 12)
    assert (crops[:, 0] - crops[:, 0, :1, :1] == images[0, 0, :12, :12]).all()
    assert (corners // 30 <= 8).all()
    assert (corners % 30 <= 18).all()


def test_a_flip_mirrors_left_and_right() -> None:
    images = _images()
    assert torch.equal(horizontal_flip(images, 1.0), images.flip(-1))
    assert torch.equal(horizontal_flip(images, 0.0), images)


def test_light_keeps_range_and_contrast_keeps_the_mean() -> None:
    images = _images()
    strong = brightness_contrast(images, 1.0, 1.0)
    assert strong.min() >= 0
    assert strong.max() <= 1
    middling = images * 0.2 + 0.4
    contrasted = brightness_contrast(middling, 0.0, 0.5)
    assert not torch.allclose(contrasted, middling, atol=1e-3)
    torch.testing.assert_close(contrasted.mean((1, 2, 3)), middling.mean((1, 2, 3)))
    bright = brightness_contrast(middling, 0.4, 0.0)
    factor = bright.mean((1, 2, 3)) / middling.mean((1, 2, 3))
    torch.testing.assert_close(bright, middling * factor[:, None, None, None])
    torch.testing.assert_close(brightness_contrast(images, 0.4, 0.4, p=0.0), images)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_an_affine_map_moves_turns_and_scales(
    interpolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = _images(2, 20, 20)
    # Every draw is its upper bound.
    monkeypatch.setattr(_augment, "_between", lambda shape, bounds, _: torch.full(shape, bounds[1]))
    how = {"interpolation": interpolation}
    same = random_affine(images, 0, 0, (1.0, 1.0), **how)  # type: ignore[arg-type]
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
    moved = random_affine(images, 0, 0.1, (1.0, 1.0), fill=0.5, **how)  # type: ignore[arg-type]
    torch.testing.assert_close(moved[..., 2:, 2:], images[..., :-2, :-2], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[..., :2, :], torch.full((2, 2, 2, 20), 0.5), atol=1e-5, rtol=0)
    turned = random_affine(images, 90, 0, (1.0, 1.0), **how)  # type: ignore[arg-type]
    torch.testing.assert_close(turned, images.rot90(-1, (-2, -1)), atol=1e-4, rtol=0)
    smaller = random_affine(torch.ones(1, 1, 20, 20), 0, 0, (0.5, 0.5), **how)  # type: ignore[arg-type]
    assert smaller.sum() == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_a_blur_is_gaussian_with_repeated_edges(sigma: float) -> None:
    images = _images()
    blurred = gaussian_blur(images, (sigma, sigma))
    expected = ndimage.gaussian_filter(
        images.numpy().astype(np.float64), (0, 0, sigma, sigma), mode="nearest"
    )
    np.testing.assert_allclose(blurred, expected, atol=0.02)
    torch.testing.assert_close(
        gaussian_blur(torch.ones(2, 1, 9, 9), (2.0, 2.0)).sum(), torch.tensor(162.0)
    )


def test_a_blur_may_leave_images_alone() -> None:
    images = _images()
    torch.testing.assert_close(gaussian_blur(images, (0.01, 0.01)), images)
    assert torch.equal(gaussian_blur(images, (2.0, 2.0), p=0.0), images)
