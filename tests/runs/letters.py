"""A method that reads any text, for tests: letters of a class against the brightness of places."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.protocol.batches import Batch
from bench.protocol.method import Card, Method
from bench.protocol.prompts import Prompts, prompts_for


class Letters(Method):
    card = Card(title="Letters", citation="the tests", licence="MIT")
    model: Any

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        self._classes = classes
        return nn.ModuleDict({"text": nn.Linear(26, 8), "image": nn.Linear(64, 8)}).to(device)

    def loss(self, batch: Batch) -> Tensor:
        logits = self.score(batch.images, prompts_for("positive", self._classes))
        known = batch.mask.float()
        return F.binary_cross_entropy_with_logits(logits, batch.labels.float(), known)

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
