"""Where a model's score of a finding comes from: a map over the picture, and the picture under it.

A method's own map is taken where it has one (`Method.saliency`). Otherwise it is Integrated
Gradients (Sundararajan, Taly & Yan, ICML 2017) from the mean training picture: how much of the
difference between the two scores comes from the pixels of a place. What lowers the score is left
out. docs/predict.md has what was measured of it and of the alternatives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.classes import spelled
from bench.errors import MethodError, UsageError
from bench.protocol.method import Method
from bench.protocol.prompts import HEADLINE, Prompts, prompts_for
from bench.runs.cohort import Finding
from bench.runs.predict import Picture, Predictor

if TYPE_CHECKING:
    from PIL.Image import Image

_STEPS = 16  # of the integral between the two pictures
_BLUR = 1 / 20  # standard deviation of the smoothing, as a share of the image's side
_SHOWN = 448  # longer side of a shown picture in pixels
_LETTER = 15  # height of the letters


class Map(NamedTuple):
    """A map of one finding over one picture."""

    values: np.ndarray
    """(S, S) float32 from 0 to 1 over the model's input."""
    kind: str
    """What it is, in words."""


def saliency(
    method: Method, images: Tensor, mean: Tensor, classes: Sequence[str], column: int
) -> tuple[Tensor, str]:
    """(N, S, S) maps of one class over (N, 1, S, S) uint8 images, from 0 to 1; and what they are.

    Args:
        mean: (S, S) uint8, what the images are compared with.

    Raises:
        MethodError: the method has no map of its own and its score no gradient by pixel.
    """
    prompts = prompts_for(HEADLINE, classes)
    with torch.no_grad():
        own = method.saliency(images, prompts)
    if own is not None:
        side = images.shape[-1]
        maps = F.interpolate(own[:, [column]].float(), size=(side, side), mode="bilinear")
        kind = f"the method's own map, {own.shape[-2]} x {own.shape[-1]} places"
    else:
        found = [attributions(method, image, mean, prompts, column) for image in images[:, 0]]
        maps = _blurred(torch.stack(found)[:, None]).clamp(min=0)
        kind = "what raises its score above the mean picture's"
    return maps[:, 0] / maps.amax(dim=(1, 2, 3))[:, None, None].clamp(min=1e-30), kind


def attributions(
    method: Method, image: Tensor, mean: Tensor, prompts: Prompts, column: int
) -> Tensor:
    """(S, S) share of each pixel in how much more a class scores in an image than in the mean.

    They sum to that difference, up to the steps of the integral (midpoint rule).

    Raises:
        MethodError: the score has no gradient by pixel, or one that is not finite.
    """
    method.model.eval()
    start, end = mean.float(), image.float()
    steps = (torch.arange(_STEPS) + 0.5) / _STEPS
    pixels = start + steps[:, None, None, None] * (end - start)
    pixels.requires_grad_(True)
    # Methods turn pixels into floats first of all, so floats go through like uint8.
    with torch.enable_grad():
        scores = method.score(pixels, prompts)[:, column].sum()
        found = None
        if scores.requires_grad:
            found = torch.autograd.grad(scores, pixels, allow_unused=True)[0]
    if found is None or not torch.isfinite(found).all():
        raise MethodError(
            f"{type(method).__name__} has no saliency: its score has no finite gradient by pixel, "
            "and it has no map of its own (Method.saliency)."
        )
    return (end - start) * found.mean(dim=(0, 1))


def write_overlays(
    predictor: Predictor,
    pictures: Sequence[Picture],
    wanted: Sequence[Sequence[Finding]],
    out: Path,
) -> list[list[Path]]:
    """A PNG for each picture and each finding wanted of it: the picture, and the map on it.

    Args:
        wanted: of each picture the findings to show.
        out: a folder, which is made.

    Raises:
        UsageError: the folder cannot be written.
        MethodError: as `saliency`.
    """
    if not pictures:
        return []
    part = predictor.part(pictures)
    images, mean = torch.cat(list(part.images())), torch.from_numpy(predictor.mean)
    named = [{finding.name: finding for finding in findings} for findings in wanted]
    maps: dict[tuple[int, str], Map] = {}
    for name in dict.fromkeys(name for findings in named for name in findings):
        rows = [row for row, findings in enumerate(named) if name in findings]
        column = predictor.classes.index(name)
        values, kind = saliency(predictor.method, images[rows], mean, predictor.classes, column)
        maps |= {(row, name): Map(v.numpy(), kind) for row, v in zip(rows, values, strict=True)}
    framed = predictor.method.config.preprocessing == "own"
    names = _file_names([picture.path.stem for picture in pictures], [list(n) for n in named])
    written: list[list[Path]] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for row, (picture, findings) in enumerate(zip(pictures, named, strict=True)):
            # In a frame of its own a method may see part of a picture: what it sees is shown.
            seen = Picture(picture.path, images[row, 0].numpy(), (0, 0, *images.shape[-2:]), ())
            paths = {name: out / file for name, file in zip(findings, names[row], strict=True)}
            for name, path in paths.items():
                page = overlay(seen if framed else picture, maps[row, name], findings[name])
                page.save(path, format="PNG")
            written.append(list(paths.values()))
    except OSError as error:
        raise UsageError(
            f"--saliency {out} cannot be written: {error.strerror or error}. Name another folder."
        ) from error
    return written


def overlay(picture: Picture, found: Map, finding: Finding) -> Image:
    """The picture without padding, and beside it the same under the map, with the finding's name.

    The map lies over the whole square of the picture. Its brightest place is as bright whatever the
    score, so that the probability stands beside it.
    """
    from PIL import Image, ImageDraw, ImageFont

    top, left, height, width = picture.box
    side = len(picture.square)
    heat = Image.fromarray(found.values).resize((side, side), Image.Resampling.BILINEAR)
    cut = (left, top, left + width, top + height)
    scale = _SHOWN / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = Image.fromarray(picture.square).crop(cut).resize(size, Image.Resampling.BICUBIC)
    share = np.asarray(heat.crop(cut).resize(size, Image.Resampling.BILINEAR))[..., None]
    plain = np.repeat(np.asarray(grey, np.float32)[..., None], 3, axis=-1)
    warm = np.concatenate([0 * share + 255, 220 * share**2, 0 * share], axis=-1)
    mixed = plain + 0.65 * share**1.5 * (warm - plain)  # little shows as little
    both = np.hstack([plain, mixed]).clip(0, 255).astype(np.uint8)

    probability = finding.probability
    told = "unknown" if probability is None else f"{probability:.3f}"
    words = (
        f"{spelled(finding.name)} (probability {told}): {found.kind}",
        "For research, not for diagnosis.",
    )
    font = ImageFont.load_default(_LETTER)
    wide = max(both.shape[1], *(math.ceil(font.getlength(line)) + _LETTER for line in words))
    strip = 2 * _LETTER
    page = Image.new("RGB", (wide, both.shape[0] + 2 * strip))
    page.paste(Image.fromarray(both), (0, strip))
    draw = ImageDraw.Draw(page)
    for line, down in zip(words, (0, strip + both.shape[0]), strict=True):
        draw.text((_LETTER // 2, down + _LETTER // 2), line, fill="white", font=font)
    return page


def _blurred(maps: Tensor) -> Tensor:
    """(N, 1, S, S) smoothed by a Gaussian, edges repeated."""
    sigma = max(maps.shape[-1] * _BLUR, 1e-3)
    reach = min(math.ceil(3 * sigma), maps.shape[-1] - 1)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weights = weights / weights.sum()
    maps = F.conv2d(F.pad(maps, (reach, reach, 0, 0), "replicate"), weights[None, None, None])
    return F.conv2d(F.pad(maps, (0, 0, reach, reach), "replicate"), weights[None, None, :, None])


def _file_names(stems: Sequence[str], wanted: Sequence[Sequence[str]]) -> list[list[str]]:
    """Of each picture the files of its findings; no two are one, on no file system.

    >>> _file_names(["a", "a"], [["Lung Opacity"], ["Lung Opacity", "x/y"]])
    [['a-lung-opacity.png'], ['a-2-lung-opacity.png', 'a-2-x-y.png']]
    """
    taken: set[str] = set()
    told = []
    for stem, names in zip(stems, wanted, strict=True):
        slugs = _distinct([re.sub(r"[^\w.()-]+", "-", spelled(name)) for name in names])
        for number in count(1):
            base = stem if number == 1 else f"{stem}-{number}"
            files = [f"{base}-{slug}.png" for slug in slugs]
            folded = {file.casefold() for file in files}
            if taken.isdisjoint(folded):
                break
        taken |= folded
        told.append(files)
    return told


def _distinct(words: Sequence[str]) -> list[str]:
    """The words, with a number after those that are there already."""
    taken: dict[str, str] = {}
    for word in words:
        numbered = (word if number == 1 else f"{word}-{number}" for number in count(1))
        free = next(one for one in numbered if one.casefold() not in taken)
        taken[free.casefold()] = free
    return list(taken.values())
