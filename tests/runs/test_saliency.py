"""Maps of where a score comes from: they add up, lie where signs were drawn, need the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.classes import CLASSES
from bench.data.phantom import draw_shot, make_cohort
from bench.errors import MethodError, UsageError
from bench.protocol.method import find_method
from bench.protocol.prompts import prompts_for
from bench.runs.cohort import Finding
from bench.runs.predict import Picture, Predictor, read_pictures
from bench.runs.saliency import Map, _file_names, attributions, overlay, saliency, write_overlays

FINDING = "Pleural Effusion"
COLUMN = CLASSES.index(FINDING)


@pytest.fixture(scope="module")
def predictor(kept_trial: Path) -> Predictor:
    return Predictor.of_trial(kept_trial)


@pytest.fixture(scope="module")
def drawn() -> tuple[torch.Tensor, np.ndarray]:
    """(24, 1, 64, 64) images with the finding and (24, 64, 64) where its sign changed a pixel.

    Nothing else of an image depends on whether the sign is there.
    """
    cohort = make_cohort(480, seed=7)
    images, signs = [], []
    for row in np.flatnonzero(cohort.labels[:, COLUMN]):
        shot = cohort.shot(int(row))
        without = shot._replace(present=tuple(c for c in shot.present if c != COLUMN))
        image, bare = (draw_shot(what, 64, [])[0].astype(int) for what in (shot, without))
        sign = np.abs(image - bare) > 12
        if sign.sum() >= 5:
            images.append(image.astype(np.uint8))
            signs.append(sign)
    return torch.from_numpy(np.stack(images[:24]))[:, None], np.stack(signs[:24])


def _finding(name: str) -> Finding:
    return Finding(name, 0.1, 0.25, None, 0.2, 60.0, 70.0, 30.0, 40, 0.8)


def _maps(predictor: Predictor, images: torch.Tensor) -> np.ndarray:
    mean = torch.from_numpy(predictor.mean)
    maps, _ = saliency(predictor.method, images, mean, CLASSES, COLUMN)
    assert maps.shape == (len(images), 64, 64)
    assert (maps.amin(), maps.amax()) == (0, 1)
    return maps.numpy()


def _lift(maps: np.ndarray, signs: np.ndarray) -> float:
    """Mass of a map on a sign against an even map's, mean over images."""
    shares = [m[s].sum() / m.sum() / s.mean() for m, s in zip(maps, signs, strict=True)]
    return float(np.mean(shares))


def test_attributions_add_up_to_what_the_score_rose_by(
    predictor: Predictor, drawn: tuple[torch.Tensor, np.ndarray]
) -> None:
    prompts, mean = prompts_for("pair", CLASSES), torch.from_numpy(predictor.mean)
    with torch.no_grad():
        low = predictor.method.score(mean[None, None], prompts)[0, COLUMN]
        rise = predictor.method.score(drawn[0][:12], prompts)[:, COLUMN] - low
    parts = [
        attributions(predictor.method, image, mean, prompts, COLUMN) for image in drawn[0][:12, 0]
    ]
    error = torch.stack(parts).sum((1, 2)) - rise
    assert float(error.abs().max()) < 0.1 * float(rise.abs().max())


def test_maps_lie_on_the_drawn_sign_and_on_that_of_the_image_itself(
    predictor: Predictor, drawn: tuple[torch.Tensor, np.ndarray]
) -> None:
    images, signs = drawn
    maps = _maps(predictor, images)
    own = _lift(maps, signs)
    others = np.mean([_lift(maps, np.roll(signs, step, axis=0)) for step in range(3, 22, 3)])
    print(own, others)
    assert own > 1.6
    assert own > 1.1 * others  # where such signs usually lie is not all that a map tells


def test_maps_of_random_weights_are_others(
    predictor: Predictor, drawn: tuple[torch.Tensor, np.ndarray]
) -> None:
    """The model randomisation test (Adebayo et al., NeurIPS 2018)."""
    images, signs = drawn
    maps, trained = _maps(predictor, images), predictor.method.model.state_dict()
    trained = {key: value.clone() for key, value in trained.items()}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        fresh = predictor.method.build(CLASSES, (), torch.device("cpu"))
    try:
        predictor.method.model.load_state_dict(fresh.state_dict())
        random = _maps(predictor, images)
    finally:
        predictor.method.model.load_state_dict(trained)
    alike = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(maps, random, strict=True)]
    assert np.mean(alike) < 0.4
    assert _lift(random, signs) < 0.7 * _lift(maps, signs)


def test_a_method_with_maps_of_its_own_is_asked_for_them() -> None:
    found = find_method("medklip")
    method = found.cls(found.cls.Config.tiny())
    method.model = method.build(("Edema", "Mass"), (), torch.device("cpu")).eval()
    images = torch.randint(0, 255, (2, 1, 224, 224), dtype=torch.uint8)
    mean = images[0, 0]
    maps, kind = saliency(method, images, mean, ("Edema", "Mass"), 1)
    assert (tuple(maps.shape), kind) == ((2, 224, 224), "the method's own map, 7 x 7 places")
    # Two places a side say less than a gradient.
    _, kind = saliency(method, images[..., :64, :64], mean[:64, :64], ("Edema", "Mass"), 1)
    assert "own map" not in kind


def test_a_score_without_a_gradient_has_no_map() -> None:
    method: Any = find_method("medklip").cls(find_method("medklip").cls.Config.tiny())
    method.model = method.build(("Edema",), (), torch.device("cpu"))
    method.score = lambda images, prompts: images.detach().mean((1, 2, 3))[:, None]
    method.saliency = lambda images, prompts: None
    images = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    with pytest.raises(MethodError, match="no finite gradient by pixel"):
        saliency(method, images, images[0, 0], ("Edema",), 0)


def test_an_overlay_shows_the_picture_without_padding_and_where_the_map_is() -> None:
    square = np.zeros((64, 64), np.uint8)
    square[16:48] = 128
    values = np.zeros((64, 64), np.float32)
    values[16:48, :16] = 1
    picture = Picture(Path("x.png"), square, (16, 0, 32, 64), ())
    page = np.asarray(overlay(picture, Map(values, "a map"), _finding("Pleural Effusion")))
    height, width = page.shape[0] - 60, page.shape[1]
    assert (height, width) == (224, 2 * 448)
    shown = page[30:-30].astype(int)
    assert (shown[8:-8, :440] == 128).all()  # plain on the left
    red, blue = shown[..., 0], shown[..., 2]
    assert (red[8:-8, 456:540] > blue[8:-8, 456:540] + 60).all()
    assert (shown[8:-8, 600:] == 128).all()


def test_overlays_are_named_by_image_and_finding(predictor: Predictor, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        pixels = rng.integers(0, 255, (30, 60)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / folder / "chest.png")
    paths = [tmp_path / "a/chest.png", tmp_path / "b/chest.png"]
    pictures, _ = read_pictures(paths, predictor.stored_at)
    edema, rounded = (_finding(name) for name in ("Edema", "Round(ed) Atelectasis"))
    wanted = [[edema, rounded], [edema]]
    written = write_overlays(predictor, pictures, wanted, tmp_path / "maps")
    assert [[path.name for path in paths] for paths in written] == [
        ["chest-edema.png", "chest-rounded-atelectasis.png"],
        ["chest-2-edema.png"],
    ]
    with Image.open(written[1][0]) as page:
        assert page.size == (896, 284)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"--saliency .*file cannot be written"):
        write_overlays(predictor, pictures, wanted, tmp_path / "file")


def test_no_map_takes_the_place_of_another_and_none_leaves_the_folder() -> None:
    stems = ["a", "a", "a-2", "A", "a-b"]
    wanted = [["C"], ["C"], ["C", "c"], ["C"], ["C"]]
    files = [name for names in _file_names(stems, wanted) for name in names]
    assert files[:3] == ["a-c.png", "a-2-c.png", "a-2-2-c.png"]
    files += _file_names(["a"], [["B-C", "x/y", "x y", "../../out", "/etc/x"]])[0]
    assert len({name.casefold() for name in files[:6]}) == 6
    assert files[-4:] == ["a-x-y.png", "a-x-y-2.png", "a-..-..-out.png", "a--etc-x.png"]
    assert all(Path(name).name == name for name in files)
    one, other = _file_names(["a", "a-b"], [["b-c"], ["c"]])
    assert set(one).isdisjoint(other)
