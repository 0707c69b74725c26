"""Models of open_clip through the generic adapter, against open_clip itself."""

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

from bench.errors import MethodError, UsageError
from bench.protocol.conformance import check_method
from bench.protocol.planted import planted_dataset
from bench.protocol.prompts import prompts_for
from bench.protocol.weights import load_checkpoint
from methods.openclip import OpenClip
from tests.methods.tiny_models import OPEN_CLIP, save_open_clip
from tests.methods.trained import losses_of, part_of

CLASSES = ("Edema", "Hernia", "Normal")
FAMILIES = ("clip", "siglip", "bert")
PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60)).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("open_clip")
    return {family: save_open_clip(root / family, family) for family in FAMILIES}


def built(reference: str, **settings: str) -> OpenClip:
    config = OpenClip.Config.upstream().with_settings(settings)
    method = OpenClip(config, [load_checkpoint(reference)])
    method.model = method.build(CLASSES, (), torch.device("cpu"))
    method.model.eval()
    return method


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_scores_are_those_of_open_clips_own_pipeline(folders: dict[str, str], family: str) -> None:
    import open_clip

    method = built(folders[family])
    framed = torch.from_numpy(method.frame(PICTURE))[None, None]
    model, _, transform = open_clip.create_model_and_transforms(folders[family])
    texts = ["edema", "no edema", "hernia", "no hernia", "normal", "abnormal"]
    tokens = open_clip.get_tokenizer(folders[family])(texts)
    image = model.eval().encode_image(transform(Image.fromarray(PICTURE))[None], normalize=True)
    cosines = image @ model.encode_text(tokens, normalize=True).T
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
    first = built(folders[family])
    for tower in ("visual.conv1.weight", "logit_scale"):
        before, after = (m.model.state_dict()[tower] for m in (first, method))
        assert not torch.equal(before, after)
        torch.testing.assert_close(before, after, atol=0.05, rtol=0)


def test_siglips_loss_is_open_clips(folders: dict[str, str]) -> None:
    import open_clip

    method = built(folders["siglip"])
    batch = part_of(planted_dataset(), 0, 8).batch(np.arange(8))
    with torch.no_grad():
        texts = method.encode_text(list(batch.texts))
        ours = method.loss(batch)
        theirs = open_clip.loss.SigLipLoss()(
            method.embed(batch.images),
            texts,
            method.towers.logit_scale.exp(),
            method.towers.logit_bias,
        )
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_prompts_are_encoded_anew_when_the_weights_change(folders: dict[str, str]) -> None:
    method = built(folders["clip"])
    images = torch.randint(0, 255, (2, 1, 32, 32), dtype=torch.uint8)
    prompts = prompts_for("positive", CLASSES)
    before = method.score(images, prompts)
    assert torch.equal(before, method.score(images, prompts))
    method.towers.text_projection.mul_(-1)
    torch.testing.assert_close(method.score(images, prompts), -before, atol=1e-6, rtol=0)


def test_a_bare_file_needs_the_name_of_its_towers(tmp_path: Path) -> None:
    save_file({"logit_scale": torch.zeros(())}, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="give --set tower=NAME"):
        built("w.safetensors")
    with pytest.raises(UsageError, match="Did you mean 'ViT-B-32'"):
        built("w.safetensors", tower="ViT-B32")


def test_a_bare_file_is_loaded_into_the_named_towers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", OPEN_CLIP)
    with torch.random.fork_rng():
        model = open_clip.CLIP(**OPEN_CLIP)
    state = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    method = built("w.safetensors", tower="Tiny")
    assert method.normalise.size == 32
    assert method.normalise.mean == open_clip.OPENAI_DATASET_MEAN
    torch.testing.assert_close(
        method.model.state_dict()["visual.proj"], model.visual.proj.half().float()
    )
    assert F.cosine_similarity(*method.encode_text(["edema", "edema"]), dim=0) > 0.999


def _copy(folders: dict[str, str], tmp_path: Path) -> Path:
    shutil.copytree(folders["clip"].removeprefix("local-dir:"), tmp_path / "copy")
    return tmp_path / "copy"


def test_a_missing_key_is_named(folders: dict[str, str], tmp_path: Path) -> None:
    folder = _copy(folders, tmp_path)
    file = folder / "open_clip_model.safetensors"
    state = load_file(file)
    del state["visual.proj"]
    save_file(state, file)
    with pytest.raises(MethodError, match=r"1 missing key \(visual.proj\)"):
        built(f"local-dir:{folder}")


def test_a_text_tower_whose_settings_are_elsewhere_says_where_to_put_them(
    folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    reference = folders["bert"]
    shutil.copytree(reference.removeprefix("local-dir:"), tmp_path / "copy")
    path = tmp_path / "copy" / "open_clip_config.json"
    told = json.loads(path.read_text())
    told["model_cfg"]["text_cfg"]["hf_model_name"] = "owner/bert"
    path.write_text(json.dumps(told))
    opened = transformers.AutoConfig.from_pretrained

    def offline(name: str, *words: Any, **more: Any) -> Any:
        if name == "owner/bert":
            raise OSError("We couldn't connect")
        return opened(name, *words, **more)

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", offline)
    with torch.no_grad():
        beside = built(f"local-dir:{tmp_path / 'copy'}").encode_text(["edema"])
        assert torch.equal(beside, built(reference).encode_text(["edema"]))
    shutil.rmtree(tmp_path / "copy" / "text")
    with pytest.raises(MethodError, match=r"hf download owner/bert config\.json --local-dir text"):
        built(f"local-dir:{tmp_path / 'copy'}")


def test_a_folder_of_transformers_is_sent_to_the_other_adapter(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MethodError, match=r"has no open_clip_config\.json"):
        built(f"local-dir:{tmp_path}")


def test_one_model_is_asked_for() -> None:
    with pytest.raises(MethodError, match="0 were given"):
        OpenClip(OpenClip.Config.upstream()).build(CLASSES, (), torch.device("cpu"))


def test_the_towers_of_a_bare_file_are_told_by_its_shapes() -> None:
    import open_clip

    with torch.device("meta"):
        model = open_clip.CLIP(**open_clip.get_model_config("ViT-L-14"))
    state = model.state_dict() | {"input_resolution": torch.zeros((), device="meta")}
    fit = OpenClip.fit(state)
    assert fit is not None
    assert fit.exact
    assert "ViT-L-14 or ViT-L-14-quickgelu" in fit.sizes
    assert fit.harmless == ("input_resolution",)
    del state["ln_final.bias"]
    short = OpenClip.fit(state)
    assert short is not None
    assert short.missing == ("ln_final.bias",)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_a_foreign_file_is_not_taken_for_towers(shape: tuple[int, ...]) -> None:
    keys = ("text_projection", "visual.conv1.weight", "visual.positional_embedding")
    keys += ("token_embedding.weight", "positional_embedding")
    assert OpenClip.fit(dict.fromkeys(keys, torch.zeros(shape))) is None
    assert OpenClip.fit({"a": torch.zeros(shape)}) is None


def test_the_adapter_keeps_the_contract(folders: dict[str, str]) -> None:
    assert [f.what for f in check_method("openclip", [folders["clip"]]) if not f.passed] == []
    (finding,) = check_method("openclip")
    assert "given by --weights" in finding.mend
