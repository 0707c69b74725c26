"""MedCLIP's towers at any size, under the names of the authors' files.

Sizes come from a state_dict or from the preset; the text tower is BERT, the image tower Swin (the
ViT file), a ResNet (the other file) or the small network of the `tiny` preset. Read in
RyanWangZf/MedCLIP@9c3396f2 (modeling_medclip.py); checked against arrays computed by it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import MethodError
from bench.protocol.weights import load_strictly
from methods._bert import bert, bert_like
from methods._clip import TINY_WIDTH, tiny_image_tower
from methods._torchvision import make_torchvision_importable

MAX_LOGIT_SCALE = 4.6052
VISION, TEXT = "vision_model.model.", "text_model.model."
_JOINT = 512
_CLINICAL_BERT = {"width": 768, "layers": 12, "inner": 3072}
_TINY_BERT = {"width": 64, "layers": 2, "inner": 128, "heads": 2, "positions": 128, "dropout": 0.0}
# transformers 5 renamed parts of Swin; the authors' files hold the names of 4.24.
_RENAMED = (
    (r"\.attention\.q_proj\.", ".attention.self.query."),
    (r"\.attention\.k_proj\.", ".attention.self.key."),
    (r"\.attention\.v_proj\.", ".attention.self.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.attention\.relative_position_bias\.relative", ".attention.self.relative"),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
# Tables that follow from the sizes; older versions of transformers stored them.
HARMLESS = ("*.position_ids", "*.relative_position_index")

Tower = Literal["tiny", "swin", "resnet"]


class TextTower(nn.Module):
    """BERT, averaged over positions and three layers, then a projection without bias."""

    def __init__(self, model: Any, joint: int) -> None:
        super().__init__()
        if model.config.num_hidden_layers < 2:
            raise MethodError("MedCLIP reads a BERT after its second layer; this one has one.")
        self.model = model
        self.projection_head = nn.Linear(model.config.hidden_size, joint, bias=False)

    def hidden(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, length, width) states after the first, the second and the last layer."""
        states = self.model(ids, attention_mask=mask, output_hidden_states=True).hidden_states
        return states[1], states[2], states[-1]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(n, joint) features of (n, length) tokens.

        The average takes padding in, as upstream has it: a text's feature depends on how far its
        batch is padded.
        """
        return self.projection_head(torch.stack(self.hidden(ids, mask)).mean((0, 2)))


class SwinTower(nn.Module):
    """Swin, averaged over positions, then a projection without bias."""

    def __init__(self, model: Any, joint: int) -> None:
        super().__init__()
        self.model = model
        self.projection_head = nn.Linear(model.num_features, joint, bias=False)

    def pooled(self, pixels: Tensor) -> Tensor:
        """(N, width) features before the projection."""
        return self.model(pixels.expand(-1, 3, -1, -1)).pooler_output

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, joint) features of (N, 1, S, S) normalised pixels."""
        return self.projection_head(self.pooled(pixels))


class ResNetTower(nn.Module):
    """A ResNet whose last layer, without bias, is the projection."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, joint) features of (N, 1, S, S) normalised pixels."""
        return self.model(pixels.expand(-1, 3, -1, -1))


class TinyTower(nn.Module):
    """The image tower that all methods have in the `tiny` preset, then a projection."""

    def __init__(self) -> None:
        super().__init__()
        tower: Any = tiny_image_tower()
        self.model: nn.Module = tower.to(memory_format=torch.channels_last)
        self.projection_head = nn.Linear(TINY_WIDTH, TINY_WIDTH, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, joint) features of (N, 1, S, S) normalised pixels."""
        return self.projection_head(
            self.model(pixels.contiguous(memory_format=torch.channels_last))
        )


class MedClipModel(nn.Module):
    """Two towers and a temperature."""

    def __init__(self, vision_model: nn.Module, text_model: TextTower) -> None:
        super().__init__()
        self.vision_model = vision_model
        self.text_model = text_model
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(N, joint) unit embeddings of (N, 1, S, S) normalised pixels."""
        return F.normalize(self.vision_model(pixels), dim=-1)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(n, joint) unit embeddings of (n, length) tokens with their attention mask."""
        return F.normalize(self.text_model(ids, mask), dim=-1)

    def logits(self, images: Tensor, texts: Tensor) -> Tensor:
        """(N, n) scaled cosines of unit embeddings.

        The temperature's logarithm is first put back into [0, 4.6052], in place, in evaluation
        too: upstream has no other clamp.
        """
        with torch.no_grad():
            self.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        return self.logit_scale.exp() * images @ texts.T


def upstream_name(key: str) -> str:
    """The name under which the authors' files hold a parameter of `MedClipModel`.

    >>> upstream_name("vision_model.model.encoder.layers.0.blocks.1.attention.q_proj.bias")
    'vision_model.model.encoder.layers.0.blocks.1.attention.self.query.bias'
    """
    if key.startswith(VISION):
        for pattern, name in _RENAMED:
            key = re.sub(pattern, name, key)
    return key


def new_model(
    tower: Tower, vocabulary: int, swin: nn.Module | None = None, text: Any | None = None
) -> MedClipModel:
    """A model with random weights, of the sizes of the authors' files or of the `tiny` preset.

    Args:
        tower: the image tower; `swin` is that of the authors' ViT file.
        vocabulary: tokens of the text tower.
        swin, text: a Swin and a BERT to use instead.
    """
    joint = TINY_WIDTH if tower == "tiny" else _JOINT
    if text is None:
        sizes: Any = _TINY_BERT if tower == "tiny" else _CLINICAL_BERT
        text = bert(vocabulary=vocabulary, **sizes)
    return MedClipModel(_image_tower(tower, joint, swin), TextTower(text, joint))


def _image_tower(tower: Tower, joint: int, swin: nn.Module | None) -> nn.Module:
    if swin is None and tower == "tiny":
        return TinyTower()
    if swin is None and tower == "resnet":
        return ResNetTower(_resnet((3, 4, 6, 3), joint))
    if swin is None:
        swin = swin_model(96, (2, 2, 6, 2), (3, 6, 12, 24))
    return SwinTower(swin, joint)


def model_like(state: Mapping[str, Tensor], text_heads: int | None = None) -> MedClipModel:
    """A model with random weights of the sizes that a file's tensors speak of.

    Args:
        state: tensors under the names of the authors' files, of whatever values.
        text_heads: attention heads of BERT, which no file holds; width / 64 unless given.

    Raises:
        MethodError: the tensors are not MedCLIP's.
    """
    joint = _tensor(state, "text_model.projection_head.weight").shape[0]
    text = TextTower(bert_like(_under(state, TEXT), text_heads), joint)
    vision = _under(state, VISION)
    if "conv1.weight" in vision:
        return MedClipModel(ResNetTower(_resnet_like(vision)), text)
    return MedClipModel(SwinTower(swin_like(vision), joint), text)


def load(model: MedClipModel, state: Mapping[str, Tensor], where: str, part: str = "") -> None:
    """Copies a state under the authors' names into the model, or into the part of it at a prefix.

    Raises:
        MethodError: a key is missing, unexpected or of another shape.
    """
    module = model.get_submodule(part.rstrip("."))
    ours = {upstream_name(part + key): key for key in module.state_dict()}
    named = {ours.get(part + key, key): value for key, value in state.items()}
    load_strictly(module, named, where=where, harmless=HARMLESS)


def sizes_of(model: MedClipModel) -> str:
    """The model in words."""
    text = model.text_model.model.config
    words = f"BERT {text.num_hidden_layers}x{text.hidden_size}, {text.vocab_size} tokens"
    if not isinstance(model.vision_model, SwinTower):
        return f"ResNet, {words}"
    image = model.vision_model.model.config
    depths = "-".join(map(str, image.depths))
    return f"Swin {depths}, width {image.embed_dim}, window {image.window_size}, {words}"


def swin_like(state: Mapping[str, Tensor]) -> Any:
    """A Swin of the sizes of its tensors; `state` is under its own names of 4.24."""
    patches = _tensor(state, "embeddings.patch_embeddings.projection.weight")
    inner = _tensor(state, "encoder.layers.0.blocks.0.intermediate.dense.weight")
    places = [key.split(".") for key in state if re.match(r"encoder\.layers\.\d+\.blocks\.", key)]
    stages = range(1 + max(int(place[2]) for place in places))
    table = "encoder.layers.{}.blocks.0.attention.self.relative_position_bias_table"
    tables = [_tensor(state, table.format(stage)) for stage in stages]
    return swin_model(
        patches.shape[0],
        [1 + max(int(p[4]) for p in places if int(p[2]) == stage) for stage in stages],
        [biases.shape[1] for biases in tables],
        window=(math.isqrt(tables[0].shape[0]) + 1) // 2,
        patch=patches.shape[-1],
        mlp_ratio=inner.shape[0] / inner.shape[1],
    )


def swin_model(
    width: int,
    depths: Iterable[int],
    heads: Iterable[int],
    window: int = 7,
    patch: int = 4,
    mlp_ratio: float = 4.0,
) -> Any:
    """A SwinModel of transformers with random weights.

    Args:
        width: of the first stage; each next one has twice as much.
        depths, heads: blocks and attention heads of each stage.
        window, patch: in patches and in pixels a side.
    """
    make_torchvision_importable()
    from transformers import SwinConfig, SwinModel

    settings: Any = {
        "embed_dim": width,
        "depths": list(depths),
        "num_heads": list(heads),
        "window_size": window,
        "patch_size": patch,
        "mlp_ratio": mlp_ratio,
    }
    return SwinModel(SwinConfig(**settings))


def _resnet_like(state: Mapping[str, Tensor]) -> nn.Module:
    """A bottleneck ResNet of the depths of its tensors, under torchvision's names."""
    depths = [
        1
        + max(
            (int(key.split(".")[1]) for key in state if key.startswith(f"layer{stage}.")),
            default=-1,
        )
        for stage in range(1, 5)
    ]
    return _resnet(depths, _tensor(state, "fc.weight").shape[0])


def _resnet(depths: Iterable[int], joint: int) -> nn.Module:
    # timm's ResNet has torchvision's names and arithmetic, and needs none of its compiled parts.
    make_torchvision_importable()
    from timm.models.resnet import Bottleneck, ResNet

    block: Any = Bottleneck
    model: Any = ResNet(block, tuple(depths), num_classes=joint)
    model.fc = nn.Linear(model.fc.in_features, joint, bias=False)
    return model


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}


def _tensor(state: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in state:
        raise MethodError(f"These tensors are not MedCLIP's: {key} is missing.")
    return state[key]
