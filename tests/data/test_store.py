from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.data import load_dataset
from bench.data.dataset import cache_folder
from bench.data.listing import UNLABELLED
from bench.data.store import Rows, finish_store, is_finished, open_store
from bench.errors import DataError

CLASSES = ("Edema", "Hernia")


def _rows(count: int, **changes: object) -> Rows:
    names = [f"i{row}" for row in range(count)]
    values: dict[str, object] = {
        "classes": CLASSES,
        "labels": np.array([[1, 0], [UNLABELLED, 1], [0, UNLABELLED]], np.uint8)[:count],
        "images": names,
        "patients": ["p0", "p0", "p1"][:count],
        "studies": names,
        "sources": ["a"] * count,
        "findings": ["", "Lungs, clear.\nNo edema.", '"quoted"'][:count],
        "impressions": ["Edema.", "", ""][:count],
        "boxes": np.tile(np.array([0, 0, 8, 8], np.int16), (count, 1)),
        "left_out": {"i9": "lateral view"},
        "unreadable": {"i8": "no such file"},
        "views": ["PA", "", "AP"][:count],
    }
    return Rows(**(values | changes))  # type: ignore[arg-type]


def _store(target: Path, count: int = 3, **changes: object) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    np.save(target / "pixels.npy", np.arange(64 * count, dtype=np.uint8).reshape(count, 8, 8))
    finish_store(target, "made", _rows(count, **changes), made_from={"reader": "test"})
    return target


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    dataset = open_store(_store(tmp_path / "s"))
    assert dataset.labels.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert dataset.mask.tolist() == [[True, True], [False, True], [True, False]]
    assert dataset.findings == ("", "Lungs, clear.\nNo edema.", '"quoted"')
    assert dataset.reports == ("Edema.", "Lungs, clear.\nNo edema.", '"quoted"')
    assert dataset.left_out == {"i9": "lateral view", "i8": "no such file"}
    assert dataset.unreadable == {"i8": "no such file"}
    assert dataset.views is not None
    assert dataset.views.tolist() == ["PA", "", "AP"]
    assert dataset.size == 8
    assert not dataset.synthetic
    assert dataset.pixels[2, 7, 7] == 191


def test_pixels_stay_on_disk_until_they_are_asked_for(tmp_path: Path) -> None:
    assert isinstance(open_store(_store(tmp_path / "s")).pixels, np.memmap)


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(tmp_path: Path) -> None:
    first, moved = open_store(_store(tmp_path / "a")), open_store(_store(tmp_path / "b"))
    assert first.fingerprint == moved.fingerprint
    other = _store(tmp_path / "c", patients=["p0", "p1", "p1"])
    assert open_store(other).fingerprint != first.fingerprint


def test_a_store_without_its_manifest_is_not_finished(tmp_path: Path) -> None:
    store = _store(tmp_path / "s")
    assert is_finished(store)
    (store / "manifest.json").unlink()
    assert not is_finished(store)
    with pytest.raises(DataError, match="No prepared data set"):
        open_store(store)


def test_a_store_of_another_schema_is_not_finished(tmp_path: Path) -> None:
    store = _store(tmp_path / "s")
    manifest = json.loads((store / "manifest.json").read_text())
    (store / "manifest.json").write_text(json.dumps(manifest | {"schema": 99}))
    assert not is_finished(store)


def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    store = _store(tmp_path / "s")
    np.save(store / "labels.npy", np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match="Delete the folder"):
        open_store(store)
    (store / "labels.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match="Delete the folder"):
        open_store(store)


def test_a_phantom_is_drawn_once_and_opened_afterwards() -> None:
    first = load_dataset("phantom:n=60,size=32")
    (store,) = cache_folder().glob("phantom-n60-size32-seed0-*")
    before = (store / "pixels.npy").stat().st_mtime_ns
    assert load_dataset("phantom:n=60,size=32").fingerprint == first.fingerprint
    assert (store / "pixels.npy").stat().st_mtime_ns == before
    assert first.synthetic
    assert load_dataset("phantom:n=60,size=32,seed=1").fingerprint != first.fingerprint


def test_a_cache_that_cannot_be_written_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("CXR_BENCH_CACHE", str(tmp_path / "taken"))
    with pytest.raises(DataError, match="CXR_BENCH_CACHE"):
        load_dataset("phantom:n=60,size=32")


def test_a_lone_carriage_return_is_a_line_end_and_not_a_row(tmp_path: Path) -> None:
    store = _store(tmp_path / "s", findings=["One.\rTwo.", "\r", "One.\r\nTwo."])
    assert open_store(store).findings == ("One.\nTwo.", "\n", "One.\nTwo.")


@pytest.mark.parametrize("name", ["rows.npz", "left_out.csv", "pixels.npy"])
def test_a_store_with_a_cut_file_is_refused(tmp_path: Path, name: str) -> None:
    store = _store(tmp_path / "s")
    content = (store / name).read_bytes()
    (store / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="damaged"):
        open_store(store)


def test_text_of_any_alphabet_is_read_back(tmp_path: Path) -> None:
    texts = ["Derrame pleural \u00edzquierdo.", "\u80f8\u90e8", '\U0001fac1, quoted "so"']
    store = _store(tmp_path / "s", findings=texts)
    assert open_store(store).findings == tuple(texts)
