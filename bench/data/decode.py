"""Image file -> one-channel uint8, resized with antialiasing and centred on a black square."""

from __future__ import annotations

import stat
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

VERSION = 1
"""Raised when the same file would give other pixels."""

Box = tuple[int, int, int, int]
_TAIL = 1 << 16  # bytes at the end of a JPEG in which its end marker is looked for


def read_square(
    path: Path, size: int, notes: list[str] | None = None, *, cropped: bool = False
) -> tuple[np.ndarray, Box]:
    """The image as a (size, size) uint8 square, and its box (top, left, height, width) in it.

    The longer side becomes `size`, the aspect ratio is kept and the rest is black, as CheXzero
    does (its data_process.py@5c341db, with antialiased bicubic in place of Lanczos). JPEGs are
    decoded at the smallest DCT scale that is at least twice the target: half the time of a full
    decode at a difference smaller than that between bicubic and Lanczos. An orientation in the
    file's EXIF is honoured, and a DICOM file (by content, not by name) is shown as it asks to be.

    Args:
        notes: takes what was done to the image beyond decoding ("16-bit, scaled by its range").
        cropped: the shorter side becomes `size` instead, and what of the longer one is beyond the
            central square is lost, as CLIP's own preprocessing does.

    Raises:
        DataError: the file is missing, empty, truncated, not an image, absurdly large, in colours
            that are not shades of grey, or holds values that are not finite.
        UsageError: the file is DICOM, and what reads that is not installed.
    """
    said: list[str] = [] if notes is None else notes
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its other end
            raise DataError("not a readable image (a folder or device, not a file)")
        with open(path, "rb") as file:
            head = file.read(132)
        if not head:
            raise DataError("not a readable image (the file is empty)")
        if head[128:] == b"DICM":
            from bench.data.dicom import read_dicom

            grey = _by_range(read_dicom(path, said))
        else:
            grey = _read(path, size, said)
    except FileNotFoundError as error:
        raise DataError("no such file") from error
    except BenchError:
        raise
    except Exception as error:  # Pillow raises almost anything on spoilt bytes
        why = str(error).replace(str(path), path.name)  # a store does not tell where it was made
        raise DataError(f"not a readable image ({type(error).__name__}: {why})") from error
    return _square(grey, size, cropped)


def pillow() -> str:
    """The version of Pillow, whose releases may differ by a grey level."""
    import PIL

    return PIL.__version__


def _square(grey: Image, size: int, cropped: bool) -> tuple[np.ndarray, Box]:
    from PIL import Image

    if cropped:
        side = min(grey.size)
        left, top = ((whole - side) / 2 for whole in grey.size)
        centre = (left, top, left + side, top + side)
        small = grey.resize((size, size), Image.Resampling.BICUBIC, centre)
        return np.asarray(small), (0, 0, size, size)
    scale = size / max(grey.size)
    width, height = (max(1, round(side * scale)) for side in grey.size)
    small = grey.resize((width, height), Image.Resampling.BICUBIC)
    top, left = (size - height) // 2, (size - width) // 2
    square = np.zeros((size, size), np.uint8)
    square[top : top + height, left : left + width] = np.asarray(small)
    return square, (top, left, height, width)


def _read(path: Path, size: int, said: list[str]) -> Image:
    from PIL import Image

    with warnings.catch_warnings():
        # Spoilt tags are not worth a line each; what is absurdly large is worth a refusal.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(path)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise DataError(f"absurdly large ({error})") from error
        with image:
            # Without a name no memory map is made; Pillow's scrambles TIFFs that lie on their side.
            image.filename = ""
            if image.format == "JPEG":
                _refuse_cut_jpeg(path)
            image.draft("L", (2 * size, 2 * size))
            return _upright(_to_grey(image, said), image, said)


def _refuse_cut_jpeg(path: Path) -> None:
    """libjpeg fills what is missing with grey where the file was padded to its full length."""
    with open(path, "rb") as file:
        length = file.seek(0, 2)
        file.seek(max(0, length - _TAIL))
        if b"\xff\xd9" not in file.read():
            raise DataError("not a readable image (truncated: a JPEG without its end marker)")


def _to_grey(image: Image, said: list[str]) -> Image:
    """Mode L; 16-bit and float images are scaled by their own range, not clipped to white."""
    mode = image.mode
    if mode in {"I", "F"} or mode.startswith("I;16"):
        said.append("more than 8 bits, scaled by its own range")
        return _by_range(np.asarray(image, np.float32))
    if mode == "CMYK":
        # Programs disagree about which end is black, and an X-ray does not show it.
        raise DataError("CMYK colours, in which black and white cannot be told apart")
    if mode in {"P", "PA"}:
        colours = np.asarray(image.convert("RGB"))
        if (colours != colours[..., :1]).any():
            raise DataError("a palette of false colours, not of greys")
        said.append("palette of greys")
        return image.convert("RGB").convert("L")
    if mode in {"RGB", "RGBA", "YCbCr", "LAB", "HSV"}:
        said.append("colour, made grey")
    return image.convert("L")


def _by_range(values: np.ndarray) -> Image:
    from PIL import Image

    values = values.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise DataError("holds values that are not finite numbers (NaN or infinity)")
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255.0 / max(high - low, 1e-9))
    return Image.fromarray(scaled.round().astype(np.uint8))


def _upright(grey: Image, image: Image, said: list[str]) -> Image:
    """`grey` turned as the EXIF of `image` says. `ImageOps.exif_transpose` also rewrites the EXIF,
    and fails on an image whose other tags are spoilt."""
    from PIL import ExifTags, Image

    turns = Image.Transpose
    turn = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    if turn is None:
        return grey
    said.append("turned as its EXIF says")
    return grey.transpose(turn)
