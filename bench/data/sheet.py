"""Contact sheets: many small images on one page, each with its caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_LEAST = 128  # pixels a tile is wide at least, for the caption's sake
_TEXT, _GAP = 11, 4


def contact_sheet(
    pixels: np.ndarray, captions: Sequence[str], path: Path, columns: int = 6
) -> None:
    """Writes (n, H, W) uint8 `pixels` to `path` as one PNG, a caption of one line under each tile.

    Small images are enlarged by a whole factor; a caption that is too long ends in an ellipsis.
    """
    n, height, width = pixels.shape
    factor = max(1, -(-_LEAST // width))
    tile_w, tile_h = width * factor, height * factor
    step_x, step_y = tile_w + _GAP, tile_h + _TEXT + 3 * _GAP
    columns = max(1, min(columns, n))
    rows = -(-n // columns)
    page = Image.new("L", (columns * step_x + _GAP, rows * step_y + _GAP), 255)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(_TEXT)
    for i, caption in enumerate(captions):
        x, y = _GAP + (i % columns) * step_x, _GAP + (i // columns) * step_y
        tile = Image.fromarray(pixels[i])
        page.paste(tile.resize((tile_w, tile_h), Image.Resampling.NEAREST), (x, y))
        text = caption
        while len(text) > 1 and draw.textlength(text, font=font) > tile_w:
            text = text.removesuffix("…")[:-1] + "…"
        draw.text((x, y + tile_h + 1), text, fill=0, font=font)
    page.save(path, format="PNG")
