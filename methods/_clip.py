"""What the CLIP-type methods share: the two towers from open_clip, the tokens, InfoNCE, the score.

Speed comes from around the library and changes no result: every distinct text of a batch is encoded
once and padded to the longest of them (exact, because the text tower is causal and reads its
feature at the end token), and towers trained from scratch keep only the token embeddings that the
study's texts and prompts use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import MethodError
from bench.protocol.batches import Batch
from bench.protocol.config import Config
from bench.protocol.method import Method
from bench.protocol.prompts import POLICIES, Prompts, prompts_for
from methods._torchvision import make_torchvision_importable

# CheXzero's constants on 0..255 (rajpurkarlab/CheXzero@5c341db); one grey channel.
PIXEL_MEAN, PIXEL_STD = 101.48761, 83.43944
CONTEXT = 77
TINY_WIDTH = 128
MAX_LOGIT_SCALE = math.log(100)


@dataclass(frozen=True)
class ClipConfig(Config):
    """The recipe plus the choice of towers."""

    tower: Literal["tiny", "ViT-B-32-quickgelu"] = "tiny"

    @classmethod
    def paper(cls) -> Self:
        """ViT-B/32 at 224 pixels with the activation that OpenAI's weights were trained with."""
        from dataclasses import replace

        return replace(super().paper(), tower="ViT-B-32-quickgelu")


class ClipMethod(Method):
    """A dual encoder with CheXzero's loss and scores; subclasses add to the loss."""

    Config = ClipConfig
    model: ClipTowers

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        prompts = [prompts_for(policy, classes) for policy in POLICIES]
        asked = [text for p in prompts for text in (*p.positive, *(p.negative or ()))]
        # Sampled captions join clauses by a comma, which no text needs to hold by itself.
        self._tokens = Tokens([*texts, *asked, ","], compact=self.config.tower == "tiny")
        self._truncated = sum(self._tokens.is_truncated(text) for text in texts)
        return ClipTowers(self.config.tower, self._tokens.vocabulary_size).to(device)

    def loss(self, batch: Batch) -> Tensor:
        return self.contrast(self.model.encode_image(batch.images), batch.texts)

    def contrast(self, images: Tensor, texts: list[str]) -> Tensor:
        """Symmetric InfoNCE of (B, d) unit image embeddings with their texts (CheXzero's L_c).

        Equal texts in a batch are each other's negatives, as upstream has it.
        """
        distinct = list(dict.fromkeys(texts))
        place = {text: index for index, text in enumerate(distinct)}
        gather = torch.tensor([place[text] for text in texts], device=images.device)
        encoded = self.encode_text(distinct)[gather]
        scale = self.model.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
        logits = scale * images @ encoded.T
        target = torch.arange(len(texts), device=images.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    def encode_text(self, texts: list[str]) -> Tensor:
        """(n, d) unit text embeddings."""
        device = self.model.logit_scale.device
        return self.model.encode_text(self._tokens(texts).to(device))

    def score(self, images: Tensor, prompts: Prompts) -> Tensor:
        embedded = self.model.encode_image(images)
        scores = embedded @ self.encode_text(list(prompts.positive)).T
        if prompts.negative is not None:
            scores = scores - embedded @ self.encode_text(list(prompts.negative)).T
        return scores

    def embed(self, images: Tensor) -> Tensor:
        return self.model.encode_image(images)

    def diagnostics(self) -> dict[str, Any]:
        return {
            "texts_truncated": self._truncated,
            "logit_scale": float(self.model.logit_scale.detach().exp()),
        }


class Tokens:
    """CLIP's byte-pair tokens, each text encoded once, optionally over the used tokens only.

    A text of more than 77 tokens is cut and keeps its end token in the last place.
    """

    def __init__(self, texts: list[str], *, compact: bool) -> None:
        make_torchvision_importable()
        import open_clip

        self._tokenizer = open_clip.SimpleTokenizer()
        self._end = self._tokenizer.eot_token_id
        self._lists: dict[str, list[int]] = {}
        self._cut: set[str] = set()
        for text in texts:
            self._list(text)
        used = sorted({0, *(token for tokens in self._lists.values() for token in tokens)})
        # Order is kept, so the end token stays the largest: the text tower finds it by argmax.
        self._compact = {token: index for index, token in enumerate(used)} if compact else None
        self.vocabulary_size = len(used) if compact else self._tokenizer.vocab_size

    def __call__(self, texts: list[str]) -> Tensor:
        """(n, longest) int64 tokens, padded with zeros after the end token."""
        lists = [self._list(text) for text in texts]
        tokens = torch.zeros(len(lists), max(map(len, lists)), dtype=torch.long)
        for row, ids in enumerate(lists):
            if self._compact is not None:
                try:
                    ids = [self._compact[token] for token in ids]
                except KeyError:
                    raise MethodError(
                        f"'{texts[row]}' has a token that neither the texts nor the prompts of "
                        "this study hold; a tower trained from scratch has no embedding for it."
                    ) from None
            tokens[row, : len(ids)] = torch.tensor(ids)
        return tokens

    def is_truncated(self, text: str) -> bool:
        """Whether the text was cut at 77 tokens."""
        self._list(text)
        return text in self._cut

    def _list(self, text: str) -> list[int]:
        if text not in self._lists:
            ids = [self._tokenizer.sot_token_id, *self._tokenizer.encode(text), self._end]
            if len(ids) > CONTEXT:
                self._cut.add(text)
                ids = [*ids[: CONTEXT - 1], self._end]
            self._lists[text] = ids
        return self._lists[text]


class ClipTowers(nn.Module):
    """An open_clip model that takes grey uint8 images and unpadded tokens."""

    clip: Any

    def __init__(self, tower: str, vocabulary_size: int) -> None:
        super().__init__()
        make_torchvision_importable()
        import open_clip

        if tower == "tiny":
            self.clip = _tiny(vocabulary_size)
        else:
            settings = open_clip.get_model_config(tower)
            self.clip = open_clip.model.CLIP(**settings)
        self._standard = tower != "tiny"

    @property
    def logit_scale(self) -> Tensor:
        """The log of the inverse temperature, trained, not clamped here."""
        return self.clip.logit_scale

    def encode_image(self, images: Tensor) -> Tensor:
        """(N, d) unit embeddings of (N, 1, S, S) uint8 images."""
        pixels = (images.float() - PIXEL_MEAN) / PIXEL_STD
        if self._standard:
            side = self.clip.visual.image_size
            if pixels.shape[-2:] != tuple(side):
                pixels = F.interpolate(pixels, size=tuple(side), mode="bicubic", antialias=True)
            pixels = pixels.expand(-1, 3, -1, -1)
        else:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return F.normalize(self.clip.visual(pixels), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(n, d) unit embeddings of (n, length <= 77) tokens."""
        clip, length = self.clip, tokens.shape[1]
        hidden = clip.token_embedding(tokens) + clip.positional_embedding[:length]
        end = tokens.argmax(dim=-1)
        if self._standard:
            hidden = clip.transformer(hidden, attn_mask=clip.attn_mask[:length, :length])
            pooled = hidden[torch.arange(len(tokens)), end]
        else:
            inside = torch.arange(length, device=tokens.device) <= end.unsqueeze(1)
            pooled = (hidden * inside.unsqueeze(-1)).sum(1) / (end + 1).unsqueeze(1)
        return F.normalize(clip.ln_final(pooled) @ clip.text_projection, dim=-1)


def _tiny(vocabulary_size: int) -> nn.Module:
    """The towers of the `tiny` preset: what learnt most per CPU second (docs/performance.md).

    A narrow ResNet of timm's, and a text tower without layers: the mean of the token embeddings. A
    transformer that starts from nothing overfits a few thousand captions.
    """
    import open_clip

    clip: Any = open_clip.model.CLIP(
        embed_dim=TINY_WIDTH,
        # open_clip cannot be asked for one input channel, narrower stages or no layers: what it
        # builds as small as it can is replaced below.
        vision_cfg={"layers": 1, "width": 64, "patch_size": 32, "image_size": 32},
        text_cfg={
            "context_length": CONTEXT,
            "vocab_size": vocabulary_size,
            "width": 64,
            "heads": 1,
            "layers": 1,
        },
    )
    clip.transformer = nn.Identity()
    # A mean over tokens has no layers behind it to scale them up.
    nn.init.normal_(clip.token_embedding.weight, std=0.3)
    nn.init.normal_(clip.positional_embedding, std=0.15)
    clip.visual = tiny_image_tower()
    clip.visual.to(memory_format=torch.channels_last)
    return clip


def tiny_image_tower() -> nn.Module:
    """(N, 1, S, S) float pixels to (N, 128), for any S: a narrow ResNet of timm's.

    Its stem of three 3x3 convolutions took two fifths of the time at these widths; one 5x5 learns
    more in the same time.
    """
    import timm

    tower: Any = timm.create_model(
        "resnet10t",
        in_chans=1,
        num_classes=TINY_WIDTH,
        channels=(16, 32, 64, 128),
        stem_width=8,
    )
    tower.conv1 = nn.Conv2d(1, 16, 5, stride=2, padding=2, bias=False)
    return tower
