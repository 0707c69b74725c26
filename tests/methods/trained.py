"""A part of a data set to train on in tests of methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from bench.data import Dataset
from bench.protocol.batches import Split
from bench.protocol.method import Method
from bench.protocol.planted import planted_dataset
from bench.protocol.trainer import train


def part_of(dataset: Dataset, start: int, stop: int) -> Split:
    """Rows of a data set with its captions, on the CPU."""
    rows = np.arange(start, stop)
    texts = dataset.reports
    return Split(dataset, rows, texts, texts, dataset.size, torch.device("cpu"))


def losses_of(method: Method) -> list[float]:
    """The training loss of each of three epochs on the planted signal; the method is trained."""
    method.config = replace(
        method.config, preprocessing="common", epochs=3, batch_size=16, lr=1e-3, schedule="constant"
    )
    dataset = planted_dataset()
    parts = part_of(dataset, 0, 64), part_of(dataset, 64, 96)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        history = train(method, *parts, (0,), lambda entry: None).history
    return [entry["loss"] for entry in history]
