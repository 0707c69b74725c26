"""Folders of tiny untrained dual encoders, in the formats of open_clip and transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from methods._torchvision import make_torchvision_importable

WORDS = "[PAD] [UNK] [CLS] [SEP] no is present edema hernia normal abnormal pleural effusion ,"
_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
_TEXT = _TOWER | {"vocab_size": len(WORDS.split()), "max_position_embeddings": 16}
_SPECIAL = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
_IMAGE = _TOWER | {"image_size": 32, "patch_size": 16}
OPEN_CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
}
PREPROCESS = {
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
    "interpolation": "bilinear",
    "resize_mode": "squash",
}


def save_tokenizer(folder: Path) -> None:
    """A WordPiece tokenizer of a few words."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: index for index, word in enumerate(WORDS.split())}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=16,
    ).save_pretrained(folder)


def save_transformers(folder: Path, family: str) -> str:
    """A model of a family with its processor and tokenizer; gives what --weights takes."""
    make_torchvision_importable()
    import transformers as t

    whole = {"height": 32, "width": 32}
    model: Any
    processor: Any
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if family == "clip":
            config = t.CLIPConfig(
                text_config=_TEXT | _SPECIAL, vision_config=_IMAGE, projection_dim=16
            )
            model = t.CLIPModel(config)
            processor = t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=whole)
        elif family == "siglip":
            model = t.SiglipModel(
                t.SiglipConfig(text_config=_TEXT | _SPECIAL, vision_config=_IMAGE)
            )
            processor = t.SiglipImageProcessor(size=whole)
        else:
            both = t.VisionTextDualEncoderConfig.from_vision_text_configs(
                t.ViTConfig(**_IMAGE), t.BertConfig(**_TEXT), projection_dim=16
            )
            model = t.VisionTextDualEncoderModel(both)
            processor = t.ViTImageProcessor(size=whole)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    save_tokenizer(folder)
    return f"local-dir:{folder}"


def save_open_clip(folder: Path, family: str = "clip") -> str:
    """A folder as open_clip's `local-dir:` has it.

    Family `siglip` has a bias and tokens of its own; `bert`, as BiomedCLIP, a text tower of
    transformers whose settings lie in the folder `text`.
    """
    make_torchvision_importable()
    import open_clip

    folder.mkdir()
    settings = json.loads(json.dumps(OPEN_CLIP))
    if family == "siglip":
        save_tokenizer(folder)
        settings |= {"custom_text": True, "init_logit_bias": -10}
        settings["text_cfg"] |= {
            "context_length": 16,
            "vocab_size": len(WORDS.split()),
            "hf_tokenizer_name": "owner/name",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
        }
    name = f"local-dir:{folder}"
    if family == "bert":
        import transformers

        save_tokenizer(folder)
        transformers.BertConfig(**_TEXT).save_pretrained(folder / "text")
        settings["text_cfg"] = {
            "context_length": 16,
            "hf_model_name": str(folder / "text"),
            "hf_tokenizer_name": "owner/bert",
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
        }
    told = {"model_cfg": settings, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
    state = {key: value.clone().contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return name
