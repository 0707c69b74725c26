"""`bench data verify` finds what was changed in a store, and that its source is another now."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bench.cli import main
from bench.data.dataset import prepare_dataset
from bench.data.store import sha256
from bench.data.verify import verify_store
from tests.conftest import CsvFolder


@pytest.fixture
def store(csv_folder: CsvFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CXR_BENCH_CACHE", str(tmp_path / "cache"))
    return prepare_dataset(csv_folder.spec, 32)[0]


def wrong(store: Path) -> dict[str, str]:
    return {check.what: check.wrong for check in verify_store(store) if check.wrong}


def _sealed(store: Path) -> None:
    """Checksums of the files as they are now: the change was made by somebody who knows."""
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["checksums"] = {name: sha256(store / name) for name in manifest["checksums"]}
    (store / "manifest.json").write_text(json.dumps(manifest))


def test_a_good_store_passes_and_says_what_it_holds(store: Path) -> None:
    done = CliRunner().invoke(main, ["data", "verify", str(store)])
    assert done.exit_code == 0, done.output
    assert "FAIL" not in done.output
    assert "12 images decoded again are the same" in done.output
    assert "12 images of 12 patients" in done.output


@pytest.mark.parametrize("name", ["pixels.npy", "labels.npy", "rows.csv", "problems.json"])
def test_a_changed_byte_is_found_in_any_file(store: Path, name: str) -> None:
    content = bytearray((store / name).read_bytes())
    content[-2] ^= 1
    (store / name).write_bytes(content)
    assert name in wrong(store)["the files are as they were written"]
    assert CliRunner().invoke(main, ["data", "verify", str(store)]).exit_code == 1


def test_black_and_displaced_images_are_found_though_checksums_fit(store: Path) -> None:
    pixels = np.load(store / "pixels.npy")
    pixels[2] = 0
    pixels[5, 0, 0] = 9
    np.save(store / "pixels.npy", pixels)
    _sealed(store)
    found = wrong(store)
    assert "images/p2_0.png" in found["none of the 12 images is constant"]
    assert "images/p5_0.png" in found["squares are black beside their image"]
    assert "the fingerprint is that of the files" in found


def test_a_label_that_is_none_is_found(store: Path) -> None:
    labels = np.load(store / "labels.npy")
    labels[0, 0] = 7
    np.save(store / "labels.npy", labels)
    assert wrong(store)["labels are 0, 1 or not given"] == "7"


def test_rows_that_differ_between_the_two_tables_are_found(store: Path) -> None:
    text = (store / "rows.csv").read_text()
    (store / "rows.csv").write_text(text.replace("Hernia.", "Clear.", 1))
    assert wrong(store)["rows.csv and rows.npz say the same"] == "impression"


def test_a_source_that_changed_is_found(store: Path, csv_folder: CsvFolder) -> None:
    image = csv_folder.root / "images" / "p3_0.png"
    Image.open(image).rotate(180).save(image)
    os.utime(csv_folder.root / "labels.csv", ns=(0, 0))
    found = wrong(store)
    assert "labels.csv" in found["the source's tables are as they were read"]
    assert found["12 images decoded again are the same"] == "images/p3_0.png"


def test_a_folder_that_is_no_store_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(main, ["data", "verify", str(tmp_path / "empty")])
    assert done.exit_code == 1
    assert "No prepared data set" in done.output


@pytest.mark.parametrize("content", [None, b"", b"image,patient\na,b\n", b"\xff\xfe"])
def test_a_table_that_is_gone_or_spoilt_is_said(store: Path, content: bytes | None) -> None:
    (store / "rows.csv").unlink()
    if content is not None:
        (store / "rows.csv").write_bytes(content)
    assert "cannot be compared" in wrong(store)["rows.csv and rows.npz say the same"]


@pytest.mark.parametrize("key", ["patients", "studies", "unreadable"])
def test_a_number_of_the_manifest_that_was_changed_is_found(store: Path, key: str) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    (store / "manifest.json").write_text(json.dumps(manifest | {key: 77}))
    assert f"77 {key}" in wrong(store)["the manifest counts what is there"]


@pytest.mark.parametrize("key", ["checksums", "classes", "fingerprint", "left_out", "made_from"])
def test_a_manifest_that_lacks_something_makes_no_store(store: Path, key: str) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    del manifest[key]
    (store / "manifest.json").write_text(json.dumps(manifest))
    done = CliRunner().invoke(main, ["data", "verify", str(store)])
    assert done.exit_code == 1
    assert "No prepared data set" in done.output
