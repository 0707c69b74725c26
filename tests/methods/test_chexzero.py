from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.errors import MethodError, UsageError
from bench.protocol.planted import planted_dataset
from bench.protocol.prompts import Prompts, prompts_for
from bench.protocol.weights import Checkpoint
from methods._openai import ClipSizes
from methods._tokens import Tokens
from methods.chexzero import FRAME, CheXzero, pair_probability, standardised_probability

CLASSES = ("Edema", "Hernia", "Normal")
SMALL = ClipSizes(32, 16, 64, 1, 1, 32, 77, 49408, 64, 1, 1)


def _state(seed: int, sizes: ClipSizes = SMALL) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = sizes.model().state_dict()
        # Larger than at the start, so that texts differ.
        return {key: value * 3 if value.ndim > 1 else value for key, value in state.items()}


def _built(*states: Mapping[str, Tensor], **settings: object) -> CheXzero:
    checkpoints = [
        Checkpoint(f"folder/file{i}.pt", "", state, Path(".")) for i, state in enumerate(states)
    ]
    config = replace(CheXzero.Config.upstream(), **settings)  # type: ignore[arg-type]
    method = CheXzero(config, checkpoints)
    method.model = method.build(CLASSES, ("edema is present",), torch.device("cpu"))
    method.model.eval()
    return method


def _images(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (count, 1, 48, 48), dtype=torch.uint8, generator=generator)


@torch.no_grad()
def _scores(method: CheXzero, policy: str = "pair") -> Tensor:
    return method.score(_images(), prompts_for(policy, CLASSES))  # type: ignore[arg-type]


def test_weights_decide_the_sizes_and_are_loaded_as_they_are() -> None:
    state = _state(0)
    half = {key: value.half() for key, value in state.items()}
    method = _built(half | {"input_resolution": torch.tensor(32)})
    assert method.weights == "file0.pt"
    loaded = method.model.clip.state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.float32}
    for key, value in half.items():
        assert torch.equal(loaded[key], value.float()), key
    assert type(method.model.clip.visual.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        (ClipSizes(), "ViT-B/32 at 224, text 12x512, QuickGELU"),
        (ClipSizes(resolution=320, patch=16, joint=768), "ViT-B/16 at 320, text 12x512, QuickGELU"),
    ],
)
def test_files_of_full_size_fit(sizes: ClipSizes, told: str) -> None:
    with torch.device("meta"):
        state = sizes.model().state_dict()
    state["context_length"] = torch.tensor(77)
    fit = CheXzero.fit(state)
    assert fit is not None
    assert fit.exact
    assert fit.sizes == told
    assert fit.harmless == ("context_length",)
    assert len(state) - 1 == 302


def test_a_file_of_something_else_does_not_fit() -> None:
    fit = CheXzero.fit({"encoder.weight": torch.zeros(3)})
    assert fit is not None
    assert fit.unexpected == ("encoder.weight",)
    assert len(fit.missing) == 302
    with pytest.raises(MethodError, match="holds no CLIP towers"):
        _built({"encoder.weight": torch.zeros(3)})
    broken = _state(0)
    del broken["visual.proj"]
    with pytest.raises(MethodError, match=r"1 missing key \(visual.proj\)"):
        _built(broken)


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_a_named_model_starts_it_where_its_activation_is_clips(
    tmp_path: Path, quick_gelu: bool
) -> None:
    state = _state(0)
    settings = {
        "embed_dim": 32,
        "quick_gelu": quick_gelu,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"width": 64, "heads": 1, "layers": 1},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": settings}))
    save_file(state, tmp_path / "open_clip_model.safetensors")
    checkpoint = Checkpoint(f"local-dir:{tmp_path}", "", {}, tmp_path)
    method = CheXzero(CheXzero.Config.upstream(), [checkpoint])
    if not quick_gelu:
        with pytest.raises(MethodError, match="--method openclip"):
            method.build(CLASSES, (), torch.device("cpu"))
        return
    method.model = method.build(CLASSES, (), torch.device("cpu")).eval()
    assert torch.equal(_scores(method), _scores(_built(state)))


def test_an_ensemble_is_the_mean_of_its_members_probabilities() -> None:
    states = [_state(seed) for seed in range(3)]
    together = _built(*states)
    single = [_scores(_built(state)) for state in states]
    expected = torch.stack([torch.sigmoid(score) for score in single]).mean(0)
    torch.testing.assert_close(_scores(together), expected, atol=1e-6, rtol=0)
    assert together.weights == "file0.pt, file1.pt, file2.pt"
    assert together.diagnostics() == {"ensemble": 3}
    assert together.embed(_images()) is None
    assert not any(p.requires_grad for p in together.model.parameters())


def test_an_ensemble_is_not_trained() -> None:
    dataset = planted_dataset()
    with pytest.raises(MethodError, match="name one file"):
        _built(_state(0), _state(1)).loss(dataset)  # type: ignore[arg-type]  # not looked at


def test_probabilities_are_those_of_a_softmax_over_two_cosines() -> None:
    cosines = torch.tensor([[0.3, -0.1], [0.9, -1.0]])
    expected = cosines.exp()[:, 0] / cosines.exp().sum(1)
    torch.testing.assert_close(pair_probability(cosines[:, 0] - cosines[:, 1]), expected)


def test_the_other_path_mixes_the_classes_of_an_image() -> None:
    state = _state(0)
    method = _built(state, scoring="standardised")
    cosines = _scores(_built(state), "positive")
    # Under `positive` both are asked with the same words.
    found = _scores(method, "positive")
    torch.testing.assert_close(found, standardised_probability(cosines), atol=1e-5, rtol=0)
    logits = torch.logit(found)
    torch.testing.assert_close(logits.mean(1), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(logits.std(1, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_templates_are_averaged_as_unit_vectors() -> None:
    method = _built(_state(0), templates="{}|chest x-ray showing {}.")
    with torch.no_grad():
        found = method.encode_prompts(["edema", "hernia"])
        plain, long = (
            method.encode_text([template.format(name) for name in ("edema", "hernia")])
            for template in ("{}", "chest x-ray showing {}.")
        )
    expected = torch.nn.functional.normalize((plain + long) / 2, dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    with pytest.raises(UsageError, match="templates"):
        CheXzero.Config.tiny().with_settings({"templates": "edema|{}"})


def test_a_tiny_tower_has_embeddings_for_its_templates() -> None:
    method = CheXzero(replace(CheXzero.Config.tiny(), templates="{}|zebra {}"))
    method.model = method.build(CLASSES, ("edema is present",), torch.device("cpu"))
    assert _scores(method).shape == (3, 3)


def test_a_training_text_is_cut_and_a_prompt_is_refused() -> None:
    long = "edema is present, " * 40
    tokens = Tokens([long], compact=False)
    assert tokens([long]).shape == (1, 77)
    with pytest.raises(MethodError, match="more than 77 tokens"):
        tokens.whole([long])
    method = _built(_state(0))
    with pytest.raises(MethodError, match="fewer words"):
        method.score(_images(), Prompts("positive", ("Edema",), (long,), None))


def test_the_frame_cuts_lengths_as_the_authors_arithmetic_does() -> None:
    method = CheXzero(CheXzero.Config.upstream())
    short = [side for side in range(1, 4001) if int(side * (FRAME / side)) == FRAME - 1]
    assert len(short) == 55
    assert {77, 154, 581, 623, 1077} <= set(short)
    framed = method.frame(np.full((77, 30), 200, np.uint8))
    assert framed.shape == (FRAME, FRAME)
    rows, columns = (np.flatnonzero(framed.any(axis)) for axis in (1, 0))
    assert (rows[0], rows[-1], len(rows)) == (0, 318, 319)
    width = int(30 * (FRAME / 77))
    assert (columns[0], len(columns)) == ((FRAME - width) // 2, width)


def test_images_are_normalised_before_they_are_resized() -> None:
    """So nothing is cut to 0..255 where the cubic overshoots."""
    method = _built(_state(0))
    step = torch.zeros(1, 1, 48, 48, dtype=torch.uint8)
    step[..., 24:] = 255
    pixels = method.model.pixels(step)
    assert pixels.shape == (1, 3, 32, 32)
    assert pixels.max() > (255 - 101.48761) / 83.43944 + 0.01
    smooth = _built(_state(0), antialias=True).model.pixels(step)
    assert not torch.allclose(pixels, smooth)


def test_equal_texts_are_negatives_unless_they_share_their_targets() -> None:
    images = torch.nn.functional.normalize(torch.randn(3, 32), dim=-1)
    texts = ["edema", "edema", "hernia"]
    losses = {}
    for how in ("negatives", "shared"):
        method = _built(_state(0), equal_texts=how)
        with torch.no_grad():
            losses[how] = method.contrast(images, texts)
            logits = method.temperature() * images @ method.encode_each(texts).T
    target = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    expected = -((target * logits.log_softmax(1)).sum() + (target * logits.log_softmax(0)).sum())
    torch.testing.assert_close(losses["shared"], expected / 6)
    diagonal = logits.log_softmax(1).diagonal() + logits.log_softmax(0).diagonal()
    torch.testing.assert_close(losses["negatives"], -diagonal.mean() / 2)


def test_the_scale_is_limited_but_in_the_authors_recipe() -> None:
    free, limited = _built(_state(0)), _built(_state(0), max_scale=100.0)
    for method in (free, limited):
        with torch.no_grad():
            method.model.clip.logit_scale.fill_(6.0)
    assert float(free.temperature().detach()) == pytest.approx(np.exp(6.0), rel=1e-5)
    assert float(limited.temperature().detach()) == pytest.approx(100.0, rel=1e-5)
