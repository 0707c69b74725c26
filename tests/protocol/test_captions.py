from __future__ import annotations

import numpy as np

from bench.classes import CLASSES
from bench.protocol.captions import ClauseSampler, meta_captions


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


def test_sampled_captions_say_only_what_the_labels_say() -> None:
    labels = np.array([[1, 1, 0, 0, 1]])
    mask = np.array([[True, True, True, False, False]])
    sampler = ClauseSampler(labels, mask, ("Edema", "Mass", "Normal", "Hernia", "Nodule"))
    rng = np.random.default_rng(0)
    drawn = [set(sampler(0, rng).split(", ")) for _ in range(300)]
    assert set.union(*drawn) == {"edema is present", "mass is present", "abnormal"}
    assert all(clauses - {"abnormal"} for clauses in drawn)
    assert any(clauses == {"mass is present"} for clauses in drawn)


def test_an_image_without_a_positive_has_no_sampled_caption() -> None:
    sampler = ClauseSampler(np.zeros((1, 1)), np.ones((1, 1), bool), ("Edema",))
    assert sampler(0, np.random.default_rng(0)) == ""
