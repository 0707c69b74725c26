"""Dual encoders of transformers through the generic adapter, against transformers itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from bench.errors import MethodError
from bench.protocol.prompts import prompts_for
from bench.protocol.weights import load_checkpoint
from methods.huggingface import HuggingFace
from tests.methods.tiny_models import save_transformers
from tests.methods.trained import losses_of

CLASSES = ("Edema", "Hernia", "Normal")
FAMILIES = ("clip", "siglip", "bert")
PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60)).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("transformers")
    return {family: save_transformers(root / family, family) for family in FAMILIES}


def built(reference: str) -> HuggingFace:
    method = HuggingFace(HuggingFace.Config.upstream(), [load_checkpoint(reference)])
    method.model = method.build(CLASSES, (), torch.device("cpu"))
    method.model.eval()
    return method


def _features(output: Any) -> torch.Tensor:
    return F.normalize(output.pooler_output, dim=-1)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_scores_are_those_of_transformers_own_pipeline(
    folders: dict[str, str], family: str
) -> None:
    import transformers as t

    method = built(folders[family])
    framed = torch.from_numpy(method.frame(PICTURE))[None, None]
    folder = folders[family].removeprefix("local-dir:")
    model = t.AutoModel.from_pretrained(folder).eval()
    processor = t.AutoImageProcessor.from_pretrained(folder)
    pixels = processor(Image.fromarray(PICTURE).convert("RGB"), return_tensors="pt")
    texts = ["edema", "no edema", "hernia", "no hernia", "normal", "abnormal"]
    padding = "max_length" if family == "siglip" else True
    tokens = t.AutoTokenizer.from_pretrained(folder)(
        texts, padding=padding, truncation=True, max_length=16, return_tensors="pt"
    )
    if family == "siglip":
        tokens = {"input_ids": tokens["input_ids"]}
    cosines = (
        _features(model.get_image_features(**pixels))
        @ _features(model.get_text_features(**tokens)).T
    )
    expected = cosines[:, 0::2] - cosines[:, 1::2]
    torch.testing.assert_close(
        method.score(framed, prompts_for("pair", CLASSES)), expected, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_training_starts_from_the_weights_and_lowers_the_loss(
    folders: dict[str, str], family: str
) -> None:
    method = built(folders[family])
    losses = losses_of(method)
    assert losses[-1] < losses[0]


def _copy(folders: dict[str, str], tmp_path: Path, family: str = "clip") -> Path:
    shutil.copytree(folders[family].removeprefix("local-dir:"), tmp_path / "copy")
    return tmp_path / "copy"


def test_missing_and_unexpected_keys_are_named(folders: dict[str, str], tmp_path: Path) -> None:
    folder = _copy(folders, tmp_path)
    state = load_file(folder / "model.safetensors")
    state["another.weight"] = state.pop("visual_projection.weight")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    said = r"1 missing \(visual_projection.weight\); 1 unexpected \(another.weight\)"
    with pytest.raises(MethodError, match=said):
        built(f"local-dir:{folder}")


def test_indices_of_older_versions_are_harmless(folders: dict[str, str], tmp_path: Path) -> None:
    folder = _copy(folders, tmp_path)
    state = load_file(folder / "model.safetensors")
    state["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    prompts, images = prompts_for("pair", CLASSES), torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    scores = [
        built(reference).score(images, prompts)
        for reference in (f"local-dir:{folder}", folders["clip"])
    ]
    torch.testing.assert_close(*scores, atol=0, rtol=0)


def test_code_of_a_repository_is_not_run(folders: dict[str, str], tmp_path: Path) -> None:
    folder = _copy(folders, tmp_path)
    told = json.loads((folder / "config.json").read_text())
    told |= {"model_type": "theirs", "auto_map": {"AutoModel": "code.M", "AutoConfig": "code.C"}}
    (folder / "config.json").write_text(json.dumps(told))
    (folder / "code.py").write_text("open('ran', 'w')\nclass M: pass\nclass C: pass\n")
    with pytest.raises(MethodError, match="a model that brings code of its own needs an adapter"):
        built(f"local-dir:{folder}")
    assert not Path("ran").exists()


def test_a_model_of_images_alone_is_refused(tmp_path: Path) -> None:
    import transformers as t

    config = t.ViTConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    t.ViTModel(config).save_pretrained(tmp_path / "vit")
    with pytest.raises(MethodError, match="has not one embedding for images and one for texts"):
        built(f"local-dir:{tmp_path / 'vit'}")


def test_a_missing_tokenizer_says_what_to_put_where(
    folders: dict[str, str], tmp_path: Path
) -> None:
    folder = _copy(folders, tmp_path, "bert")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(MethodError, match="AutoTokenizer cannot be opened"):
        built(f"local-dir:{folder}")


def test_a_bare_file_is_refused(tmp_path: Path) -> None:
    save_file({"logit_scale": torch.zeros(())}, tmp_path / "w.safetensors")
    with pytest.raises(MethodError, match="transformers opens a folder"):
        built("w.safetensors")
