"""Shared by the tests of kept models: a small model that has learnt the phantom's common signs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.data.dataset import load_dataset
from bench.runs.layout import specs_of
from bench.runs.perform import perform
from bench.runs.rows import Request, resolve_rows

PHANTOM = "phantom:n=480,size=64"


@pytest.fixture(scope="session")
def kept_trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished trial in `RESULTS/s/trials/ROW/`, with its model."""
    results = tmp_path_factory.mktemp("kept") / "results"
    dataset = load_dataset(PHANTOM)
    request = Request(methods=("chexzero",), settings={"text": "meta"}, folds=3, keep=("model",))
    spec = next(specs_of(request, resolve_rows(request, print), PHANTOM, dataset, "s"))
    assert perform(spec, dataset, "cpu", results).error is None
    return spec.folder(results)
