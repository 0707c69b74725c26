"""NewMethod: what it is in one line, and whose (authors, venue, year).

A small dual encoder to start from: replace the two towers, the loss and the score by yours.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.protocol.batches import Batch
from bench.protocol.config import Config
from bench.protocol.method import Card, Method
from bench.protocol.prompts import Prompts

WORDS = 4096


@dataclass(frozen=True)
class NewMethodConfig(Config):
    """The recipe all methods share, and what can be set about this one (`--set width=64`)."""

    width: int = 32


class Towers(nn.Module):
    """A convolutional network for images and a bag of words for texts, both to 128 numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for wider in (width, 2 * width, 4 * width):
            layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(wider), nn.ReLU()]
            channels = wider
        self.image = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, 128)
        )
        self.text = nn.EmbeddingBag(WORDS, 128, mode="mean")
        self.scale = nn.Parameter(torch.tensor(2.66))

    def encode_image(self, images: Tensor) -> Tensor:
        """(N, 128) unit embeddings of (N, 1, S, S) uint8 images."""
        return F.normalize(self.image(images.float() / 128 - 1), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        """(n, 128) unit embeddings; a word is the row of the table that its checksum names."""
        words = [[zlib.crc32(w.strip(",.").encode()) % WORDS for w in t.split()] for t in texts]
        starts = torch.tensor([0, *map(len, words[:-1])]).cumsum(0).to(self.scale.device)
        rows = torch.tensor([row for text in words for row in text]).to(self.scale.device)
        return F.normalize(self.text(rows, starts), dim=-1)


class NewMethod(Method):
    """Symmetric InfoNCE between the two towers."""

    card = Card(title="NewMethod", citation="unpublished", licence="not stated")
    Config = NewMethodConfig
    model: Towers

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        return Towers(self.config.width).to(device)

    def loss(self, batch: Batch) -> Tensor:
        scale = self.model.scale.clamp(max=4.6).exp()
        texts = self.model.encode_text(batch.texts)
        logits = scale * self.model.encode_image(batch.images) @ texts.T
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    def score(self, images: Tensor, prompts: Prompts) -> Tensor:
        embedded = self.model.encode_image(images)
        scores = embedded @ self.model.encode_text(list(prompts.positive)).T
        if prompts.negative is not None:
            scores = scores - embedded @ self.model.encode_text(list(prompts.negative)).T
        return scores

    def embed(self, images: Tensor) -> Tensor:
        return self.model.encode_image(images)
