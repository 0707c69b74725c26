"""Image file -> one-channel uint8, resized with antialiasing and centred on a black square."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.errors import DataError


def read_square(path: Path, size: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """The image as a (size, size) uint8 square, and its box (top, left, height, width) in it.

    The longer side becomes `size`, the aspect ratio is kept and the rest is black, as CheXzero
    does (its data_process.py@5c341db, with antialiased bicubic in place of Lanczos). JPEGs are
    decoded at the smallest DCT scale that is at least twice the target: half the time of a full
    decode at a difference smaller than that between bicubic and Lanczos. An orientation in the
    file's EXIF is honoured.

    Raises:
        DataError: the file is missing, empty, truncated, not an image, absurdly large, or holds
            values that are not finite.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            # Without a name no memory map is made; Pillow's scrambles TIFFs that lie on their side.
            image.filename = ""
            image.draft("L", (2 * size, 2 * size))
            grey = _upright(_to_grey(image), image)
    except FileNotFoundError as error:
        raise DataError("no such file") from error
    except DataError:
        raise
    except Exception as error:  # Pillow raises almost anything on spoilt bytes
        raise DataError(f"not a readable image ({type(error).__name__}: {error})") from error
    scale = size / max(grey.size)
    width, height = (max(1, round(side * scale)) for side in grey.size)
    small = grey.resize((width, height), Image.Resampling.BICUBIC)
    top, left = (size - height) // 2, (size - width) // 2
    square = np.zeros((size, size), np.uint8)
    square[top : top + height, left : left + width] = np.asarray(small)
    return square, (top, left, height, width)


def _to_grey(image):  # type: ignore[no-untyped-def]  # Pillow's own types are lazy imports here
    """Mode L; 16-bit and float images are scaled by their own range, not clipped to white."""
    from PIL import Image

    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        values = np.asarray(image, np.float32)
        if not np.isfinite(values).all():
            raise DataError("holds values that are not finite numbers (NaN or infinity)")
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) * (255.0 / max(high - low, 1e-9))
        return Image.fromarray(scaled.round().astype(np.uint8))
    return image.convert("L")


def _upright(grey, image):  # type: ignore[no-untyped-def]
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
    }.get(image.getexif().get(ExifTags.Base.Orientation))
    return grey if turn is None else grey.transpose(turn)
