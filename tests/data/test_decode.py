from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from bench.data.decode import read_square
from bench.errors import DataError


def test_an_image_is_centred_with_its_aspect_kept(tmp_path: Path) -> None:
    Image.fromarray(np.full((100, 200), 200, np.uint8)).save(tmp_path / "wide.png")
    square, box = read_square(tmp_path / "wide.png", 64)
    assert (square.shape, square.dtype) == ((64, 64), np.uint8)
    assert box == (16, 0, 32, 64)
    assert square[:16].max() == 0
    assert square[48:].max() == 0
    assert (square[16:48] == 200).all()


def test_sixteen_bit_images_keep_their_contrast(tmp_path: Path) -> None:
    ramp = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    square, _ = read_square(tmp_path / "deep.png", 64)
    assert square.min() < 3
    assert square.max() > 252
    assert abs(int(square[32, 32]) - 128) < 6


def test_a_colour_image_becomes_grey(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64, 3), (255, 0, 0), np.uint8)).save(tmp_path / "red.png")
    assert read_square(tmp_path / "red.png", 64)[0][32, 32] == 76


def test_the_fast_jpeg_decode_is_close_to_the_full_one(tmp_path: Path) -> None:
    y, x = np.mgrid[0:1200, 0:1000].astype(np.float32)
    picture = 120 + 60 * np.sin(x / 90) + 40 * np.cos(y / 130) + 10 * np.sin(x * y / 9000)
    full = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    full.save(tmp_path / "large.jpg", quality=95)
    square, (top, left, height, width) = read_square(tmp_path / "large.jpg", 112)
    expected = np.asarray(full.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    got = square[top : top + height, left : left + width].astype(np.float32)
    assert 10 * np.log10(255**2 / ((got - expected) ** 2).mean()) > 40


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0 cut"])
def test_what_is_not_an_image_is_named_as_such(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(DataError, match="not a readable image"):
        read_square(tmp_path / "bad.jpg", 64)


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (300, 300)).astype(np.uint8)).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a readable image"):
        read_square(tmp_path / "half.jpg", 64)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_square(tmp_path / "gone.png", 64)


@pytest.mark.parametrize("padding", [b"", b"\0" * 4000])
def test_a_jpeg_that_was_cut_and_padded_is_refused(tmp_path: Path, padding: bytes) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (300, 300)).astype(np.uint8)).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "padded.jpg").write_bytes(whole + padding)
    assert read_square(tmp_path / "padded.jpg", 64)[0].any()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2) + padding)
    with pytest.raises(DataError, match="not a readable image"):
        read_square(tmp_path / "cut.jpg", 64)


def test_a_palette_of_greys_is_read_and_one_of_colours_refused(tmp_path: Path) -> None:
    grey = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1)))
    shades = grey.convert("P")
    shades.putpalette([255 - i for i in range(256) for _ in range(3)])  # the palette inverts
    shades.save(tmp_path / "shades.png")
    notes: list[str] = []
    square, _ = read_square(tmp_path / "shades.png", 64, notes)
    assert (square == 255 - np.asarray(grey)).all()
    assert notes == ["palette of greys"]
    shades.putpalette([value for i in range(256) for value in (i, 0, 255 - i)])
    shades.save(tmp_path / "false.png")
    with pytest.raises(DataError, match="false colours"):
        read_square(tmp_path / "false.png", 64)


def test_cmyk_is_refused(tmp_path: Path) -> None:
    Image.new("CMYK", (64, 64), (0, 0, 0, 90)).save(tmp_path / "print.jpg")
    with pytest.raises(DataError, match="CMYK"):
        read_square(tmp_path / "print.jpg", 64)


@pytest.mark.parametrize("name", ["turned.jpg", "turned.png", "turned.tif"])
@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (1, 1)), (6, (0, 1))])
def test_an_image_is_turned_as_its_exif_says(
    tmp_path: Path, name: str, orientation: int, corner: tuple[int, int]
) -> None:
    pixels = np.zeros((30, 60), np.uint8)
    pixels[:15, :30] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(tmp_path / name, exif=exif)
    square, (top, left, height, width) = read_square(tmp_path / name, 60)
    assert (height, width) == ((60, 30) if orientation == 6 else (30, 60))
    picture = square[top : top + height, left : left + width]
    quarters = picture.reshape(2, height // 2, 2, width // 2).mean(axis=(1, 3))
    assert np.unravel_index(quarters.argmax(), (2, 2)) == corner
    assert quarters.max() > 240


@pytest.mark.parametrize("spoilt", [[0.5, np.nan], [np.nan, np.nan], [0.5, np.inf]])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, spoilt: list[float]) -> None:
    Image.fromarray(np.tile(np.float32(spoilt), (20, 10))).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match="not finite"):
        read_square(tmp_path / "float.tif", 32)


def test_an_image_is_turned_though_another_tag_is_spoilt(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "maker"
    Image.fromarray(np.zeros((20, 40), np.uint8)).save(tmp_path / "whole.jpg", exif=exif)
    whole = (tmp_path / "whole.jpg").read_bytes()
    make, width = (int(tag).to_bytes(2) for tag in (ExifTags.Base.Make, ExifTags.Base.ImageWidth))
    (tmp_path / "spoilt.jpg").write_bytes(whole.replace(make, width, 1))  # a width in letters
    assert read_square(tmp_path / "spoilt.jpg", 40)[1] == (0, 10, 40, 20)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_a_pipe_or_a_folder_is_no_image_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png"):
        with pytest.raises(DataError, match="not a file"):
            read_square(tmp_path / name, 64)


def test_a_reason_does_not_tell_where_the_image_lay(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"page\.png") as told:
        read_square(tmp_path / "page.png", 64)
    assert str(tmp_path) not in str(told.value)
