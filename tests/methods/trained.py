"""A part of a data set to train on in tests of methods."""

from __future__ import annotations

import numpy as np
import torch

from bench.data import Dataset
from bench.protocol.batches import Split


def part_of(dataset: Dataset, start: int, stop: int) -> Split:
    """Rows of a data set with its captions, on the CPU."""
    rows = np.arange(start, stop)
    texts = dataset.reports
    return Split(dataset, rows, texts, texts, dataset.size, torch.device("cpu"))
