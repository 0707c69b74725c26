"""What the CLIP-type methods share: the two towers from open_clip, InfoNCE, the score.

Speed comes from around the library and changes no result: every distinct text of a batch is encoded
once and padded to the longest of them (exact, because the text tower is causal and reads its
feature at the end token), and towers trained from scratch keep only the token embeddings that the
study's texts and prompts use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import MethodError
from bench.protocol.batches import Batch
from bench.protocol.config import Config
from bench.protocol.method import Fit, Method
from bench.protocol.prompts import Policy, Prompts, prompts_for
from bench.protocol.weights import Checkpoint, load_strictly
from methods._clip_config import ClipConfig
from methods._openai import HARMLESS, ClipSizes, at_side, fit_of_clip, state_of, transformed
from methods._tokens import CONTEXT, Tokens
from methods._torchvision import make_torchvision_importable

# CheXzero's constants on 0..255 (rajpurkarlab/CheXzero@5c341db); one grey channel.
PIXEL_MEAN, PIXEL_STD = 101.48761, 83.43944
TINY_WIDTH = 128


class ClipMethod(Method):
    """A dual encoder with CheXzero's loss and scores; subclasses add to the loss."""

    Config: ClassVar[type[Config]] = ClipConfig
    made_by_build = ("_tokens",)
    model: Any

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        if len(self.checkpoints) > 1:
            raise MethodError(f"{type(self).__name__} starts from one file of weights.")
        tiny = self.config.tower == "tiny" and not self.checkpoints
        asked = [text for policy in self.policies for text in self._asked(policy, classes)]
        # Sampled captions join clauses by a comma, which no text needs to hold by itself.
        self._tokens = self.tokens([*texts, *asked, ","], compact=tiny)
        self.vocabulary = self._tokens.pieces
        self._truncated = sum(self._tokens.is_truncated(text) for text in texts)
        towers = self.towers(self.checkpoints[0] if self.checkpoints else None)
        if self.checkpoints:
            reference = self.checkpoints[0].reference
            self.weights = reference if self.checkpoints[0].named else Path(reference).name
        return towers.to(device)

    def tokens(self, texts: Sequence[str], *, compact: bool) -> Tokens:
        """The tokeniser of the text tower."""
        return Tokens(texts, compact=compact, pieces=self.vocabulary)

    def towers(self, checkpoint: Checkpoint | None) -> nn.Module:
        """The two towers on the CPU: of the checkpoint's sizes and weights, or as configured."""
        tower, antialias = self.config.tower, self.config.antialias
        if checkpoint is None:
            return ClipTowers(tower, self._tokens.vocabulary_size, antialias=antialias)
        state, where = state_of(checkpoint), checkpoint.reference
        try:
            sizes = ClipSizes.of_state(state)
        except (KeyError, ValueError) as error:
            raise MethodError(
                f"{where} holds no CLIP towers. See: bench weights {where}"
            ) from error
        towers = ClipTowers(sizes=sizes, antialias=antialias)
        load_strictly(towers.clip, state, where=where, harmless=HARMLESS)
        return towers

    @classmethod
    def fit(cls, state: Mapping[str, Tensor]) -> Fit | None:
        return fit_of_clip(state)

    def loss(self, batch: Batch) -> Tensor:
        return self.contrast(self.model.encode_image(batch.images), batch.texts)

    def inputs(self, batch: Batch) -> dict[str, Tensor] | None:
        if self.config.equal_texts == "shared":  # two rows of one text need not be equal bits
            return None
        tokens = self._tokens.padded(batch.texts).to(batch.images.device)
        return {"images": batch.images, "tokens": tokens}

    def loss_of(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.contrast_pairs(*self._encoded(inputs))

    def _encoded(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(B, d) unit embeddings of the images and of the texts of `inputs`."""
        images = self.model.encode_image(inputs["images"])
        return images, self.model.encode_text(inputs["tokens"])

    def contrast(self, images: Tensor, texts: list[str]) -> Tensor:
        """Symmetric InfoNCE of (B, d) unit image embeddings with their texts (CheXzero's L_c)."""
        return self.contrast_pairs(images, self.encode_each(texts))

    def contrast_pairs(self, images: Tensor, texts: Tensor) -> Tensor:
        """The same of (B, d) unit embeddings of images and of their texts."""
        # Times a scale of up to 100, cosines of three digits would be wrong by half a unit.
        with torch.autocast(images.device.type, enabled=False):
            logits = self.temperature() * images @ texts.T
        if self.config.equal_texts == "shared":
            same = (texts[:, None] == texts).all(-1).to(logits.dtype)
            target = same / same.sum(1, keepdim=True)
        else:
            target = torch.arange(len(texts), device=images.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    def temperature(self) -> Tensor:
        """What cosines are multiplied by: trained, at most `max_scale`."""
        limit = self.config.max_scale
        scale = self.model.logit_scale
        return scale.exp() if limit is None else scale.clamp(max=math.log(limit)).exp()

    def encode_each(self, texts: list[str]) -> Tensor:
        """(n, d) unit embeddings, one a text; equal texts are encoded once."""
        distinct = list(dict.fromkeys(texts))
        place = {text: index for index, text in enumerate(distinct)}
        gather = torch.tensor([place[text] for text in texts], device=self.model.logit_scale.device)
        return self.encode_text(distinct)[gather]

    def encode_text(self, texts: list[str]) -> Tensor:
        """(n, d) unit text embeddings."""
        device = self.model.logit_scale.device
        return self.model.encode_text(self._tokens(texts).to(device))

    def encode_prompts(self, prompts: Sequence[str], templates: Sequence[str] = ()) -> Tensor:
        """(n, d) unit embeddings of prompts, each the unit mean over its templates.

        Args:
            templates: texts with a {} for the prompt; without them the configuration's.

        Raises:
            MethodError: a prompt has more than 77 tokens.
        """
        templates = templates or self.config.templates.split("|")
        device = self.model.logit_scale.device
        texts = [template.replace("{}", prompt) for prompt in prompts for template in templates]
        encoded = self.model.encode_text(self._tokens.whole(texts).to(device))
        if len(templates) == 1:
            return encoded
        return F.normalize(encoded.unflatten(0, (len(prompts), len(templates))).mean(1), dim=-1)

    def score(self, images: Tensor, prompts: Prompts) -> Tensor:
        return self.ask(prompts)(self.encode(images))

    def encode(self, images: Tensor) -> Any:
        return self.model.encode_image(images)

    def ask(self, prompts: Prompts) -> Callable[[Any], Tensor]:
        positive = self.encode_prompts(prompts.positive)
        if prompts.negative is None:
            return lambda embedded: embedded @ positive.T
        negative = self.encode_prompts(prompts.negative)
        return lambda embedded: embedded @ positive.T - embedded @ negative.T

    def embed(self, images: Tensor) -> Tensor | None:
        return self.model.encode_image(images)

    def diagnostics(self) -> dict[str, Any]:
        return {
            "texts_truncated": self._truncated,
            "logit_scale": float(self.model.logit_scale.detach().exp()),
        }

    def _asked(self, policy: Policy, classes: tuple[str, ...]) -> list[str]:
        """Every text that a prompt policy asks with."""
        prompts = prompts_for(policy, classes)
        templates = self.config.templates.split("|")
        plain = (*prompts.positive, *(prompts.negative or ()))
        return [template.replace("{}", text) for text in plain for template in templates]


class ClipTowers(nn.Module):
    """An open_clip model that takes grey uint8 images and unpadded tokens."""

    clip: Any

    def __init__(
        self,
        tower: str = "ViT-B-32-quickgelu",
        vocabulary_size: int = 49408,
        *,
        sizes: ClipSizes | None = None,
        antialias: bool = True,
    ) -> None:
        """
        Args:
            tower: "tiny", or ViT-B/32 with a text transformer.
            vocabulary_size: token embeddings of the tiny tower.
            sizes: those of the standard towers, in the place of ViT-B/32's.
        """
        super().__init__()
        self._standard = tower != "tiny" or sizes is not None
        self._antialias = antialias
        self.clip = (sizes or ClipSizes()).model() if self._standard else _tiny(vocabulary_size)

    @property
    def logit_scale(self) -> Tensor:
        """The log of the inverse temperature, trained, not clamped here."""
        return self.clip.logit_scale

    def encode_image(self, images: Tensor) -> Tensor:
        """(N, d) unit embeddings of (N, 1, S, S) uint8 images."""
        return F.normalize(self.image_features(self.pixels(images)).float(), dim=-1)

    def pixels(self, images: Tensor) -> Tensor:
        """What the image tower is given for (N, 1, S, S) uint8 images.

        They are normalised first and resized after, as CheXzero does; values are not cut.
        """
        pixels = (images.float() - PIXEL_MEAN) / PIXEL_STD
        if not self._standard:
            return pixels.contiguous(memory_format=torch.channels_last)
        return at_side(pixels, self.clip.visual.image_size[0], self._antialias)

    def image_features(self, pixels: Tensor) -> Tensor:
        """(N, d) features, not normalised, of what `pixels` gives."""
        return self.clip.visual(pixels)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(n, d) unit embeddings of (n, length <= 77) tokens."""
        return F.normalize(self.text_features(tokens).float(), dim=-1)

    def text_features(self, tokens: Tensor) -> Tensor:
        """(n, d) features, not normalised, of (n, length <= 77) tokens."""
        if self._standard:
            return transformed(self.clip, tokens)
        clip, length = self.clip, tokens.shape[1]
        hidden = clip.token_embedding(tokens) + clip.positional_embedding[:length]
        end = tokens.argmax(dim=-1)
        inside = torch.arange(length, device=tokens.device) <= end.unsqueeze(1)
        pooled = (hidden * inside.unsqueeze(-1)).sum(1) / (end + 1).unsqueeze(1)
        return clip.ln_final(pooled) @ clip.text_projection


def _tiny(vocabulary_size: int) -> nn.Module:
    """The towers of the `tiny` preset: what learnt most per CPU second (docs/performance.md).

    A narrow ResNet of timm's, and a text tower without layers: the mean of the token embeddings. A
    transformer that starts from nothing overfits a few thousand captions.
    """
    make_torchvision_importable()
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
