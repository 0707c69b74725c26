from __future__ import annotations

import numpy as np
import torch

from bench.protocol.batches import Split, _move
from bench.protocol.planted import planted_dataset

DATA = planted_dataset()
CPU = torch.device("cpu")


def _split(rows: np.ndarray, size: int = 64) -> Split:
    texts = DATA.reports
    return Split(DATA, rows, texts, texts, size, CPU)


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


def test_a_part_without_images_is_framed_too() -> None:
    texts = DATA.reports
    split = Split(DATA, np.arange(0), texts, texts, 64, CPU, lambda picture: picture)
    assert len(split) == 0
    assert len(split.batch(np.arange(0)).images) == 0
