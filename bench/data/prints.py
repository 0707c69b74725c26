"""Which pictures are the same: an exact mark of a stored picture and one that survives re-encoding.

The second is the sign of the horizontal grey steps of a 17 x 16 thumbnail (a difference hash,
256 bits). Two hashes that differ in few bits agree in at least one of eight 32-bit words, so the
pairs worth a look are found by sorting; a pair counts when its thumbnails agree as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.data.decode import Box

_SIDE = 16
_STEP = 2  # grey levels below which two neighbours are taken as equal
_BITS = 7  # bits that may differ; 8 words then share one at least
_GREY = 4.0  # mean difference of two thumbnails, in grey levels
_CROWD = 64  # images that share a word; it says nothing then (a black margin)


class Print(NamedTuple):
    """Marks of one picture, as hex digits, so that they can be kept as JSON."""

    exact: str
    """Same digits, same stored pixels."""
    steps: str
    """256 bits that differ little between copies of one picture."""
    thumbnail: str
    """8 x 8 grey values."""


def picture_print(square: np.ndarray, box: Box) -> Print:
    """The marks of a stored picture: its (S, S) uint8 square and where it lies in it."""
    import hashlib

    from PIL import Image

    top, left, height, width = box
    picture = Image.fromarray(square[top : top + height, left : left + width])
    small = np.asarray(picture.resize((_SIDE + 1, _SIDE), Image.Resampling.BOX), np.int16)
    steps = np.packbits(small[:, 1:] - small[:, :-1] > _STEP)
    exact = hashlib.sha256(square.tobytes()).hexdigest()[:32]
    half = _SIDE // 2
    grey = small[:, :-1].reshape(half, 2, half, 2).mean(axis=(1, 3)).astype(np.uint8)
    return Print(exact, steps.tobytes().hex(), grey.tobytes().hex())


def same_pictures(prints: Sequence[Print]) -> list[tuple[int, int, bool]]:
    """Pairs (earlier row, later row, exactly?) of the same picture.

    Of a group of exact copies each later one is paired with the first.
    """
    first: dict[str, int] = {}
    pairs: list[tuple[int, int, bool]] = []
    for row, mark in enumerate(prints):
        if mark.exact in first:
            pairs.append((first[mark.exact], row, True))
        else:
            first[mark.exact] = row
    rows = np.array(list(first.values()), int)
    if len(rows) < 2:
        return pairs
    bits = np.frombuffer(bytes.fromhex("".join(prints[r].steps for r in rows)), np.uint8)
    bits = bits.reshape(len(rows), -1)
    grey = np.frombuffer(bytes.fromhex("".join(prints[r].thumbnail for r in rows)), np.uint8)
    grey = grey.reshape(len(rows), -1)
    near = _candidates(bits)
    differing = np.unpackbits(bits[near[:, 0]] ^ bits[near[:, 1]], axis=1).sum(axis=1)
    near = near[differing <= _BITS]
    distance = np.abs(grey[near[:, 0]].astype(np.int16) - grey[near[:, 1]]).mean(axis=1)
    near = near[distance <= _GREY]
    return pairs + [(int(rows[a]), int(rows[b]), False) for a, b in near]


def _candidates(bits: np.ndarray) -> np.ndarray:
    """(pairs, 2) of places whose hashes share one of their 32-bit words, the smaller first."""
    words = np.ascontiguousarray(bits).view(np.uint32)
    found = [np.empty((0, 2), int)]
    for word in words.T:
        order = np.argsort(word, kind="stable")
        ordered = word[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        lengths = np.diff(np.r_[starts, len(ordered)])
        for length in range(2, min(_CROWD, int(lengths.max())) + 1):
            groups = order[starts[lengths == length][:, None] + np.arange(length)]
            if len(groups):
                a, b = np.triu_indices(length, 1)
                found.append(np.stack([groups[:, a].ravel(), groups[:, b].ravel()], axis=1))
    return np.unique(np.concatenate(found), axis=0)
