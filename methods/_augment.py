"""Augmentation of whole batches on the images' own device, drawn from torch's generator.

All functions take (B, C, S, T) float tensors and return new ones; every image of a batch gets its
own draw, and all channels of an image the same. What is drawn follows torchvision's transforms of
the same name, which the upstream recipes use one image at a time. Colour changes expect values in
0..1 and keep them there.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

_TRIES = 10  # torchvision's: after ten boxes that do not fit, the middle of the image


def random_resized_crop(
    images: Tensor,
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """(B, C, size, size): a random box of each image, resized bilinearly.

    Args:
        scale: smallest and largest share of the image's area in the box.
        ratio: smallest and largest width over height, drawn evenly in its logarithm.

    Nothing is smoothed before sampling: a box of more than twice `size` pixels a side aliases, so
    shrink large images first.
    """
    height, width = images.shape[-2:]
    boxes = _boxes(len(images), height, width, scale, ratio, images.device)
    top, left, tall, wide = (boxes[:, i, None] for i in range(4))
    place = (torch.arange(size, device=images.device) + 0.5) / size
    # Positions stay between the box's outer pixel centres: nothing beside the box shows.
    down = (place * tall).clamp(min=torch.full_like(tall, 0.5), max=tall - 0.5) + top
    right = (place * wide).clamp(min=torch.full_like(wide, 0.5), max=wide - 0.5) + left
    grid = torch.stack(
        [
            (2 * right / width - 1)[:, None, :].expand(-1, size, -1),
            (2 * down / height - 1)[:, :, None].expand(-1, -1, size),
        ],
        dim=-1,
    )
    return F.grid_sample(images, grid, mode="bilinear", align_corners=False)


def _boxes(
    count: int,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    device: torch.device,
) -> Tensor:
    """(count, 4) float top, left, height and width of boxes on whole pixels."""
    area = height * width * _between((count, _TRIES), scale, device)
    aspect = _between((count, _TRIES), (math.log(ratio[0]), math.log(ratio[1])), device).exp()
    wide, tall = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
    first = fits.int().argmax(1, keepdim=True)
    fitting = fits.any(1)
    # The middle box: the whole image, cut to the nearest allowed ratio.
    shape = width / height
    middle_wide = round(height * ratio[1]) if shape > ratio[1] else width
    middle_tall = round(width / ratio[0]) if shape < ratio[0] else height
    wide = torch.where(fitting, wide.gather(1, first)[:, 0], middle_wide)
    tall = torch.where(fitting, tall.gather(1, first)[:, 0], middle_tall)
    room = torch.stack([height - tall, width - wide], dim=1)
    drawn = (torch.rand(count, 2, device=device) * (room + 1)).floor().minimum(room)
    corner = torch.where(fitting[:, None], drawn, (room / 2).floor())
    return torch.cat([corner, tall[:, None], wide[:, None]], dim=1)


def random_crop(images: Tensor, size: int) -> Tensor:
    """(B, C, size, size): a box of each image at a random place, not resized."""
    height, width = images.shape[-2:]
    device = images.device
    top = torch.randint(height - size + 1, (len(images), 1), device=device)
    left = torch.randint(width - size + 1, (len(images), 1), device=device)
    steps = torch.arange(size, device=device)
    image = torch.arange(len(images), device=device)[:, None, None]
    cropped = images[image, :, (top + steps)[:, :, None], (left + steps)[:, None, :]]
    return cropped.permute(0, 3, 1, 2)


def horizontal_flip(images: Tensor, p: float = 0.5) -> Tensor:
    """Each image mirrored left to right with probability p."""
    return torch.where(_chance(images, p), images.flip(-1), images)


def brightness_contrast(
    images: Tensor, brightness: float, contrast: float, p: float = 1.0
) -> Tensor:
    """Brightness and contrast scaled by factors from 1 - x to 1 + x, in random order.

    Contrast is measured from the mean of the image. Both happen together, with probability p.
    """
    changed = _chance(images, p)
    device, shape = images.device, (len(images), 1, 1, 1)
    bright = _between(shape, (max(0.0, 1 - brightness), 1 + brightness), device)
    steep = _between(shape, (max(0.0, 1 - contrast), 1 + contrast), device)
    bright = torch.where(changed, bright, 1.0)
    first = torch.rand(shape, device=device) < 0.5
    images = _contrast(images, torch.where(changed & first, steep, 1.0))
    images = (images * bright).clamp(0, 1)
    return _contrast(images, torch.where(changed & ~first, steep, 1.0))


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(middle.expand_as(images), images, factor.expand_as(images)).clamp(0, 1)


def random_affine(
    images: Tensor,
    degrees: float,
    translate: float,
    scale: tuple[float, float],
    *,
    fill: float = 0.0,
    interpolation: Literal["nearest", "bilinear"] = "bilinear",
) -> Tensor:
    """Each image turned about its middle, scaled and moved; what comes from outside is `fill`.

    Args:
        degrees: largest turn in either direction.
        translate: largest move as a share of the side, in whole pixels, down and right by
            separate draws.
        scale: smallest and largest magnification.
    """
    count, (height, width) = len(images), images.shape[-2:]
    device = images.device
    angle = torch.deg2rad(_between((count,), (-degrees, degrees), device))
    size = _between((count,), scale, device)
    right = (_between((count,), (-translate, translate), device) * width).round()
    down = (_between((count,), (-translate, translate), device) * height).round()
    # From a pixel of the result, counted from the middle, to where it comes from.
    cos, sin = angle.cos() / size, angle.sin() / size
    turn = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], 1)
    rows = torch.arange(height, device=device) - (height - 1) / 2
    columns = torch.arange(width, device=device) - (width - 1) / 2
    there = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    moved = there - torch.stack([right, down], -1)[:, None, None, :]
    source = torch.einsum("bij,bhwj->bhwi", turn, moved)
    grid = 2 * source / torch.tensor([width, height], device=device)
    sampled = F.grid_sample(images - fill, grid, mode=interpolation, align_corners=False)
    return sampled + fill


def gaussian_blur(images: Tensor, sigma: tuple[float, float], p: float = 1.0) -> Tensor:
    """Each image blurred with probability p, by a standard deviation drawn in pixels.

    Pixels outside the image repeat its edge. A pixel's weight is the normal density over its whole
    area, so the smallest sigma leaves the image as it is.
    """
    chosen = _chance(images, p).flatten().nonzero()[:, 0]
    widths = _between((len(chosen),), sigma, images.device).to(images.dtype)
    height, width = images.shape[-2:]
    down, across = _blurring(height, widths), _blurring(width, widths)
    blurred = down[:, None] @ images[chosen] @ across[:, None].mT
    return images.index_copy(0, chosen, blurred)


def _blurring(side: int, sigma: Tensor) -> Tensor:
    """(B, side, side): row i holds how much of each pixel goes into the blurred pixel i."""
    pixel = torch.arange(side, device=sigma.device, dtype=sigma.dtype)
    border = torch.arange(1, side, device=sigma.device, dtype=sigma.dtype) - 0.5
    below = torch.special.ndtr((border - pixel[:, None]) / sigma[:, None, None])
    # The outer pixels reach to infinity: that is the repeated edge.
    return torch.diff(F.pad(F.pad(below, (1, 0), value=0.0), (0, 1), value=1.0), dim=-1)


def _between(shape: tuple[int, ...], bounds: tuple[float, float], device: torch.device) -> Tensor:
    """Evenly drawn numbers between two bounds."""
    return torch.rand(shape, device=device) * (bounds[1] - bounds[0]) + bounds[0]


def _chance(images: Tensor, p: float) -> Tensor:
    """(B, 1, 1, 1) bool, true with probability p."""
    return torch.rand(len(images), 1, 1, 1, device=images.device) < p
