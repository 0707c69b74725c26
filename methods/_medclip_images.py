"""MedCLIP's pictures: how its authors frame, augment and normalise them.

Read in RyanWangZf/MedCLIP@9c3396f2 (dataset.py, the feature extractor, the pre-training script);
both framings are checked against arrays computed by it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from methods._augment import brightness_contrast, horizontal_flip, random_affine, random_crop

SIDE = 224
PIXEL_MEAN, PIXEL_STD = 0.5862785803043838, 0.27950088968644304  # on 0..1
_ENLARGED = 256

Framing = Literal["processor", "dataset"]
_RESAMPLING = {
    "processor": Image.Resampling.BICUBIC,
    "dataset": Image.Resampling.BILINEAR,
}


def pad_square(picture: np.ndarray) -> np.ndarray:
    """An (h, w) uint8 picture in the middle of a black square of max(224, h, w) pixels a side.

    A small picture is padded and not enlarged. An odd difference leaves the smaller half in front.
    """
    height, width = picture.shape
    side = max(SIDE, height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side), np.uint8)
    square[top : top + height, left : left + width] = picture
    return square


def framed(picture: np.ndarray, framing: Framing) -> np.ndarray:
    """(224, 224) uint8 of an (h, w) uint8 picture.

    Args:
        framing: `processor` resizes bicubically, as the class that the authors' README uses;
            `dataset` bilinearly, as their zero-shot data set does.
    """
    square = Image.fromarray(pad_square(picture))
    return np.array(square.resize((SIDE, SIDE), _RESAMPLING[framing]))


def augmented(images: Tensor) -> Tensor:
    """(B, 1, 224, 224) of as many in 0..1, drawn from torch's generator, an image at a time.

    In the authors' order: mirrored, brightness and contrast, turned, moved and scaled, then a crop
    of 224 of 256. They enlarge the original to 256; here the framed 224 are.
    """
    images = brightness_contrast(horizontal_flip(images), brightness=0.2, contrast=0.2)
    images = random_affine(
        images, degrees=10, translate=0.0625, scale=(0.8, 1.1), interpolation="nearest"
    )
    larger = F.interpolate(images, size=(_ENLARGED, _ENLARGED), mode="bilinear")
    return random_crop(larger, SIDE)


def resized(images: Tensor) -> Tensor:
    """(B, 1, 224, 224) of (B, 1, S, S) in 0..1."""
    if images.shape[-1] == SIDE:
        return images
    larger = F.interpolate(images, size=(SIDE, SIDE), mode="bicubic", antialias=True)
    return larger.clamp(0, 1)


def normalised(images: Tensor) -> Tensor:
    """Values in 0..1 as the towers take them; black is -2.0976."""
    return (images - PIXEL_MEAN) / PIXEL_STD
