from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.classes import CLASSES
from bench.errors import MethodError, UsageError
from bench.protocol.batches import Batch, Split
from bench.protocol.planted import planted_dataset
from bench.protocol.prompts import prompts_for
from bench.protocol.weights import Checkpoint
from methods._medklip import MedKlipNet, Sizes, Stage, sizes_of
from methods._medklip_augment import OPERATIONS, rand_augment, training_view
from methods._medklip_loss import (
    CANDIDATES,
    Positions,
    draw_candidates,
    existence_labels,
    kept,
    objective,
)
from methods._medklip_names import DEFINITIONS, ENTITIES, ENTITY_OF
from methods._medklip_queries import BOOK, DESCRIPTIONS, ClinicalBert, RandomWords
from methods._torchvision import make_torchvision_importable
from methods.medklip import MedKLIP, MedKlipConfig
from tests.conftest import SHARED
from tests.parity import compare_file

PARITY = SHARED / "parity" / "medklip"
DATA = planted_dataset()
CPU = torch.device("cpu")
SMALL = Sizes(
    stages=(Stage(True, 1, 4, 8), Stage(True, 2, 4, 16)),
    stem=4,
    text_width=24,
    width=16,
    inner=8,
    layers=2,
)


@pytest.fixture(autouse=True)
def _same_draws() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def _inventory(name: str) -> dict[str, Tensor]:
    path = PARITY / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    shapes = json.loads(path.read_text())
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def _tiny(**settings: Any) -> MedKLIP:
    method = MedKLIP(replace(MedKlipConfig.tiny(), **settings))
    method.model = method.build(DATA.classes, DATA.reports, CPU)
    return method


def _batch(count: int = 8) -> Batch:
    return Split(DATA, np.arange(40), DATA.reports, DATA.reports, 64, CPU).batch(np.arange(count))


def _released(folder: Path, *, entities: bool = True, **settings: Any) -> MedKLIP:
    """Small random weights in the place of the released ones, with a book of queries beside."""
    drawn = torch.Generator().manual_seed(5)
    texts = [text for policy in ("pair", "positive") for text in _asked(policy)]
    texts += DEFINITIONS.values()
    book: dict[str, np.ndarray] = {
        "texts": np.array(texts),
        "vectors": torch.randn(len(texts), SMALL.text_width, generator=drawn).numpy(),
    }
    if entities:
        book["entities"] = torch.randn(75, SMALL.text_width, generator=drawn).numpy()
    np.savez(folder / BOOK, **book)  # type: ignore[arg-type]
    state = MedKlipNet(SMALL).state_dict()
    file = Checkpoint("checkpoint_final.pth", "0" * 64, state, folder)
    method = MedKLIP(replace(MedKlipConfig.upstream(), **settings), [file])
    method.model = method.build(CLASSES, (), CPU)
    method.model.eval()
    return method


def _asked(policy: Any) -> tuple[str, ...]:
    return prompts_for(policy, CLASSES).positive


# ---------------------------------------------------------------------------------- upstream


def test_every_array_that_upstream_gave_is_reproduced() -> None:
    path = PARITY / "fixture.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    found = compare_file("medklip", path)
    assert len(found) == 26
    assert not [str(comparison) for comparison in found if not comparison.passed]


@pytest.mark.parametrize(
    ("name", "keys"), [("full_size_keys.json", 342), ("reduced_keys.json", 102)]
)
def test_the_published_keys_and_shapes_fit_exactly(name: str, keys: int) -> None:
    state = _inventory(name)
    fit = MedKLIP.fit(state)
    assert fit.exact
    assert not fit.harmless
    assert len(state) == keys


def test_the_sizes_of_the_published_weights_are_the_defaults() -> None:
    assert sizes_of(_inventory("full_size_keys.json")) == Sizes()
    state = {key: value.to("meta") for key, value in MedKlipNet(SMALL).state_dict().items()}
    assert sizes_of(state) == SMALL


@pytest.mark.parametrize("block", ["BasicBlock", "Bottleneck"])
def test_the_trunk_is_torchvisions_without_its_last_stage(block: str) -> None:
    make_torchvision_importable()
    from torchvision.models import resnet

    theirs = resnet.ResNet(getattr(resnet, block), [2, 1, 2, 1])
    trunk = torch.nn.Sequential(*list(theirs.children())[:-3]).eval()
    state = {f"res_features.{key}": value for key, value in trunk.state_dict().items()}
    net = MedKlipNet(sizes_of(state)).eval()
    net.res_features.load_state_dict(trunk.state_dict())
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(net.features(pixels), trunk(pixels))


@pytest.mark.parametrize("spoil", ["missing", "unexpected", "misshapen", "foreign"])
def test_weights_that_do_not_fit_are_told_apart(spoil: str) -> None:
    state: dict[str, Tensor] = dict(MedKlipNet(SMALL).state_dict())
    if spoil == "missing":
        del state["decoder.norm.bias"]
    elif spoil == "unexpected":
        state["decoder.norm.other"] = torch.zeros(1)
    elif spoil == "misshapen":
        state["res_l1.bias"] = torch.zeros(3)
    else:
        state = {
            "classifier.weight": torch.zeros(2),
            "res_features.4.0.conv1.weight": torch.ones(()),
        }
    fit = MedKLIP.fit(state)
    assert not fit.exact
    if spoil != "foreign":
        assert len(getattr(fit, spoil)) == 1
        method = MedKLIP(MedKlipConfig(), [Checkpoint("x.pth", "", state, Path())])
        with pytest.raises(MethodError, match=spoil):
            method.build(CLASSES, (), CPU)


# --------------------------------------------------------------------------------- objective


def test_entries_that_are_not_labelled_have_no_gradient() -> None:
    logits = torch.randn(2, 3, 2, requires_grad=True)
    labels = torch.tensor([[1, -1, 0], [2, 1, -1]])
    loss = objective(logits, labels)
    loss.total.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad.abs().sum(-1) > 0, (labels == 0) | (labels == 1))
    rows = [(0, 0, 1), (0, 2, 0), (1, 1, 1)]
    expected = -sum(logits[b, q].log_softmax(-1)[y] for b, q, y in rows) / 3
    torch.testing.assert_close(loss.total, expected)


def test_a_batch_without_a_positive_entity_has_no_position_loss_and_no_nan() -> None:
    decoded = torch.randn(2, 3, 4, requires_grad=True)
    positions = Positions(decoded, torch.randn(9, 4), torch.zeros(2, 3, 8, dtype=torch.long))
    losses = objective(torch.randn(2, 3, 2), torch.tensor([[0, -1, 0], [0, 0, -1]]), positions)
    assert losses.position == 0
    assert losses.total == losses.existence
    losses.total.backward()
    assert decoded.grad is not None
    assert not decoded.grad.any()


def test_nothing_labelled_is_a_loss_of_zero() -> None:
    assert objective(torch.randn(2, 3, 2), torch.full((2, 3), -1)).total == 0


def test_excluded_entities_are_in_neither_term() -> None:
    keep = kept(ENTITIES)
    assert len(keep) == 68
    logits = torch.randn(1, 75, 2, requires_grad=True)
    decoded = torch.randn(1, 75, 4, requires_grad=True)
    positions = Positions(decoded, torch.randn(51, 4), torch.randint(51, (1, 75, 8)))
    objective(logits, torch.ones(1, 75), positions, keep).total.backward()
    for tensor in (logits, decoded):
        assert tensor.grad is not None
        moved = tensor.grad.abs().sum(-1)[0] > 0
        assert moved.nonzero()[:, 0].tolist() == keep


def test_the_first_candidate_is_a_true_position_and_the_others_are_not() -> None:
    adjacency = torch.from_numpy(np.random.default_rng(0).integers(-1, 2, (4, 51, 75)))
    adjacency[:, :, :5] = -1
    drawn = draw_candidates(adjacency)
    assert drawn.shape == (4, 75, CANDIDATES)
    there = adjacency.transpose(1, 2).gather(2, drawn)
    asked = existence_labels(adjacency) == 1
    assert not asked[:, :5].any()
    assert (there[..., 0] == 1)[asked].all()
    assert (there[..., 1:] != 1).all()
    assert all(len(set(row.tolist())) == CANDIDATES for row in drawn.flatten(0, 1))


def test_the_loss_respects_the_mask_of_the_data() -> None:
    method = _tiny(clauses="all")
    method.model.eval()
    batch = _batch()
    masked = replace(batch, mask=batch.mask & (torch.arange(3) != 1))
    turned = replace(masked, labels=torch.where(masked.mask, batch.labels, 1 - batch.labels))
    with torch.no_grad():
        assert method.loss(masked) == method.loss(turned)
        assert method.loss(masked) != method.loss(batch)


def test_strict_training_reads_the_clauses_and_nothing_else() -> None:
    for clauses, expected in (
        ("all", {"hernia is present"}),
        ("some", {"hernia", "hernia is present"}),
    ):
        method = _tiny(clauses=clauses)
        asked = set()
        encode = method._encoder

        def listening(texts: Any, encode: Any = encode, asked: set[str] = asked) -> Tensor:
            asked.update(texts)
            return encode(texts)

        method._encoder = listening  # type: ignore[assignment]
        for _ in range(20):
            method.loss(_batch(2))
        assert {text for text in asked if "hernia" in text} == expected


def test_training_on_reports_is_refused() -> None:
    with pytest.raises(UsageError, match="RadGraph"):
        MedKlipConfig.tiny().with_settings({"text": "reports"})


# ----------------------------------------------------------------------------------- scoring


def test_the_negative_text_of_a_pair_is_not_asked() -> None:
    method = _tiny()
    method.model.eval()
    images, pair = _batch().images, prompts_for("pair", DATA.classes)
    other = replace(pair, negative=("x", "y", "z"))
    with torch.no_grad():
        assert torch.equal(method.score(images, pair), method.score(images, other))


def test_a_query_alone_answers_the_same_in_any_company() -> None:
    images = _batch().images
    for alone in (True, False):
        method = _tiny(alone=alone)
        method.model.eval()
        for parameter in method.model.decoder.parameters():  # from nothing, company hardly matters
            torch.nn.init.normal_(parameter)
        with torch.no_grad():
            whole = method.score(images, prompts_for("pair", DATA.classes))
            one = method.score(images, prompts_for("pair", DATA.classes[1:2]))
        assert torch.allclose(whole[:, 1:2], one, atol=1e-5) is alone


def test_attention_maps_are_one_distribution_over_places_a_class() -> None:
    method = _tiny()
    method.model.eval()
    maps = method.attention_maps(_batch(4).images, prompts_for("pair", DATA.classes))
    assert maps.shape[:2] == (4, 3)
    assert maps.shape[2] == maps.shape[3] > 1
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(4, 3))


def test_every_class_has_an_entity_or_a_definition() -> None:
    assert set(ENTITY_OF) | set(DEFINITIONS) == set(CLASSES)
    assert not set(ENTITY_OF) & set(DEFINITIONS)
    assert set(ENTITY_OF.values()) <= set(ENTITIES)
    assert len(DEFINITIONS) == 12


@pytest.mark.parametrize("alone", [False, True])
def test_released_weights_answer_known_classes_as_upstream_does(
    tmp_path: Path, alone: bool
) -> None:
    method = _released(tmp_path, alone=alone)
    images = torch.randint(256, (3, 1, 224, 224), dtype=torch.uint8)
    with torch.no_grad():
        scores = method.score(images, prompts_for("own", CLASSES))
        pixels = images.expand(-1, 3, -1, -1) / 255
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        logits = method.model((pixels - mean) / std, method._encoder.entities()).logits
    for column, name in enumerate(CLASSES):
        if name in ENTITY_OF:
            expected = logits[:, ENTITIES.index(ENTITY_OF[name])].softmax(-1)[:, 1]
            torch.testing.assert_close(scores[:, column], expected, atol=1e-5, rtol=0)


def test_an_appended_query_sees_the_entities_unless_it_is_alone(tmp_path: Path) -> None:
    images = torch.randint(256, (2, 1, 224, 224), dtype=torch.uint8)
    asked = prompts_for("own", ["Kyphosis"])
    for alone in (False, True):
        method = _released(tmp_path, alone=alone)
        for parameter in method.model.decoder.parameters():
            torch.nn.init.normal_(parameter)
        with torch.no_grad():
            whole = method.score(images, prompts_for("own", CLASSES))
            one = method.score(images, asked)
            torch.testing.assert_close(whole[:, [CLASSES.index("Kyphosis")]], one)
            reading = method._read(images, method._question(asked))
            definition = method._encoder([DEFINITIONS["Kyphosis"]])
            by_itself = method.model(method._pixels(images), definition).logits
            close = torch.allclose(reading.logits[:, 75:], by_itself, atol=1e-4)
        assert close is alone


def test_trained_weights_are_asked_with_what_they_were_trained_on(tmp_path: Path) -> None:
    method = _released(tmp_path)
    images = torch.randint(256, (2, 1, 224, 224), dtype=torch.uint8)
    own, positive = prompts_for("own", CLASSES), prompts_for("positive", CLASSES)
    with torch.no_grad():
        assert not torch.equal(method.score(images, own), method.score(images, positive))
        rows = np.arange(4)
        method.start_epoch(0, Split(DATA, rows, DATA.reports, DATA.reports, 64, CPU))
        assert torch.equal(method.score(images, own), method.score(images, positive))


# ----------------------------------------------------------------------------------- queries


def test_random_words_keep_words_apart_and_lengths_alike() -> None:
    encode = RandomWords(4096)
    a, b, c = encode(["edema is present", "Present is edema.", "pleural effusion"])
    torch.testing.assert_close(a, b)
    assert abs(float(torch.cosine_similarity(a, c, 0))) < 0.1
    assert [round(float(v.var()), 1) for v in (a, c)] == [1.0, 1.0]
    assert torch.equal(RandomWords(4096)(["edema"]), encode(["edema"]))


def test_what_is_missing_beside_the_weights_is_named_with_its_place(tmp_path: Path) -> None:
    encode = ClinicalBert(tmp_path / "Bio_ClinicalBERT", tmp_path)
    with pytest.raises(MethodError, match=rf"{DESCRIPTIONS}.*no licence"):
        encode.entities()
    with pytest.raises(MethodError, match=r"vocab\.txt and pytorch_model\.bin"):
        encode(["edema"])


@pytest.mark.parametrize("told", ["[]", '{"a": "b"}', "{", json.dumps(dict.fromkeys("x" * 75))])
def test_descriptions_that_are_not_upstreams_are_refused(tmp_path: Path, told: str) -> None:
    (tmp_path / DESCRIPTIONS).write_text(told)
    with pytest.raises(MethodError, match="Fetch it anew"):
        ClinicalBert(tmp_path / "bert", tmp_path).entities()


def test_descriptions_in_another_order_are_refused(tmp_path: Path) -> None:
    (tmp_path / DESCRIPTIONS).write_text(json.dumps({name: name for name in ENTITIES[::-1]}))
    with pytest.raises(MethodError, match="order"):
        ClinicalBert(tmp_path / "bert", tmp_path).entities()


@pytest.mark.parametrize("spoil", ["text", "zip", "shape"])
def test_a_broken_book_is_refused(tmp_path: Path, spoil: str) -> None:
    if spoil == "shape":
        book: dict[str, Any] = {"texts": np.array(["a"]), "vectors": np.zeros((1, 4), np.float32)}
        np.savez(tmp_path / BOOK, **book, entities=np.zeros((74, 4), np.float32))
    else:
        (tmp_path / BOOK).write_bytes(b"nothing" if spoil == "text" else b"PK\x03\x04nothing")
    with pytest.raises(MethodError, match="remove it"):
        ClinicalBert(tmp_path / "bert", tmp_path)


def test_bert_is_needed_once(tmp_path: Path) -> None:
    """With BERT and the descriptions the book is written; then it does without either."""
    folder = tmp_path / "Bio_ClinicalBERT"
    _small_bert(folder)
    names = {"eumonia" if name == "pneumonia" else name: name for name in ENTITIES}
    (tmp_path / DESCRIPTIONS).write_text(json.dumps(names))
    first = ClinicalBert(folder, tmp_path)
    entities, vectors = first.entities(), first(["edema", "mass"])
    (tmp_path / DESCRIPTIONS).unlink()
    second = ClinicalBert(tmp_path / "nowhere", tmp_path)
    assert torch.equal(second.entities(), entities)
    assert torch.equal(second(["mass", "edema"]), vectors.flip(0))
    torch.testing.assert_close(entities[ENTITIES.index("edema")], vectors[0], atol=1e-5, rtol=0)
    with pytest.raises(MethodError, match="Bio_ClinicalBERT"):
        second(["hernia"])


def test_vectors_of_another_width_than_the_weights_are_refused(tmp_path: Path) -> None:
    _released(tmp_path)
    file = Checkpoint(
        "big.pth", "", MedKlipNet(replace(SMALL, text_width=7)).state_dict(), tmp_path
    )
    with pytest.raises(MethodError, match="of 7 numbers"):
        MedKLIP(MedKlipConfig.upstream(), [file]).build(CLASSES, (), CPU)


def test_a_network_from_nothing_can_be_asked_with_bert(tmp_path: Path) -> None:
    _small_bert(tmp_path / "bert")
    bert_only = Checkpoint(f"local-dir:{tmp_path / 'bert'}", "", {}, tmp_path / "bert")
    method = MedKLIP(MedKlipConfig.tiny(), [bert_only])
    net = method.build(DATA.classes, (), CPU)
    assert net.disease_embedding_layer.in_features == 24
    assert method.weights == "random; queries: Bio_ClinicalBERT"
    assert not list(tmp_path.rglob(BOOK))


def _small_bert(folder: Path) -> None:
    from methods._bert import bert

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ENTITIES]
    (folder / "vocab.txt").write_text("\n".join(words))
    model = bert(vocabulary=len(words), width=24, layers=1, inner=16, heads=1)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


# ------------------------------------------------------------------------------------ recipe


def test_the_schedule_of_upstream() -> None:
    method = MedKLIP(MedKlipConfig.upstream())
    rate = [method.rate(step, 1000) for step in range(1000)]
    assert rate[0] == rate[100] == pytest.approx(1e-5)
    assert rate[101] == pytest.approx(2.8e-5)
    assert rate[501] == rate[999] == pytest.approx(1e-4)
    assert len({round(r, 12) for r in rate}) == 6
    assert method.rate(1000, 1000) == method.rate(1999, 1000)
    half = method.rate(50_000, 1000)
    assert half == pytest.approx(1e-5 + 0.5 * 9e-5)
    assert method.rate(99_000, 1000) == pytest.approx(
        1e-5 + 0.5 * 9e-5 * (1 + math.cos(math.pi * 0.99))
    )


def test_vectors_do_not_decay_under_upstreams_recipe_only() -> None:
    common = _tiny()
    assert len(common.parameter_groups()) == 1
    method = MedKLIP(MedKlipConfig.upstream())
    method.model = common.model
    decaying, others = method.parameter_groups()
    assert "weight_decay" not in decaying
    assert others["weight_decay"] == 0
    assert {p.ndim for p in others["params"]} == {1}
    count = len(decaying["params"]) + len(others["params"])
    assert count == len(list(common.model.parameters()))


def test_a_picture_is_squashed_to_a_square() -> None:
    picture = np.tile(np.linspace(0, 255, 320).astype(np.uint8), (200, 1))
    framed = MedKLIP(MedKlipConfig.upstream()).frame(picture)
    assert framed.shape == (224, 224)
    assert framed.dtype == np.uint8
    assert framed[:, 0].max() < 3
    assert framed[:, -1].min() > 252


def test_augmentation_happens_in_training_only() -> None:
    method = _tiny(preprocessing="own")
    images = _batch().images
    plain = _tiny()._pixels(images)
    assert not torch.equal(method._pixels(images), plain)
    method.model.eval()
    assert torch.equal(method._pixels(images), plain)


# ------------------------------------------------------------------------------ augmentation


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda f: f.__name__)
def test_every_operation_keeps_shape_and_changes_an_image(operation: Any) -> None:
    images = torch.randint(60, 200, (3, 1, 32, 32)).float()
    changed = operation(images)
    assert changed.shape == images.shape
    assert not torch.equal(changed, images)


def test_grey_operations_are_those_of_pillow() -> None:
    from PIL import Image, ImageOps

    rng = np.random.default_rng(1)
    pictures = (rng.random((4, 40, 40)) ** 2 * 180 + 20).astype(np.uint8)
    pictures[3] = 77  # of one level, which nothing can stretch
    images = torch.from_numpy(pictures).unsqueeze(1).float()
    by_name = {operation.__name__: operation for operation in OPERATIONS}
    for name, reference in (
        ("autocontrast", ImageOps.autocontrast),
        ("equalise", ImageOps.equalize),
    ):
        expected = np.stack([np.asarray(reference(Image.fromarray(p))) for p in pictures])
        assert np.array_equal(by_name[name](images)[:, 0].numpy().astype(np.uint8), expected)


def test_a_turn_shows_the_border_in_the_corners_and_keeps_the_middle() -> None:
    images = torch.full((6, 1, 64, 64), 10.0)
    images[:, :, 24:40, 24:40] = 250
    turned = {f.__name__: f for f in OPERATIONS}["turn"](images)
    assert (turned[:, 0, 0, 0] == 128).all()
    assert (turned[:, 0, 28:36, 28:36] > 249).all()


def test_a_view_is_drawn_anew_from_torchs_generator() -> None:
    images = torch.randint(256, (4, 1, 48, 48), dtype=torch.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first, second = training_view(images, 32), training_view(images, 32)
        torch.manual_seed(3)
        again = training_view(images, 32)
    assert first.shape == (4, 1, 32, 32)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert ((first >= 0) & (first <= 255) & (first == first.round())).all()


def test_three_images_in_ten_are_left_as_they_are() -> None:
    """Each round does nothing with probability 1/2, or 1/10 of the other half: 0.3 in two."""
    images = torch.randint(60, 200, (1500, 1, 48, 48)).float()
    same = (rand_augment(images) == images).flatten(1).all(1).float().mean()
    assert 0.25 < float(same) < 0.36
