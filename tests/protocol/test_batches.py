from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.protocol import batches
from bench.protocol.batches import Split, _move
from bench.protocol.planted import planted_dataset

DATA = planted_dataset()
CPU = torch.device("cpu")


Frame = Callable[[np.ndarray], np.ndarray]


def _split(
    rows: np.ndarray, size: int = 64, frame: Frame | None = None, device: torch.device = CPU
) -> Split:
    texts = DATA.reports
    return Split(DATA, rows, texts, texts, size, device, frame)


def _halved(picture: np.ndarray) -> np.ndarray:
    return picture[::2, ::2].copy()


def _all_of(split: Split) -> torch.Tensor:
    """Images of an epoch with moves, then those of the evaluation."""
    rng = np.random.default_rng(0)
    trained = [batch.images for batch in split.batches(16, rng, shift=0.1)]
    return torch.cat([*trained, *split.images()]).cpu()


def test_a_batch_holds_what_the_data_set_holds_at_its_rows() -> None:
    rows = np.arange(10, 50)
    (batch,) = _split(rows).batches(40, np.random.default_rng(0))
    assert sorted(batch.rows.tolist()) == rows.tolist()
    for place, row in enumerate(batch.rows.tolist()):
        assert torch.equal(batch.images[place, 0], torch.from_numpy(DATA.pixels[row]))
        assert batch.texts[place] == DATA.reports[row]
        assert batch.labels[place].tolist() == DATA.labels[row].tolist()


def test_only_full_batches_unless_there_is_none() -> None:
    rng = np.random.default_rng(0)
    assert [len(b.texts) for b in _split(np.arange(50)).batches(16, rng)] == [16, 16, 16]
    assert [len(b.texts) for b in _split(np.arange(5)).batches(16, rng)] == [5]


def test_an_epoch_is_decided_by_its_generator() -> None:
    split = _split(np.arange(64))
    first, second, other = (
        torch.cat([b.images for b in split.batches(16, np.random.default_rng(seed), shift=0.1)])
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_move_shifts_down_and_right_and_repeats_the_edge() -> None:
    images = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    moved = _move(images, np.array([[1, -2]]))
    expected = torch.tensor([[2, 3, 3, 3], [2, 3, 3, 3], [6, 7, 7, 7], [10, 11, 11, 11]])
    assert torch.equal(moved[0, 0], expected.to(torch.uint8))


def test_larger_images_are_shrunk_once_and_smaller_ones_left_alone() -> None:
    assert next(_split(np.arange(3), size=32).images()).shape == (3, 1, 32, 32)
    assert next(_split(np.arange(3), size=128).images()).shape == (3, 1, 64, 64)


def test_images_of_the_stored_size_stay_in_their_memory_map(tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", DATA.pixels)
    mapped = replace(DATA, pixels=np.load(tmp_path / "pixels.npy", mmap_mode="r"))
    split = Split(mapped, np.arange(5, 90), DATA.reports, DATA.reports, 64, CPU)
    held = [part for part in vars(split).values() if isinstance(part, torch.Tensor)]
    assert held == []
    assert torch.equal(_all_of(split), _all_of(_split(np.arange(5, 90))))
    images = next(split.images())
    images += 1
    assert torch.equal(images[0, 0], torch.from_numpy(DATA.pixels[5] + 1))


@pytest.mark.parametrize(("size", "frame"), [(64, None), (40, None), (64, _halved)])
def test_images_that_do_not_fit_in_memory_are_the_same_batch_by_batch(
    monkeypatch: pytest.MonkeyPatch, size: int, frame: Frame | None
) -> None:
    rows = np.arange(90)[::-1]
    at_once = _all_of(_split(rows, size, frame))
    monkeypatch.setattr(batches, "_IN_MEMORY", 0)
    split = _split(rows, size, frame)
    assert split._ready is None
    assert torch.equal(_all_of(split), at_once)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("share", [0.5, 0.0])
@pytest.mark.parametrize(("size", "frame"), [(64, None), (64, _halved)])
def test_batches_on_a_gpu_are_those_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, size: int, frame: Frame | None, share: float
) -> None:
    monkeypatch.setattr(batches, "_SHARE_OF_GPU", share)
    on_gpu = _split(np.arange(90), size, frame, torch.device("cuda"))
    assert torch.equal(_all_of(on_gpu), _all_of(_split(np.arange(90), size, frame)))


def test_a_part_without_images_is_framed_too() -> None:
    split = _split(np.arange(0), frame=lambda picture: picture)
    assert len(split) == 0
    assert len(split.batch(np.arange(0)).images) == 0
