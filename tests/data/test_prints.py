"""Which pictures are taken to be the same, and which to hang wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import load_dataset
from bench.data.polarity import NEGATIVE, UPSIDE_DOWN, odd_pictures
from bench.data.prints import Print, picture_print, same_pictures

WHOLE = (0, 0, 64, 64)


def _marks(pixels: np.ndarray) -> list[Print]:
    return [picture_print(square, (0, 0, *square.shape)) for square in pixels]


def _recoded(square: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(square).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file))


def test_no_two_phantom_images_are_the_same() -> None:
    assert same_pictures(_marks(load_dataset("phantom:n=240").pixels)) == []


def test_copies_are_found_and_told_from_recoded_ones() -> None:
    pixels = np.array(load_dataset("phantom:n=240").pixels)
    pixels[100] = pixels[7]
    pixels[150] = _recoded(pixels[9], 85)
    pixels[200] = pixels[7]
    assert same_pictures(_marks(pixels)) == [(7, 100, True), (7, 200, True), (9, 150, False)]


def test_black_pictures_do_not_take_for_ever() -> None:
    marks = [picture_print(np.full((64, 64), i % 250, np.uint8), WHOLE) for i in range(3000)]
    assert all(exactly for _, _, exactly in same_pictures(marks))


def test_negatives_and_pictures_upside_down_are_told_apart() -> None:
    pixels = np.array(load_dataset("phantom:n=240").pixels)
    assert odd_pictures(_marks(pixels)) == {NEGATIVE: [], UPSIDE_DOWN: []}
    found = odd_pictures(_marks(255 - pixels))
    assert len(found[NEGATIVE]) > 235
    assert found[UPSIDE_DOWN] == []
    found = odd_pictures(_marks(pixels[:, ::-1]))
    assert len(found[UPSIDE_DOWN]) > 120
    assert len(found[NEGATIVE]) < 3
    assert odd_pictures([]) == {}


@pytest.fixture
def real(openreal: Path) -> np.ndarray:
    from bench.data.decode import read_square

    files = sorted((openreal / "images").glob("nih_*.jpg"))[:200]
    return np.stack([read_square(file, 112)[0] for file in files])


def test_real_films_are_neither_the_same_nor_negatives(real: np.ndarray) -> None:
    marks = _marks(real)
    assert [pair for pair in same_pictures(marks) if not pair[2]] == []
    assert sum(map(len, odd_pictures(marks).values())) <= 1
    assert len(odd_pictures(_marks(255 - real))[NEGATIVE]) > 180
