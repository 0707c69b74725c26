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
    decode at a difference smaller than that between bicubic and Lanczos.

    Raises:
        DataError: the file is missing, empty, truncated, not an image, or absurdly large.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.draft("L", (2 * size, 2 * size))
            grey = _to_grey(image)
    except FileNotFoundError as error:
        raise DataError("no such file") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
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
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) * (255.0 / max(high - low, 1e-9))
        return Image.fromarray(scaled.round().astype(np.uint8))
    return image.convert("L")
