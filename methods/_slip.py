"""SLIP's towers at any size, its second loss, and its optimiser's rules.

All under the names of facebookresearch/SLIP@c6faf5d (models.py, losses.py, main.py, utils.py), so
that its files load as they are.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods._clip import PIXEL_MEAN, PIXEL_STD, ClipTowers
from methods._openai import at_side, layers, transformed
from methods._torchvision import make_torchvision_importable

# ImageNet's, for values in 0..1.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_VISION_HEADS = {384: 12, 768: 12, 1024: 16}
_START, _END = 1e-6, 1e-5


@dataclass(frozen=True)
class SlipSizes:
    """A ViT, a text transformer and the SSL head; the defaults are SLIP's ViT-B/16."""

    resolution: int = 224
    patch: int = 16
    vision_width: int = 768
    vision_layers: int = 12
    vision_heads: int = 12
    joint: int = 512
    context: int = 77
    vocabulary: int = 49408
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    head: tuple[int, int] | None = (4096, 256)
    """Hidden and last width of the SSL head; None = there is none."""

    @classmethod
    def of_tower(cls, tower: str, head: tuple[int, int]) -> Self:
        """The authors' small (12 heads, unlike timm's), base and large."""
        width, depth = {"small": (384, 12), "base": (768, 12), "large": (1024, 24)}[tower]
        return cls(
            vision_width=width, vision_layers=depth, vision_heads=_VISION_HEADS[width], head=head
        )

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> Self:
        """The sizes that the shapes speak of; head counts are in no file and follow the width.

        Raises:
            KeyError: a tensor that says a size is not there.
        """
        vision_width, _, patch, _ = state["visual.patch_embed.proj.weight"].shape
        text_width = len(state["ln_final.weight"])
        head = None
        if any(key.startswith("image_mlp.") for key in state):
            head = (len(state["image_mlp.layer1.weight"]), len(state["image_mlp.layer3.weight"]))
        return cls(
            resolution=math.isqrt(state["visual.pos_embed"].shape[1] - 1) * patch,
            patch=patch,
            vision_width=vision_width,
            vision_layers=layers(state, "visual.blocks."),
            vision_heads=_VISION_HEADS.get(vision_width, max(1, vision_width // 64)),
            joint=state["text_projection"].shape[1],
            context=len(state["positional_embedding"]),
            vocabulary=len(state["token_embedding.weight"]),
            text_width=text_width,
            text_layers=layers(state, "transformer.resblocks."),
            text_heads=max(1, text_width // 64),
            head=head,
        )

    def __str__(self) -> str:
        head = "no SSL head" if self.head is None else f"SSL head {self.head[0]}-{self.head[1]}"
        return (
            f"ViT {self.vision_layers}x{self.vision_width}/{self.patch} at {self.resolution}, "
            f"text {self.text_layers}x{self.text_width}, {head}"
        )


class SlipTowers(nn.Module):
    """timm's ViT and CLIP's text transformer, each with its projection, and the SSL head."""

    attn_mask: Tensor

    def __init__(self, sizes: SlipSizes, *, antialias: bool = True) -> None:
        super().__init__()
        make_torchvision_importable()
        from open_clip.transformer import LayerNorm, QuickGELU, Transformer
        from timm.models.vision_transformer import VisionTransformer

        self.side, self._antialias = sizes.resolution, antialias
        vision, text, joint = sizes.vision_width, sizes.text_width, sizes.joint
        self.visual = VisionTransformer(
            img_size=sizes.resolution,
            patch_size=sizes.patch,
            embed_dim=vision,
            depth=sizes.vision_layers,
            num_heads=sizes.vision_heads,
            num_classes=0,
        )
        self.transformer = Transformer(
            text, sizes.text_layers, sizes.text_heads, act_layer=QuickGELU
        )
        self.token_embedding = nn.Embedding(sizes.vocabulary, text)
        self.positional_embedding = nn.Parameter(torch.empty(sizes.context, text))
        self.ln_final = LayerNorm(text)
        self.image_projection = nn.Parameter(torch.empty(vision, joint))
        self.text_projection = nn.Parameter(torch.empty(text, joint))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        if sizes.head is not None:
            self.image_mlp = ssl_head(vision, *sizes.head)
        mask = torch.full((sizes.context, sizes.context), -math.inf).triu(1)
        self.register_buffer("attn_mask", mask, persistent=False)
        self._initialise(text, sizes.text_layers)

    def _initialise(self, width: int, depth: int) -> None:
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        out = width**-0.5 * (2 * depth) ** -0.5
        for block in self.transformer.resblocks:
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=out)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=out)
        for projection in (self.image_projection, self.text_projection):
            nn.init.normal_(projection, std=projection.shape[0] ** -0.5)

    def encode_image(self, images: Tensor) -> Tensor:
        """(N, d) unit embeddings of (N, 1, S, S) uint8 images."""
        return self.encode_view(images.float() / 255)

    def encode_view(self, view: Tensor) -> Tensor:
        """The same of (N, 1, S, S) values in 0..1."""
        return F.normalize(self.image_features(self._pixels(view)), dim=-1)

    def image_features(self, pixels: Tensor) -> Tensor:
        """(N, d) features, not normalised, of (N, 3, side, side) ImageNet-normalised pixels."""
        return self.visual(pixels) @ self.image_projection

    def embed_views(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """(N, e) SSL embeddings of two views, values in 0..1.

        The head sees a view at a time: its batch statistics are those of one view.
        """
        both = self.visual(self._pixels(torch.cat([first, second])))
        a, b = both.chunk(2)
        return self.image_mlp(a), self.image_mlp(b)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(n, d) unit embeddings of (n, length <= 77) tokens."""
        return F.normalize(self.text_features(tokens), dim=-1)

    def text_features(self, tokens: Tensor) -> Tensor:
        """(n, d) features, not normalised, of (n, length <= 77) tokens."""
        return transformed(self, tokens)

    def _pixels(self, view: Tensor) -> Tensor:
        mean, std = (view.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
        return (at_side(view, self.side, self._antialias) - mean) / std


class TinySlipTowers(ClipTowers):
    """The towers of the `tiny` preset with an SSL head on the features before the projection."""

    def __init__(self, vocabulary_size: int, head: tuple[int, int]) -> None:
        super().__init__("tiny", vocabulary_size)
        self.image_mlp = ssl_head(self.clip.visual.num_features, *head)

    def encode_view(self, view: Tensor) -> Tensor:
        """(N, d) unit embeddings of (N, 1, S, S) values in 0..1."""
        return F.normalize(self.clip.visual(self._pixels(view)), dim=-1)

    def embed_views(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """(N, e) SSL embeddings of two views, values in 0..1."""
        visual = self.clip.visual
        with _running_statistics_kept(visual):
            maps = visual.forward_features(self._pixels(torch.cat([first, second])))
        a, b = visual.forward_head(maps, pre_logits=True).chunk(2)
        return self.image_mlp(a), self.image_mlp(b)

    def _pixels(self, view: Tensor) -> Tensor:
        pixels = (view * 255 - PIXEL_MEAN) / PIXEL_STD
        return pixels.contiguous(memory_format=torch.channels_last)


@contextmanager
def _running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch norms use the batch's statistics inside, and do not add them to those of evaluation.

    Evaluation sees whole images and no crops. (SLIP's own towers have no batch norm.)
    """
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def ssl_head(width: int, hidden: int, last: int) -> nn.Sequential:
    """The projector of the SimCLR branch.

    Upstream synchronises its batch norms between GPUs; one process computes the same without.
    """
    return nn.Sequential(
        OrderedDict(
            layer1=nn.Linear(width, hidden),
            bn1=nn.BatchNorm1d(hidden),
            relu1=nn.ReLU(inplace=True),
            layer2=nn.Linear(hidden, hidden),
            bn2=nn.BatchNorm1d(hidden),
            relu2=nn.ReLU(inplace=True),
            layer3=nn.Linear(hidden, last),
        )
    )


def simclr_loss(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """NT-Xent of (B, e) embeddings of two views: one positive and 2B - 2 negatives an anchor."""
    target = torch.arange(len(a), device=a.device)
    first = F.cross_entropy(simclr_logits(a, b, temperature), target)
    return (first + F.cross_entropy(simclr_logits(b, a, temperature), target)) / 2


def simclr_logits(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """(B, 2B): each a against all b, then against all a but itself."""
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    own = a @ a.T / temperature - 1e9 * torch.eye(len(a), device=a.device)
    return torch.cat([a @ b.T / temperature, own], dim=1)


def decays(name: str, parameter: Tensor) -> bool:
    """Whether upstream's weight decay holds for a parameter: by its name and dimensions."""
    return parameter.ndim >= 2 and not any(part in name for part in ("bias", "ln", "bn"))


def parameter_groups(named: Iterable[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
    """Upstream's two groups for AdamW, with its betas and epsilon."""
    common: dict[str, Any] = {"betas": (0.9, 0.98), "eps": 1e-8}
    parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in named:
        parts[decays(name, parameter)].append(parameter)
    return [
        {"params": parts[True], **common},
        {"params": parts[False], "weight_decay": 0.0, **common},
    ]


def rate(step: int, steps_per_epoch: int, epochs: int, lr: float) -> float:
    """Upstream's rate of a step: straight from 1e-6 to `lr` over one epoch, a cosine to 1e-5."""
    if step < steps_per_epoch:
        return _START + (lr - _START) * step / max(1, steps_per_epoch - 1)
    share = (step - steps_per_epoch) / max(1, (epochs - 1) * steps_per_epoch)
    return _END + (lr - _END) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
