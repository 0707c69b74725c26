from __future__ import annotations

import pytest
import torch

from bench.errors import MethodError
from bench.protocol.prompts import prompts_for
from methods._clip import CONTEXT, ClipTowers, Tokens
from methods._torchvision import make_torchvision_importable
from methods.chexzero import CheXzero

LONG = "edema is present, " * 40
TEXTS = ["edema is present", "no pleural effusion", "rounded atelectasis", LONG]


def test_torchvision_can_be_imported() -> None:
    assert make_torchvision_importable() in {"absent", "native", "declared"}
    import open_clip  # noqa: F401  # what the function is for


def test_tokens_are_those_of_open_clip() -> None:
    make_torchvision_importable()
    import open_clip

    ours = Tokens(TEXTS, compact=False)(TEXTS)
    theirs = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    assert torch.equal(ours, theirs[:, : ours.shape[1]])


def test_a_long_text_is_cut_and_keeps_its_end_token() -> None:
    tokens = Tokens(TEXTS, compact=False)
    ids = tokens([LONG])[0]
    assert len(ids) == CONTEXT
    assert ids[-1] == ids.max() == 49407
    assert [tokens.is_truncated(text) for text in TEXTS] == [False, False, False, True]


def test_features_do_not_depend_on_padding_or_company() -> None:
    tokens = Tokens(TEXTS, compact=True)
    towers = ClipTowers("tiny", tokens.vocabulary_size).eval()
    with torch.no_grad():
        together = towers.encode_text(tokens(TEXTS))
        alone = torch.cat([towers.encode_text(tokens([text])) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_text_features_of_a_transformer_are_open_clips_own() -> None:
    tokens = Tokens(TEXTS, compact=False)
    towers = ClipTowers("ViT-B-32-quickgelu", tokens.vocabulary_size).eval()
    import open_clip

    padded = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    with torch.no_grad():
        expected = towers.clip.encode_text(padded, normalize=True)
        torch.testing.assert_close(towers.encode_text(tokens(TEXTS)), expected, atol=1e-5, rtol=0)


def test_the_compact_vocabulary_changes_no_feature() -> None:
    full, compact = Tokens(TEXTS, compact=False), Tokens(TEXTS, compact=True)
    wide = ClipTowers("tiny", full.vocabulary_size).eval()
    narrow = ClipTowers("tiny", compact.vocabulary_size).eval()
    used = sorted({0, *full(TEXTS).flatten().tolist()})
    state = wide.state_dict()
    state["clip.token_embedding.weight"] = state["clip.token_embedding.weight"][used]
    narrow.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(
            narrow.encode_text(compact(TEXTS)), wide.encode_text(full(TEXTS)), atol=1e-6, rtol=0
        )


def test_a_token_without_an_embedding_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(MethodError, match="zebra"):
        Tokens(TEXTS, compact=True)(["zebra"])


def test_sampled_captions_of_single_label_data_have_embeddings() -> None:
    """Where no image has two findings, no caption holds the comma that joins sampled clauses."""
    method = CheXzero(CheXzero.Config.tiny())
    method.model = method.build(("Edema", "Mass"), ("edema is present",), torch.device("cpu"))
    with torch.no_grad():
        assert method.encode_text(["no mass, edema is present"]).shape == (1, 128)


def _built() -> CheXzero:
    method = CheXzero(CheXzero.Config.tiny())
    method.model = method.build(("Edema", "Normal"), tuple(TEXTS), torch.device("cpu"))
    method.model.eval()
    return method


def test_the_loss_is_open_clips_contrastive_loss() -> None:
    import open_clip

    method = _built()
    texts = [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[2]]
    images = torch.nn.functional.normalize(torch.randn(4, 128, generator=torch.manual_seed(0)))
    with torch.no_grad():
        scale = method.model.logit_scale.exp()
        expected = open_clip.loss.ClipLoss()(images, method.encode_text(texts), scale)
        torch.testing.assert_close(method.contrast(images, texts), expected, atol=1e-5, rtol=0)


def test_the_pair_score_is_positive_minus_negative_cosine() -> None:
    method = _built()
    images = torch.randint(0, 255, (3, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        z = method.embed(images)
        expected = z @ method.encode_text(["edema"]).T - z @ method.encode_text(["no edema"]).T
        scores = method.score(images, prompts_for("pair", ("Edema", "Normal")))
    torch.testing.assert_close(scores[:, :1], expected, atol=1e-6, rtol=0)


def test_the_paper_preset_is_vit_b_32() -> None:
    towers = ClipTowers(CheXzero.Config.paper().tower, 49408)
    assert sum(p.numel() for p in towers.parameters()) == 151_277_313
    assert towers.clip.visual.image_size == (224, 224)
    assert type(towers.clip.visual.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"
    with torch.no_grad():
        small = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
        assert towers.eval().encode_image(small).shape == (1, 512)
