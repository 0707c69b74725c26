"""A phantom written as PhysioNet's files is read back by the reader of the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.data import load_dataset
from bench.data.dataset import Dataset
from bench.data.export import export
from bench.errors import UsageError
from tests.conftest import CsvFolder

DATA = "phantom:n=120,size=64,seed=2"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "physionet"
    assert len(list(export(DATA, folder, "mimic-cxr-lt"))) == 4
    return folder


@pytest.fixture(scope="module")
def back(tree: Path) -> Dataset:
    return load_dataset(
        f"mimic-cxr-lt:{tree / 'mimic-cxr-jpg'},labels={tree / 'cxr-lt'},"
        f"reports={tree / 'reports'}",
        64,
    )


def test_the_rows_are_those_of_the_phantom_in_another_order(back: Dataset) -> None:
    phantom = load_dataset(DATA)
    assert len(back) == len(phantom) == 120
    assert back.classes == phantom.classes
    assert back.mask.all()
    assert sorted(map(bytes, back.labels)) == sorted(map(bytes, phantom.labels))
    for ids in ("patients", "studies"):
        here, there = (np.unique(getattr(d, ids), return_counts=True)[1] for d in (back, phantom))
        assert sorted(here) == sorted(there), ids
    assert sorted(np.asarray(back.views)) == sorted(np.asarray(phantom.views))


def test_every_report_comes_back_with_its_image(back: Dataset) -> None:
    phantom = load_dataset(DATA)

    def rows(dataset: Dataset) -> list[tuple[bytes, str, str]]:
        texts = zip(dataset.labels, dataset.findings, dataset.impressions, strict=True)
        return sorted((bytes(row), findings, said) for row, findings, said in texts)

    assert rows(back) == rows(phantom)


def test_pixels_come_back_but_for_what_jpeg_costs(back: Dataset) -> None:
    phantom = load_dataset(DATA)
    key = [
        bytes(row) + text.encode()
        for row, text in zip(phantom.labels, phantom.findings, strict=True)
    ]
    mine = [
        bytes(row) + text.encode() for row, text in zip(back.labels, back.findings, strict=True)
    ]
    single = [k for k in key if key.count(k) == 1]
    assert len(single) > 30
    for k in single[:10]:
        first = phantom.pixels[key.index(k)].astype(int)
        second = back.pixels[mine.index(k)].astype(int)
        assert np.abs(first - second).mean() < 3


def test_side_views_are_left_out_and_nothing_else(back: Dataset) -> None:
    assert set(back.left_out.values()) == {"lateral view", "view not given"}
    assert not back.unreadable


def test_what_was_prepared_is_found_by_its_name(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_BENCH_CACHE", str(tmp_path / "cache"))
    labels = f"labels={tree / 'cxr-lt'}"
    first = load_dataset(f"mimic-cxr-lt:{tree / 'mimic-cxr-jpg'},{labels}", 48).fingerprint
    assert load_dataset("mimic-cxr-lt", 48).fingerprint == first
    assert load_dataset(f"mimic-cxr-lt:{labels}", 48).fingerprint == first
    assert load_dataset("mimic-cxr-lt", 32).size == 48  # the next larger one
    with pytest.raises(UsageError, match=r"not been prepared at 512 pixels \(there is one of 48"):
        load_dataset("mimic-cxr-lt", 512)
    load_dataset(f"mimic-cxr-lt:{tree / 'mimic-cxr-jpg'},{labels},views=all", 48)
    with pytest.raises(UsageError, match="prepared in several ways"):
        load_dataset("mimic-cxr-lt", 48)


def test_what_a_licence_covers_is_not_exported(csv_folder: CsvFolder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not synthetic"):
        list(export(csv_folder.spec, tmp_path / "x", "mimic-cxr-lt"))
    assert not (tmp_path / "x").exists()
