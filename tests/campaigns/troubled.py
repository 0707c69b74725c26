"""A small method with troubles: the word in a file `trouble` beside it says which.

    hold      every training waits after its first epoch, while the file is there
    nan       the fifth loss and all after it are not finite
    hungry    one loss allocates without bound, until the system refuses
    killed    the process is killed at the fourth loss, as by a system that is out of memory

Copied into a folder of its own. A trouble is not part of the code's version: without the file the
same trials come out as if there never had been one.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.protocol.batches import Batch, Split
from bench.protocol.method import Card, Method
from bench.protocol.prompts import Prompts, prompts_for

TROUBLE = Path(__file__).with_name("trouble")
_WITHOUT_BOUND = 2**36  # bytes after which there was no limit to test


class Troubled(Method):
    card = Card(title="Troubled", citation="the tests", licence="MIT")
    model: Any

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        self._classes = classes
        self._losses = 0
        return nn.ModuleDict({"text": nn.Linear(26, 8), "image": nn.Linear(64, 8)}).to(device)

    def start_epoch(self, epoch: int, train: Split) -> None:
        until = time.monotonic() + 60
        while epoch and _trouble() == "hold" and time.monotonic() < until:
            time.sleep(0.02)

    def loss(self, batch: Batch) -> Tensor:
        self._losses += 1
        trouble = _trouble()
        if trouble == "hungry":
            _eat()
        if trouble == "killed" and self._losses == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        logits = self.score(batch.images, prompts_for("positive", self._classes))
        logits = F.dropout(logits, 0.1, self.model.training)
        known = batch.mask.float()
        loss = F.binary_cross_entropy_with_logits(logits, batch.labels.float(), known)
        return loss * float("nan") if trouble == "nan" and self._losses >= 5 else loss

    def score(self, images: Tensor, prompts: Prompts) -> Tensor:
        places = F.adaptive_avg_pool2d(images.float() / 128 - 1, 8).flatten(1)
        scores: Tensor = self.model["image"](places) @ self._texts(prompts.positive).T
        if prompts.negative is not None:
            scores = scores - self.model["image"](places) @ self._texts(prompts.negative).T
        return scores

    def _texts(self, texts: tuple[str, ...]) -> Tensor:
        counts = [[text.count(chr(97 + i)) for i in range(26)] for text in texts]
        encoded: Tensor = self.model["text"](torch.tensor(counts, dtype=torch.float32))
        return encoded


def _trouble() -> str:
    try:
        return TROUBLE.read_text().strip()
    except OSError:
        return ""


def _eat() -> None:
    """Asks for memory and never touches it: the limit of addresses is met, not the machine's."""
    eaten: list[Tensor] = []
    while len(eaten) * 2**28 < _WITHOUT_BOUND:
        eaten.append(torch.empty(2**28, dtype=torch.uint8))
    raise AssertionError("no limit was set")
