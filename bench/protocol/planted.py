"""A data set that any method has to learn: three classes, three bright places."""

from __future__ import annotations

import numpy as np

from bench.data import Dataset
from bench.protocol.captions import meta_captions

CLASSES = ("Cardiomegaly", "Hernia", "Pleural Effusion")
_IMAGES, _SIDE = 96, 64


def planted_dataset() -> Dataset:
    """Noise images in which each class brightens one place of its own; an image a patient."""
    rng = np.random.default_rng(7)
    labels = (rng.random((_IMAGES, len(CLASSES))) < 0.4).astype(np.uint8)
    labels[labels.sum(1) == 0, 0] = 1
    pixels = rng.integers(40, 120, (_IMAGES, _SIDE, _SIDE)).astype(np.int16)
    for c in range(len(CLASSES)):
        place = slice(4 + 20 * c, 20 + 20 * c)
        pixels[labels[:, c] == 1, place, place] += 110
    names = tuple(f"image-{row}" for row in range(_IMAGES))
    captions = meta_captions(labels, np.ones_like(labels, bool), CLASSES)
    return Dataset(
        name="planted",
        classes=CLASSES,
        pixels=pixels.clip(0, 255).astype(np.uint8),
        boxes=np.tile(np.array([0, 0, _SIDE, _SIDE], np.int16), (_IMAGES, 1)),
        labels=labels,
        mask=np.ones_like(labels, bool),
        images=names,
        patients=np.asarray(names),
        studies=np.asarray(names),
        sources=np.asarray(["planted"] * _IMAGES),
        findings=captions,
        impressions=captions,
        fingerprint="planted",
        synthetic=True,
        left_out={},
    )
