"""MedKLIP's network at any size: a convolutional trunk whose places are read by text queries.

Module names are upstream's (MediaBrain-SJTU/MedKLIP@8e60b03), so that a published state_dict loads
as it is. Every size but the number of attention heads can be read from one (`sizes_of`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

ANSWERS = 2  # what the classifier says of a query: 0 absent, 1 present
PRESENT = 1
_FIRST_STAGE = 4  # upstream counts the trunk's parts: 0 conv, 1 norm, 2 relu, 3 pool, 4... stages
_INIT_STD = 0.02


@dataclass(frozen=True)
class Stage:
    """A stage of a residual network."""

    bottleneck: bool
    depth: int
    width: int
    """Channels inside a block."""
    out: int
    """Channels that a block gives."""


RESNET50 = (Stage(True, 3, 64, 256), Stage(True, 4, 128, 512), Stage(True, 6, 256, 1024))
"""torchvision's ResNet-50 without its last stage: 14 x 14 places of 1024 channels at 224 pixels."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network; the defaults are the published one's."""

    stages: tuple[Stage, ...] = RESNET50
    stem: int = 64
    colours: int = 3
    text_width: int = 768
    width: int = 256
    inner: int = 1024
    layers: int = 4
    heads: int = 4

    def __str__(self) -> str:
        depths = "-".join(str(stage.depth) for stage in self.stages)
        block = "bottleneck" if self.stages[-1].bottleneck else "basic"
        return (
            f"residual trunk {depths} ({block}) to {self.stages[-1].out} channels, "
            f"decoder {self.layers}x{self.width}, queries of {self.text_width}"
        )


def sizes_of(state: Mapping[str, Tensor], heads: int = 4) -> Sizes:
    """The sizes that a state_dict's shapes speak of; the published ones where it says nothing.

    Args:
        state: tensors under upstream names.
        heads: attention heads, which no tensor tells.
    """

    def side(key: str, axis: int, default: int) -> int:
        found = state.get(key)
        return default if found is None or found.ndim <= axis else max(1, found.shape[axis])

    stages: list[Stage] = []
    while (stage := _stage(state, f"res_features.{_FIRST_STAGE + len(stages)}.")) is not None:
        stages.append(stage)
    layers = 0
    while any(key.startswith(f"decoder.layers.{layers}.") for key in state):
        layers += 1
    default = Sizes()
    width = side("classifier.weight", 1, default.width)
    return Sizes(
        stages=tuple(stages) or default.stages,
        stem=side("res_features.0.weight", 0, default.stem),
        colours=side("res_features.0.weight", 1, default.colours),
        text_width=side("disease_embedding_layer.weight", 1, default.text_width),
        width=width,
        inner=side("decoder.layers.0.linear1.weight", 0, default.inner),
        layers=layers or default.layers,
        heads=heads if width % heads == 0 else 1,
    )


def _stage(state: Mapping[str, Tensor], prefix: str) -> Stage | None:
    bottleneck = f"{prefix}0.conv3.weight" in state
    first = state.get(f"{prefix}0.conv1.weight")
    last = state.get(f"{prefix}0.conv{3 if bottleneck else 2}.weight")
    if first is None or last is None or min(first.ndim, last.ndim) < 4:
        return None
    depth = 1
    while f"{prefix}{depth}.conv1.weight" in state:
        depth += 1
    return Stage(bottleneck, depth, max(1, first.shape[0]), max(1, last.shape[0]))


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 with the stride in the middle."""

    def __init__(self, stage: Stage, before: int, stride: int) -> None:
        super().__init__()
        self.bottleneck, width = stage.bottleneck, stage.width
        if stage.bottleneck:
            self.conv1 = nn.Conv2d(before, width, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.conv3 = nn.Conv2d(width, stage.out, 1, bias=False)
            self.bn2, self.bn3 = nn.BatchNorm2d(width), nn.BatchNorm2d(stage.out)
        else:
            self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(width, stage.out, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(stage.out)
        self.bn1 = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != stage.out:
            shortcut = nn.Conv2d(before, stage.out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(stage.out))

    def forward(self, hidden: Tensor) -> Tensor:
        shortcut = hidden if self.downsample is None else self.downsample(hidden)
        hidden = self.bn2(self.conv2(self.bn1(self.conv1(hidden)).relu()))
        if self.bottleneck:
            hidden = self.bn3(self.conv3(hidden.relu()))
        return (hidden + shortcut).relu()


class ResidualTrunk(nn.Sequential):
    """(N, colours, S, S) float pixels to (N, channels, S / 16, S / 16) for three stages."""

    def __init__(self, sizes: Sizes) -> None:
        parts: list[nn.Module] = [
            nn.Conv2d(sizes.colours, sizes.stem, 7, 2, 3, bias=False),
            nn.BatchNorm2d(sizes.stem),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        ]
        before = sizes.stem
        for index, stage in enumerate(sizes.stages):
            blocks = [Block(stage, before, stride=1 if index == 0 else 2)]
            blocks += [Block(stage, stage.out, stride=1) for _ in range(stage.depth - 1)]
            parts.append(nn.Sequential(*blocks))
            before = stage.out
        super().__init__(*parts)


class DecoderLayer(nn.Module):
    """Queries look at each other, then at the image, then at themselves; norms come first."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, queries: Tensor, places: Tensor, blocked: Tensor | None, maps: bool
    ) -> tuple[Tensor, Tensor | None]:
        """(B, Q, d) queries, and where they looked: (B, Q, T) averaged over heads, or None."""
        normed = self.norm1(queries)
        seen, _ = self.self_attn(normed, normed, normed, attn_mask=blocked, need_weights=False)
        queries = queries + self.dropout(seen)
        normed = self.norm2(queries)
        seen, where = self.multihead_attn(normed, places, places, need_weights=maps)
        queries = queries + self.dropout(seen)
        inner = self.dropout(F.relu(self.linear1(self.norm3(queries))))
        return queries + self.dropout(self.linear2(inner)), where


class Decoder(nn.Module):
    """Layers and a last norm."""

    def __init__(self, layers: int, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(width, heads, inner, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self, queries: Tensor, places: Tensor, blocked: Tensor | None, maps: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, Q, d) queries, and each layer's (B, Q, T) attention when `maps` asks for it."""
        attention: list[Tensor] = []
        for layer in self.layers:
            queries, where = layer(queries, places, blocked, maps)
            if where is not None:
                attention.append(where)
        return self.norm(queries), tuple(attention)


class Reading(NamedTuple):
    """What the network says of B images asked with Q queries."""

    logits: Tensor
    """(B, Q, 2): absent, present."""
    decoded: Tensor
    """(B, Q, d)."""
    attention: tuple[Tensor, ...]
    """One (B, Q, T) a layer, each row summing to 1 over the T places; empty unless asked for."""


class MedKlipNet(nn.Module):
    """Trunk, query decoder and existence classifier under upstream's names."""

    def __init__(self, sizes: Sizes, trunk: nn.Module | None = None, dropout: float = 0.1) -> None:
        """
        Args:
            trunk: a trunk of another kind that gives as many channels as `sizes` says.
        """
        super().__init__()
        width, channels = sizes.width, sizes.stages[-1].out
        self.disease_embedding_layer = nn.Linear(sizes.text_width, width)
        self.cl_fc = nn.Linear(width, sizes.text_width)
        self.res_l1, self.res_l2 = nn.Linear(channels, channels), nn.Linear(channels, width)
        self.decoder = Decoder(sizes.layers, width, sizes.heads, sizes.inner, dropout)
        self.classifier = nn.Linear(width, ANSWERS)
        self.dropout_feas = nn.Dropout(dropout)
        self.res_features = ResidualTrunk(sizes) if trunk is None else trunk

    def features(self, pixels: Tensor) -> Tensor:
        """(N, channels, h, w) feature map of (N, colours, S, S) normalised pixels."""
        return self.res_features(pixels)

    def places(self, features: Tensor) -> Tensor:
        """(N, h * w, d): what the decoder reads, row by row; nothing tells where a place lies."""
        return self.res_l2(self.res_l1(features.flatten(2).transpose(1, 2)).relu())

    def seen(self, pixels: Tensor) -> Tensor:
        """(N, h * w, d) places of (N, colours, S, S) normalised pixels."""
        return self.places(self.features(pixels))

    def queries(self, book: Tensor) -> Tensor:
        """(Q, d) queries of (Q, text_width) text vectors."""
        return self.disease_embedding_layer(book)

    def positions(self, decoded: Tensor) -> Tensor:
        """(B, Q, text_width): decoded queries where they are compared with texts of positions."""
        return self.cl_fc(decoded)

    def forward(
        self, pixels: Tensor, book: Tensor, blocked: Tensor | None = None, *, maps: bool = False
    ) -> Reading:
        """Reads (B, colours, S, S) normalised pixels as `read` does their places."""
        return self.read(self.seen(pixels), book, blocked, maps=maps)

    def read(
        self, places: Tensor, book: Tensor, blocked: Tensor | None = None, *, maps: bool = False
    ) -> Reading:
        """Reads (B, h * w, d) places with the (Q, text_width) texts of a book.

        Args:
            blocked: (Q, Q) bool, true where a query (row) must not see another (column). Without
                it all see each other, so that an answer depends on what else is asked.
            maps: whether to keep where the queries looked.
        """
        asked = self.queries(book).expand(len(places), -1, -1)
        decoded, attention = self.decoder(asked, places, blocked, maps)
        decoded = self.dropout_feas(decoded)
        return Reading(self.classifier(decoded), decoded, attention)


def start_like_upstream(net: MedKlipNet) -> None:
    """Draws the weights that upstream starts from; a trunk of another kind keeps its own start."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=_INIT_STD)
        elif isinstance(module, nn.MultiheadAttention):
            nn.init.normal_(module.in_proj_weight, std=_INIT_STD)
    if isinstance(net.res_features, ResidualTrunk):
        for module in net.res_features.modules():
            if isinstance(module, nn.Conv2d):  # as torchvision starts them
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
