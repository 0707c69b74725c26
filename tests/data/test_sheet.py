from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.sheet import contact_sheet


def test_sheet_holds_every_tile_enlarged_by_a_whole_factor(tmp_path: Path):
    pixels = np.stack([np.full((64, 64), level, np.uint8) for level in (0, 50, 100, 150, 200)])
    path = tmp_path / "sheet.png"
    contact_sheet(pixels, [f"tile {i}" for i in range(5)], path, columns=3)
    page = np.asarray(Image.open(path))
    assert page.shape[1] >= 3 * 128
    for level in (0, 50, 100, 150, 200):
        assert (page == level).sum() >= 128 * 128


def test_long_captions_are_cut_to_their_tile(tmp_path: Path):
    pixels = np.full((2, 128, 128), 90, np.uint8)
    path = tmp_path / "sheet.png"
    contact_sheet(pixels, ["short", "a very long caption " * 20], path, columns=2)
    page = np.asarray(Image.open(path))
    last = np.flatnonzero((page < 80).any(axis=0)).max()
    assert last < page.shape[1]
    assert (page[:, -3:] == 255).all()
