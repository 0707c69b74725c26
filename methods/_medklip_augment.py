"""MedKLIP's training views of whole batches, drawn from torch's generator on the images' device.

Upstream (MediaBrain-SJTU/MedKLIP@8e60b03) does this one image at a time: a random box of at least a
fifth of the picture, a flip, then twice one of ten operations, each done with probability one half
at magnitude 7 of 10. What differs here: the box is cut from the squashed picture and resized
bilinearly instead of bicubically; turns and shears sample bilinearly, within rounding of OpenCV's
fixed point.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from methods._augment import horizontal_flip, random_resized_crop

ROUNDS, CHANCE = 2, 0.5
FACTOR = 1.36  # of brightness and sharpness: 0.1 + 1.8 * 7 / 10
SHEAR, TURN = 0.21, math.radians(21)
MOVE = 7 / 224  # pixels of upstream's 224, as a share of the side
BORDER = 128.0
_CROP = (0.2, 1.0)


def training_view(images: Tensor, size: int) -> Tensor:
    """(B, 1, size, size) float views, 0..255 in whole grey levels, of (B, 1, S, S) uint8 images."""
    return rand_augment(horizontal_flip(random_resized_crop(images.float(), size, _CROP)).round())


def rand_augment(images: Tensor) -> Tensor:
    """Two operations drawn for every (B, 1, S, S) image of 0..255, with replacement."""
    for _ in range(ROUNDS):
        which = torch.randint(len(OPERATIONS) + 1, (len(images),), device=images.device)
        done = torch.rand(len(images), device=images.device) < CHANCE
        for index, operation in enumerate(OPERATIONS):
            chosen = (done & (which == index)).nonzero()[:, 0]
            if len(chosen):
                changed = operation(images[chosen]).clamp(0, 255).round()
                images = images.index_copy(0, chosen, changed)
    return images  # the tenth operation is to do nothing


def autocontrast(images: Tensor) -> Tensor:
    """Grey levels of each image stretched to 0..255 (as Pillow does it); one level stays."""
    exact = images.double()  # the result is cut to whole levels, where float32 errs by one
    low, high = exact.amin((1, 2, 3), keepdim=True), exact.amax((1, 2, 3), keepdim=True)
    scale = 255 / (high - low).clamp(min=1)
    stretched = (exact * scale - low * scale).floor().to(images.dtype)
    return torch.where(high > low, stretched, images)


def equalise(images: Tensor) -> Tensor:
    """Grey levels of each image spread evenly, by its cumulative histogram (as Pillow does it)."""
    levels = images.long().flatten(1)
    counts = torch.zeros(len(images), 256, dtype=torch.long, device=images.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    brightest = counts.gather(1, levels.amax(1, keepdim=True))
    step = (levels.shape[1] - brightest) // 255
    below = counts.cumsum(1) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    spread = table.gather(1, levels).view_as(images).to(images.dtype)
    return torch.where((step > 0)[:, :, None, None], spread, images)


def brighten(images: Tensor) -> Tensor:
    """Grey levels times 1.36."""
    return images * FACTOR


def sharpen(images: Tensor) -> Tensor:
    """Each pixel moved away from the smoothed image by 1.36; the outermost pixels stay."""
    kernel = torch.ones(1, 1, 3, 3, device=images.device)
    kernel[..., 1, 1] = 5
    inside = images[..., 1:-1, 1:-1]
    smooth = F.conv2d(images, kernel / kernel.sum())
    return F.pad(smooth + FACTOR * (inside - smooth), (1, 1, 1, 1)) + images * _frame(images)


def _frame(images: Tensor) -> Tensor:
    """1 on the outermost pixels and 0 inside."""
    return 1 - F.pad(torch.ones_like(images[..., 1:-1, 1:-1]), (1, 1, 1, 1))


def shear_across(images: Tensor) -> Tensor:
    """Rows moved sideways by 0.21 of their height above the bottom, from the top left corner."""
    amount = _sign(images) * SHEAR
    return _warped(images, [[1, amount, 0], [0, 1, 0]])


def shear_down(images: Tensor) -> Tensor:
    """Columns moved up or down by 0.21 of their distance from the left."""
    amount = _sign(images) * SHEAR
    return _warped(images, [[1, 0, 0], [amount, 1, 0]])


def move_across(images: Tensor) -> Tensor:
    """Moved by 7 of 224 pixels to the left or right."""
    return _warped(images, [[1, 0, _sign(images) * _pixels(images)], [0, 1, 0]])


def move_down(images: Tensor) -> Tensor:
    """Moved by 7 of 224 pixels up or down."""
    return _warped(images, [[1, 0, 0], [0, 1, _sign(images) * _pixels(images)]])


def turn(images: Tensor) -> Tensor:
    """Turned by 21 degrees about the middle, either way."""
    cos, sin, half = math.cos(TURN), _sign(images) * math.sin(TURN), images.shape[-1] / 2
    across = half - cos * half - sin * half
    down = half + sin * half - cos * half
    return _warped(images, [[cos, sin, across], [-sin, cos, down]])


OPERATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    autocontrast,
    equalise,
    brighten,
    sharpen,
    shear_across,
    shear_down,
    move_across,
    move_down,
    turn,
)


def _sign(images: Tensor) -> Tensor:
    """(B,) of -1 and 1."""
    return torch.randint(2, (len(images),), device=images.device) * 2.0 - 1


def _pixels(images: Tensor) -> int:
    return round(MOVE * images.shape[-1])


def _warped(images: Tensor, matrix: list[list[float | Tensor]]) -> Tensor:
    """Square images sampled at matrix @ (x, y, 1) for each pixel (x, y); outside is grey 128.

    Signs are drawn, so that it does not matter whether the matrix leads there or back.
    """
    side, device = images.shape[-1], images.device
    ones = torch.ones(len(images), device=device)
    rows = torch.stack([torch.stack([ones * value for value in row], -1) for row in matrix], 1)
    steps = torch.arange(side, device=device, dtype=images.dtype)
    across, down = torch.meshgrid(steps, steps, indexing="xy")
    there = torch.stack([across, down, torch.ones_like(across)], -1)
    source = torch.einsum("bij,hwj->bhwi", rows, there)
    grid = (2 * source + 1) / side - 1
    sampled = F.grid_sample(images - BORDER, grid, mode="bilinear", align_corners=False)
    return sampled + BORDER
