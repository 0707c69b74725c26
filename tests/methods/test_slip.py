from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.errors import MethodError
from bench.protocol.batches import Split
from bench.protocol.planted import planted_dataset
from bench.protocol.prompts import prompts_for
from bench.protocol.weights import Checkpoint
from methods._slip import SlipSizes, SlipTowers, decays, rate, simclr_loss
from methods.slip import Slip, SlipConfig, ssl_view
from tests.conftest import SHARED

DATA = planted_dataset()
CPU = torch.device("cpu")
SMALL = SlipSizes(32, 16, 64, 1, 1, 32, 77, 49408, 64, 1, 1, (32, 16))


def _tiny(**settings: object) -> tuple[Slip, Split]:
    method = Slip(replace(SlipConfig.tiny(), **settings))  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method.model = method.build(DATA.classes, DATA.reports, CPU)
    rows = np.arange(len(DATA))
    return method, Split(DATA, rows, DATA.reports, DATA.reports, 64, CPU)


def _small(state: dict[str, Tensor] | None = None, **settings: object) -> Slip:
    checkpoint = Checkpoint("slip.pt", "", state or SlipTowers(SMALL).state_dict(), Path("."))
    method = Slip(replace(SlipConfig.upstream(), **settings), [checkpoint])  # type: ignore[arg-type]
    method.model = method.build(DATA.classes, DATA.reports, CPU)
    method.model.eval()
    return method


@pytest.fixture(scope="module")
def inventories() -> dict[str, dict[str, list[int]]]:
    path = SHARED / "parity" / "slip" / "full_size_keys.json"
    if not path.is_file():
        pytest.skip("the key inventories of ../shared/parity are not here")
    told = json.loads(path.read_text())
    return {name: keys for name, keys in told.items() if isinstance(keys, dict)}


def _fit(inventory: dict[str, list[int]]) -> object:
    return Slip.fit({key: torch.empty(shape, device="meta") for key, shape in inventory.items()})


def test_the_authors_full_size_files_fit(inventories: dict[str, dict[str, list[int]]]) -> None:
    whole, alone = (_fit(inventories[name]) for name in ("SLIP_VITB16", "CLIP_VITB16"))
    for fit in (whole, alone):
        assert fit is not None
        assert fit.exact  # type: ignore[attr-defined]
        assert fit.harmless == ()  # type: ignore[attr-defined]
    assert whole.sizes == "ViT 12x768/16 at 224, text 12x512, SSL head 4096-256"  # type: ignore[attr-defined]
    assert alone.sizes == "ViT 12x768/16 at 224, text 12x512, no SSL head"  # type: ignore[attr-defined]
    with torch.device("meta"):
        parameters = SlipTowers(SlipSizes()).parameters()
        assert sum(p.numel() for p in parameters) == 170_616_321


def test_a_file_without_a_text_tower_does_not_fit(
    inventories: dict[str, dict[str, list[int]]],
) -> None:
    fit = _fit(inventories["SIMCLR_VITB16"])
    assert "text_projection" in fit.missing  # type: ignore[attr-defined]


def test_head_counts_are_the_authors() -> None:
    counts = {t: SlipSizes.of_tower(t, (8, 8)).vision_heads for t in ("small", "base", "large")}
    assert counts == {"small": 12, "base": 12, "large": 16}


def test_a_file_without_an_ssl_head_is_scored_the_same() -> None:
    state = SlipTowers(SMALL).state_dict()
    bare = {key: value for key, value in state.items() if not key.startswith("image_mlp.")}
    images = torch.from_numpy(DATA.pixels[:3]).unsqueeze(1)
    prompts = prompts_for("pair", DATA.classes)
    with torch.no_grad():
        assert torch.equal(
            _small(state).score(images, prompts), _small(bare).score(images, prompts)
        )
    assert _small(bare).weights == "slip.pt"


def test_a_file_of_something_else_is_refused() -> None:
    with pytest.raises(MethodError, match="holds no towers of SLIP's"):
        _small({"encoder.weight": torch.zeros(3)})
    state = SlipTowers(SMALL).state_dict()
    del state["image_projection"]
    with pytest.raises(MethodError, match="image_projection"):
        _small(state)


def test_long_texts_keep_their_end_unless_upstreams_way_is_asked_for() -> None:
    long = ["edema is present, " * 40, "hernia is present, " * 40]
    kept, lost = _small(), _small(keep_end=False)
    with torch.no_grad():
        first, second = kept.encode_text(long)
        assert not torch.allclose(first, second, atol=1e-4)
        # Read at the start token, which has seen no word.
        first, second = lost.encode_text(long)
        torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


def test_the_scale_is_clamped_before_it_is_used() -> None:
    method, train = _tiny()
    for value, expected in ((9.0, 4.6052), (-1.0, 0.0), (3.0, 3.0)):
        with torch.no_grad():
            method.model.logit_scale.fill_(value)
        loss = method.loss(train.batch(np.arange(8)))
        assert float(method.model.logit_scale.detach()) == pytest.approx(expected)
        method.model.logit_scale.grad = None
        loss.backward()
        # At the limit it still has a gradient, by which it can come back.
        assert method.model.logit_scale.grad != 0


def test_training_adds_the_simclr_loss_and_evaluation_draws_nothing() -> None:
    method, train = _tiny()
    batch = train.batch(np.arange(16))
    losses = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for scale in (0.0, 1.0):
            torch.manual_seed(3)
            method.config = replace(method.config, ssl_scale=scale)
            losses[scale] = float(method.loss(batch))
        method.model.eval()
        before = torch.get_rng_state()
        validation = float(method.loss(batch))
        assert torch.equal(before, torch.get_rng_state())
    # Among 31 others, an untrained head is near a guess.
    assert losses[1.0] - losses[0.0] == pytest.approx(math.log(31), abs=2)
    assert validation == pytest.approx(losses[0.0], abs=2)


def test_views_leave_the_statistics_of_evaluation_alone() -> None:
    method, train = _tiny()
    visual = method.model.clip.visual
    before = {key: value.clone() for key, value in visual.named_buffers() if "running" in key}
    method.model.train()
    view = train.batch(np.arange(8)).images.float() / 255
    method.model.embed_views(view, view)
    after = dict(visual.named_buffers())
    assert before
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert {norm.momentum for norm in visual.modules() if hasattr(norm, "momentum")} == {0.1}
    method.model.encode_view(view)
    assert any(not torch.equal(value, after[key]) for key, value in before.items())


def test_simclr_counts_one_positive_and_all_others() -> None:
    a, b = (torch.randn(5, 7, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    z = torch.nn.functional.normalize(torch.cat([a, b]), dim=-1)
    similarity = (z @ z.T / 0.1).exp()
    similarity.fill_diagonal_(0)
    partner = torch.arange(10).roll(5)
    expected = -(similarity[torch.arange(10), partner] / similarity.sum(1)).log().mean()
    torch.testing.assert_close(simclr_loss(a, b, 0.1), expected)


def test_views_are_of_one_size_and_in_range() -> None:
    values = torch.rand(6, 1, 40, 40)
    view = ssl_view(values, 20)
    assert view.shape == (6, 1, 20, 20)
    assert view.min() >= 0
    assert view.max() <= 1


def test_its_own_way_of_asking_is_present_less_absent_in_averaged_templates() -> None:
    method = _small(templates="itap of a {}.|a {}.")
    images = torch.from_numpy(DATA.pixels[:2]).unsqueeze(1)
    names = [name.lower() for name in DATA.classes]

    def asked(words: list[str]) -> Tensor:
        parts = [
            method.encode_text([template.format(word) for word in words])
            for template in ("itap of a {}.", "a {}.")
        ]
        return torch.nn.functional.normalize(parts[0] + parts[1], dim=-1)

    with torch.no_grad():
        found = method.score(images, prompts_for("own", DATA.classes))
        texts = asked(names) - asked([f"no {name}" for name in names])
        torch.testing.assert_close(found, method.embed(images) @ texts.T, atol=1e-6, rtol=0)
        # Without templates of the user's, upstream's one.
        alone, given = _small(), _small(templates="a {}.")
        given.model = alone.model
        own = prompts_for("own", DATA.classes)
        assert torch.equal(alone.score(images, own), given.score(images, own))


def test_the_authors_recipe_decays_and_warms_up() -> None:
    method = _small()
    decayed, free = method.parameter_groups()
    assert decayed["betas"] == free["betas"] == (0.9, 0.98)
    assert free["weight_decay"] == 0
    kept = {id(p) for p in free["params"]}
    names = {name for name, p in method.model.named_parameters() if id(p) in kept}
    assert {"logit_scale", "ln_final.weight", "visual.norm.bias", "image_mlp.bn1.weight"} <= names
    assert not names & {"visual.cls_token", "text_projection", "token_embedding.weight"}
    assert decays("visual.cls_token", torch.zeros(1, 1, 4))
    rates = [rate(step, 10, 25, 2e-5) for step in range(250)]
    assert rates[0] == 1e-6
    assert max(rates) == rates[9] == rates[10] == 2e-5
    assert rates[-1] == pytest.approx(1e-5, abs=1e-8)


def test_a_frame_is_the_middle_of_the_shorter_side() -> None:
    picture = np.zeros((300, 600), np.uint8)
    picture[:, 150:450] = 100
    framed = Slip(SlipConfig.upstream()).frame(picture)
    assert framed.shape == (224, 224)
    assert (framed[:, 2:-2] == 100).all()


@pytest.mark.parametrize("preprocessing", ["own", "common"])
def test_full_towers_are_trained(preprocessing: str) -> None:
    method = _small(preprocessing=preprocessing)
    method.model.train()
    rows = np.arange(4)
    train = Split(DATA, rows, DATA.reports, DATA.reports, 64, CPU)
    method.loss(train.batch(rows)).backward()
    without = [name for name, p in method.model.named_parameters() if p.grad is None]
    assert without == []
