from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.errors import MethodError, UsageError
from bench.protocol.batches import Split
from bench.protocol.captions import meta_captions
from bench.protocol.planted import CLASSES, planted_dataset
from bench.protocol.prompts import prompts_for
from bench.protocol.trainer import train
from bench.protocol.weights import Checkpoint
from bench.stats.metrics import auroc
from methods._bert import WordPiece, bert, is_bert
from methods._medclip_images import augmented, framed, pad_square
from methods._medclip_losses import matching_loss, pair_loss, prompt_scores
from methods._medclip_texts import sentences, units
from methods._medclip_towers import load, model_like, swin_model, upstream_name
from methods.medclip import MedClip, MedClipConfig
from tests.conftest import SHARED
from tests.parity import read, state

CPU = torch.device("cpu")
NAMES = ("Edema", "Mass", "Normal", "Pleural Effusion")
FIXTURES = SHARED / "parity" / "medclip"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared is not here")


def _built(checkpoints: tuple[Checkpoint, ...] = (), **settings: object) -> MedClip:
    method = MedClip(replace(MedClipConfig.tiny(), **settings), checkpoints)  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method.model = method.build(NAMES, ("edema is present",), CPU)
    method.model.eval()
    return method


def _images(count: int, side: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 255, (count, 1, side, side), dtype=torch.uint8, generator=generator)


# The objective


def test_targets_are_soft_over_texts_and_over_images() -> None:
    logits = torch.randn(4, 4, dtype=torch.float64, generator=torch.manual_seed(0))
    images = torch.tensor([[1.0, 0], [1, 1], [0, 1], [0, 0]]).double()
    texts = torch.tensor([[1.0, 0], [0, 1], [0, 1], [-1, 0]]).double()
    total = 0.0
    for i in range(4):
        for j in range(4):
            similarity = (images @ texts.T).numpy()
            over_texts = np.exp(similarity[i, j]) / np.exp(similarity[i]).sum()
            over_images = np.exp(similarity[i, j]) / np.exp(similarity[:, j]).sum()
            total -= over_texts * float(logits[i].log_softmax(0)[j])
            total -= over_images * float(logits[:, j].log_softmax(0)[i])
    assert float(matching_loss(logits, images, texts)) == pytest.approx(total / 8, abs=1e-12)


def test_without_labels_the_loss_is_clips() -> None:
    logits = torch.randn(3, 3, generator=torch.manual_seed(0))
    rows, columns = logits.log_softmax(1).diagonal(), logits.log_softmax(0).diagonal()
    torch.testing.assert_close(pair_loss(logits), -(rows.mean() + columns.mean()) / 2)


def test_the_temperature_is_clamped_in_place_whenever_logits_are_made() -> None:
    model = _built().model
    unit = torch.nn.functional.normalize(torch.ones(1, 8))
    for value, clamped in ((-1.0, 0.0), (3.0, 3.0), (6.0, 4.6052)):
        nn.init.constant_(model.logit_scale, value)
        logits = model.logits(unit, unit)
        assert model.logit_scale.item() == pytest.approx(clamped)
        assert logits.item() == pytest.approx(np.exp(clamped), rel=1e-5)


def test_a_text_of_meta_labels_is_one_positive_class_and_its_label() -> None:
    labels = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0]]).repeat(300, 1)
    mask = torch.ones_like(labels, dtype=torch.bool)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        read = units(labels, mask, torch.arange(600), NAMES, draw=True, signed=False)
    assert torch.equal(read.image_labels, labels.float())
    assert torch.equal(read.text_labels.sum(1), torch.ones(600))
    assert (read.text_labels * labels).sum() == 600
    assert set(read.texts[1::2]) == {"mass is present"}
    first = read.texts[::2].count("edema is present")
    assert first + read.texts[::2].count("pleural effusion is present") == 300
    assert 110 < first < 190


def test_without_drawing_the_row_decides_so_that_epochs_compare() -> None:
    labels, rows = torch.tensor([[1, 0, 1, 1]] * 3), torch.tensor([0, 1, 5])
    mask = torch.ones_like(labels, dtype=torch.bool)
    read = units(labels, mask, rows, NAMES, draw=False, signed=True)
    expected = ["edema is present", "normal is present", "pleural effusion is present"]
    assert read.texts == expected


def test_a_signed_text_is_the_clause_the_name_or_an_absence_with_its_sign() -> None:
    labels = torch.tensor([[1, 0, 0, 0]] * 400)
    mask = torch.tensor([[True, True, True, False]] * 400)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        read = units(labels, mask, torch.arange(400), NAMES, draw=True, signed=True)
    assert torch.equal(read.image_labels[0], torch.tensor([1.0, -1, -1, 0]))
    assert set(read.texts) == {"edema is present", "edema", "no mass", "abnormal"}
    for text, label in zip(read.texts, read.text_labels, strict=True):
        place = {"no mass": 1, "abnormal": 2}.get(text, 0)
        assert torch.equal(label, torch.eye(4)[place] * (1 if place == 0 else -1))


def test_a_class_that_the_mask_hides_is_never_a_text() -> None:
    labels, mask = torch.tensor([[1, 1, 1, 1]] * 50), torch.tensor([[True, False, True, True]] * 50)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        read = units(labels, mask, torch.arange(50), NAMES, draw=True, signed=True)
    assert not [text for text in read.texts if "mass" in text]
    assert float(read.image_labels[:, 1].abs().sum()) == 0


def test_reports_are_read_a_sentence_at_a_time() -> None:
    report = "Heart size is within normal limits. Clear lungs. No pleural effusion is seen today!"
    kept = ["heart size is within normal limits.", "no pleural effusion is seen today!"]
    assert sentences(report) == kept
    assert sentences("Clear lungs.") == ["clear lungs."]
    method = MedClip(replace(MedClipConfig.tiny(), text="reports"))
    method.model = method.build(CLASSES, (report, "Clear lungs."), CPU)
    data = planted_dataset()
    texts = (report, "Clear lungs.") * (len(data) // 2)
    batch = Split(data, np.arange(8), texts, texts, 64, CPU).batch(np.arange(8))
    assert bool(method.loss(batch).isfinite())


# Scores


def test_scores_are_cosines_and_their_difference() -> None:
    method, images = _built(), _images(3)
    with torch.no_grad():
        embedded = method.embed(images)
        unit = method._encode(["mass is present"])
        pair = method._encode(["mass", "no mass"])
        positive = method.score(images, prompts_for("positive", NAMES))
        both = method.score(images, prompts_for("pair", NAMES))
        own = method.score(images, prompts_for("own", NAMES))
    assert torch.allclose(positive[:, 1:2], embedded @ unit.T, atol=1e-6)
    assert torch.allclose(both[:, 1], embedded @ (pair[0] - pair[1]), atol=1e-6)
    assert torch.allclose(own, positive / 0.07, atol=1e-4)


def test_own_scores_are_the_mean_or_the_largest_logit_of_a_class() -> None:
    logits = torch.tensor([[1.0, 3, 5, 2], [0, -2, 4, 4]])
    mean, largest = (prompt_scores(logits, [1, 3], how) for how in ("mean", "max"))
    assert mean.tolist() == [[1.0, pytest.approx(10 / 3)], [0.0, 2.0]]
    assert largest.tolist() == [[1.0, 5.0], [0.0, 4.0]]
    prompts = prompts_for("own", NAMES)
    many, one = (_built(own_prompts="paraphrases", ensemble=how) for how in ("mean", "max"))
    with torch.no_grad():
        assert (one.score(_images(4), prompts) > many.score(_images(4), prompts)).all()


def test_padding_changes_a_text_and_only_lists_of_unequal_length_notice() -> None:
    together, alone = _built(pad_prompts="class"), _built(pad_prompts="alone")
    equal = [["edema is present", "mass is present"], ["edema"]]
    unequal = [["edema is present", "pleural effusion is present"]]
    with torch.no_grad():
        torch.testing.assert_close(together._encode_lists(equal), alone._encode_lists(equal))
        one, other = together._encode_lists(unequal), alone._encode_lists(unequal)
        torch.testing.assert_close(one[1], other[1])
        assert (one[0] - other[0]).abs().max() > 1e-3
        # What else is asked in the same call changes nothing.
        more = together._encode_lists([*unequal, ["no pleural effusion is seen"]])
        torch.testing.assert_close(more[:2], one)


def _auc(method: MedClip, asked: tuple[str, ...], tested: slice) -> float:
    """Mean AUC over classes of the planted images when each class is asked by another's name."""
    data = planted_dataset()
    with torch.no_grad():
        images = torch.from_numpy(data.pixels[tested]).unsqueeze(1)
        scores = method.score(images, prompts_for("pair", asked)).numpy()
    values = [auroc(scores[:, c], data.labels[tested, c]) for c in range(len(CLASSES))]
    return float(np.mean([value for value in values if value is not None]))


def test_a_signal_is_learnt_and_permuted_labels_are_chance() -> None:
    data = planted_dataset()
    method = MedClip(replace(MedClipConfig.tiny(), epochs=12, batch_size=16))
    texts = meta_captions(data.labels, data.mask, CLASSES)
    parts = [Split(data, rows, texts, texts, 64, CPU) for rows in (np.arange(72), np.arange(0))]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method.model = method.build(CLASSES, texts, CPU)
        train(method, parts[0], parts[1], (0,), lambda entry: None)
    method.model.eval()
    assert _auc(method, CLASSES, tested=slice(72, None)) > 0.8
    assert 0.4 < _auc(method, (*CLASSES[1:], CLASSES[0]), tested=slice(None)) < 0.6


# Images


def test_a_small_picture_is_padded_and_not_enlarged() -> None:
    picture = np.full((50, 81), 200, np.uint8)
    square = pad_square(picture)
    assert square.shape == (224, 224)
    assert np.array_equal(square[87:137, 71:152], picture)
    assert int(square.sum()) == int(picture.sum())
    assert np.array_equal(framed(picture, "processor"), square)


def test_the_two_framings_differ_in_how_they_resize() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (300, 400)).astype(np.uint8)
    one, other = (framed(picture, framing) for framing in ("processor", "dataset"))
    assert one.shape == other.shape == (224, 224)
    assert not np.array_equal(one, other)
    assert np.array_equal(_built(framing="dataset").frame(picture), other)


def test_own_augmentation_is_drawn_in_training_only_and_from_the_seed() -> None:
    method, images = _built(preprocessing="own"), _images(2, 224)
    assert torch.equal(method._pixels(images), method._pixels(images))
    method.model.train()
    drawn = []
    for seed in (0, 0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            drawn.append(method._pixels(images))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    values = augmented(images.float() / 255)
    assert values.shape == images.shape
    assert 0 <= float(values.min()) <= float(values.max()) <= 1


# The authors' recipe


def test_the_upstream_rate_rises_for_a_tenth_and_falls_to_nothing() -> None:
    method = MedClip(replace(MedClipConfig.upstream(), epochs=10))
    rates = [method.rate(step, 10) for step in range(100)]
    assert rates[0] == 0
    assert rates[5] == pytest.approx(1e-5)
    assert max(rates) == rates[10] == pytest.approx(2e-5)
    assert rates[55] == pytest.approx(1e-5)
    assert 0 < rates[99] < 1e-8


@needs_fixtures
def test_upstream_decays_swins_norms_and_not_its_position_tables() -> None:
    method = MedClip(MedClipConfig.upstream())
    method.model = model_like(_fixture_state())
    decayed, kept = ({id(p) for p in g["params"]} for g in method.parameter_groups())
    names = {upstream_name(key): id(p) for key, p in method.model.named_parameters()}
    assert len(decayed) + len(kept) == len(names)
    assert names["logit_scale"] in decayed
    assert names["vision_model.model.layernorm.weight"] in decayed
    assert names["vision_model.model.layernorm.bias"] in kept
    assert names["text_model.model.embeddings.LayerNorm.weight"] in kept
    block = "vision_model.model.encoder.layers.0.blocks.0."
    assert names[f"{block}attention.self.relative_position_bias_table"] in kept
    assert names[f"{block}layernorm_before.weight"] in decayed


def test_presets_keep_to_the_meta_labels_but_for_tiny() -> None:
    assert MedClipConfig.tiny().clauses == "some"
    for config in (MedClipConfig.paper(), MedClipConfig.upstream()):
        assert (config.clauses, config.tower) == ("all", "swin")


# Weights


def _fixture_state() -> dict[str, Tensor]:
    return state(read(FIXTURES / "fixture.npz")[0])


def _released(folder: Path, state: dict[str, Tensor]) -> Checkpoint:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "edema", "mass", "no", "is", "present"]
    pieces += [f"word{number}" for number in range(64 - len(pieces))]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return Checkpoint("medclip.bin", "0" * 64, state, folder)


def _shapes() -> dict[str, Tensor]:
    sizes = json.loads((FIXTURES / "full_size_keys_vit.json").read_text())
    return {key: torch.empty(size, device="meta") for key, size in sizes.items()}


@needs_fixtures
def test_the_keys_of_the_vit_file_fit_to_the_last() -> None:
    fit = MedClip.fit(_shapes())
    assert fit is not None
    assert fit.exact
    assert len(fit.harmless) == 13
    assert fit.sizes == "Swin 2-2-6-2, width 96, window 7, BERT 12x768, 28996 tokens"


@needs_fixtures
def test_the_keys_of_the_resnet_file_fit_to_the_last() -> None:
    from methods._torchvision import make_torchvision_importable

    make_torchvision_importable()
    from torchvision.models import resnet50

    with torch.device("meta"):
        net = resnet50()
        net.fc = nn.Linear(2048, 512, bias=False)
    state = {k: v for k, v in _shapes().items() if not k.startswith("vision_model")}
    state |= {f"vision_model.model.{key}": value for key, value in net.state_dict().items()}
    fit = MedClip.fit(state)
    assert fit is not None
    assert fit.exact
    assert fit.sizes.startswith("ResNet")


def test_the_resnet_computes_what_torchvisions_does() -> None:
    from methods._torchvision import make_torchvision_importable

    make_torchvision_importable()
    from torchvision.models.resnet import Bottleneck, ResNet

    text = _built().model.text_model.state_dict()
    net = ResNet(Bottleneck, [1, 2, 1, 1])
    net.fc = nn.Linear(2048, 128, bias=False)
    state = {f"vision_model.model.{key}": value for key, value in net.state_dict().items()}
    state |= {f"text_model.{key}": value for key, value in text.items()}
    state["logit_scale"] = torch.tensor(2.0)
    model = model_like(state, 2)
    load(model, state, "a file")
    pixels = torch.randn(2, 1, 64, 64, generator=torch.manual_seed(0))
    with torch.no_grad():
        expected = net.eval()(pixels.repeat(1, 3, 1, 1))
        torch.testing.assert_close(model.eval().vision_model(pixels), expected, atol=1e-5, rtol=0)


@needs_fixtures
def test_what_does_not_fit_is_told_by_its_upstream_name() -> None:
    state = _fixture_state()
    lost = "vision_model.model.encoder.layers.1.blocks.1.attention.self.query.weight"
    del state[lost]
    state["extra"] = torch.zeros(1)
    fit = MedClip.fit(state)
    assert fit is not None
    assert (fit.missing, fit.unexpected) == ((lost,), ("extra",))
    assert MedClip.fit({"visual.proj": torch.zeros(1)}) is None


@needs_fixtures
def test_released_weights_are_all_loaded_and_scored(tmp_path: Path) -> None:
    state = _fixture_state()
    method = _built((_released(tmp_path, state),))
    assert method.weights == "medclip.bin"
    assert method.complete
    named = {upstream_name(key): value for key, value in method.model.state_dict().items()}
    assert all(torch.equal(value, state[key]) for key, value in named.items())
    with torch.no_grad():
        scores = method.score(_images(2, 100), prompts_for("own", NAMES))
    assert scores.shape == (2, 4)
    assert bool(scores.isfinite().all())


@needs_fixtures
def test_a_file_with_a_key_too_few_is_refused_and_not_left_random(tmp_path: Path) -> None:
    state = _fixture_state()
    del state["vision_model.model.layernorm.weight"]
    with pytest.raises(MethodError, match=r"medclip.bin does not fit: 1 missing key"):
        _built((_released(tmp_path, state),))


@needs_fixtures
def test_the_vocabulary_has_to_lie_beside_the_weights(tmp_path: Path) -> None:
    checkpoint = _released(tmp_path, _fixture_state())
    with (tmp_path / "vocab.txt").open("a") as file:
        file.write("onemore\n")
    with pytest.raises(MethodError, match="65 pieces and the text tower 64"):
        _built((checkpoint,))
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(UsageError, match=r"Fetch vocab.txt of emilyalsentzer/Bio_ClinicalBERT"):
        _built((checkpoint,))


def test_published_towers_can_be_started_from(tmp_path: Path) -> None:
    text = bert(vocabulary=64, width=64, layers=2, inner=64).state_dict()
    beside = {"bert." + key: value for key, value in text.items()} | {"cls.x": torch.zeros(1)}
    assert is_bert(beside)
    reading = _released(tmp_path, beside)
    swin = swin_model(24, (1, 1), (2, 4))
    theirs = {
        upstream_name(f"vision_model.model.{key}").replace("vision_model.model", "swin"): value
        for key, value in swin.state_dict().items()
    }
    seeing = Checkpoint(
        "swin.bin", "0" * 64, theirs | {"classifier.bias": torch.zeros(3)}, tmp_path
    )
    method = _built((reading, seeing))
    assert method.weights == "image tower swin.bin, text tower medclip.bin"
    assert not method.complete  # their projections are MedCLIP's own
    assert torch.equal(method.model.vision_model.model.layernorm.weight, swin.layernorm.weight)
    ours = method.model.text_model.model.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in text.items())
    assert _built((seeing,)).weights == "image tower swin.bin, text tower random"
    with pytest.raises(MethodError, match="one of each tower"):
        _built((reading, reading))
    with pytest.raises(MethodError, match="can start from"):
        _built((replace(seeing, state={"proj": torch.zeros(1)}),))


# Tokens


def test_tokens_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ed", "##ema", "no", ",", "mass", "E"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    texts = ["No Edema, mass", "zebra édema", "mass " * 20]
    ids, mask = WordPiece.from_folder(tmp_path)(texts, max_length=8)
    theirs = BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=True)(
        texts, truncation=True, max_length=8, padding=True, return_tensors="pt"
    )
    assert torch.equal(ids, theirs["input_ids"])
    assert torch.equal(mask, theirs["attention_mask"])


def test_a_vocabulary_of_texts_knows_all_their_words() -> None:
    tokens = WordPiece.of_texts(["Pleural effusion, no mass", "x-ray"])
    ids, _ = tokens(["mass ray - pleural", "zebra"], max_length=77)
    unknown = 1
    assert (ids[0] != unknown).all()
    assert (ids[1] == unknown).sum() == 1
    assert tokens.is_truncated("mass " * 76, 77)
    assert not tokens.is_truncated("mass " * 75, 77)


def test_a_vocabulary_without_special_pieces_is_refused() -> None:
    with pytest.raises(UsageError, match="lacks"):
        WordPiece(["edema", "mass"])
