from __future__ import annotations

import numpy as np

from bench.classes import CLASSES
from bench.protocol.captions import meta_captions


def test_a_caption_names_the_positive_classes_in_class_order() -> None:
    labels = np.zeros((1, 40), np.uint8)
    labels[0, [CLASSES.index("Pleural Effusion"), CLASSES.index("Adenopathy")]] = 1
    assert meta_captions(labels, np.ones((1, 40), bool), CLASSES) == (
        "adenopathy is present, pleural effusion is present",
    )


def test_what_the_source_does_not_label_is_never_written() -> None:
    labels, mask = np.ones((1, 2), np.uint8), np.array([[True, False]])
    assert meta_captions(labels, mask, ("Edema", "Mass")) == ("edema is present",)


def test_an_image_without_a_positive_has_no_caption() -> None:
    assert meta_captions(np.zeros((1, 1)), np.ones((1, 1), bool), ("Edema",)) == ("",)
