"""Rows with weights: what is refused, what they are called, what their identity is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.errors import MethodError, UsageError
from bench.protocol.method import find_method
from bench.runs.rows import Request, Resolved, resolve_rows
from bench.runs.trial import identity_of
from tests.runs.test_trial import SPEC
from tests.test_readme import adapter

OLD_ID = "6dabe366c51964b2"
REQUEST = Request(methods=("chexzero",), track="released")


def _weights(name: str = "w.pt", value: float = 1.0) -> str:
    torch.save({"logit_scale": torch.tensor(value)}, name)
    return name


@pytest.fixture
def any_weights_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("chexzero", "cxrcml", "openclip"):
        monkeypatch.setattr(find_method(name).cls, "fit", classmethod(lambda cls, state: None))


def _only(request: Request) -> Resolved:
    (row,) = resolve_rows(request, print)
    return row


def test_a_trial_without_weights_is_what_it_was_before_there_were_any() -> None:
    assert SPEC.id == OLD_ID
    assert not [key for key in SPEC.as_dict() if "weights" in key]


def test_weights_are_told_by_their_content_and_not_by_their_path() -> None:
    first = replace(SPEC, weights=("d1",), weights_references=("a/best.pt",))
    moved = replace(first, weights_references=("/elsewhere/other.pt",))
    assert first.id == moved.id
    assert len({SPEC.id, first.id, replace(first, weights=("d2",)).id}) == 3
    assert replace(first, track="released").id != first.id
    told = first.as_dict()
    assert (told["weights"], told["weights_names"]) == (["d1"], ["best.pt"])
    assert "a/" not in str(told)
    assert identity_of(told) == first.identity()


def test_released_without_weights_says_which_files_there_are() -> None:
    with pytest.raises(UsageError, match=r"original_22000_0\.864\.pt \(.*Google Drive"):
        resolve_rows(REQUEST, print)
    with pytest.raises(UsageError, match="CXR-CML's card names no published weights"):
        resolve_rows(replace(REQUEST, methods=("cxrcml",)), print)


def test_released_rows_of_a_table_are_refused() -> None:
    with pytest.raises(UsageError, match="a row at a time"):
        resolve_rows(replace(REQUEST, methods=(), table=2, weights=("w.pt",)), print)


def test_weights_that_do_not_fit_are_refused_before_any_trial(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        adapter().replace(
            "    def embed(",
            "    @classmethod\n"
            "    def fit(cls, state):\n"
            "        from bench.protocol.weights import fit_of\n\n"
            "        return fit_of({'head.bias': torch.empty(3)}, state, sizes='')\n\n"
            "    def embed(",
            1,
        )
    )
    request = replace(REQUEST, methods=("./mine.py",), weights=(_weights(),))
    with pytest.raises(MethodError, match=r"1 missing key \(head.bias\); 1 unexpected"):
        resolve_rows(request, print)


@pytest.mark.usefixtures("any_weights_fit")
def test_a_released_row_says_so_in_its_title_label_and_preset() -> None:
    row = _only(replace(REQUEST, weights=(_weights(),)))
    assert row.title == "CheXzero (released)"
    assert row.label == f"released-{row.weights[0][:8]}"
    assert row.config.preset in {"paper", "upstream"}
    ensemble = _only(replace(REQUEST, weights=(_weights(), _weights("v.pt", 2.0))))
    assert ensemble.title == "CheXzero (released, 2 checkpoints)"
    assert ensemble.label.startswith("released-2x")
    assert ensemble.weights[0] == row.weights[0]


@pytest.mark.usefixtures("any_weights_fit")
def test_a_generic_row_goes_by_the_name_of_its_weights() -> None:
    request = replace(REQUEST, methods=("openclip",), weights=(_weights("whyxray.pt"),))
    assert _only(request).title == "whyxray.pt (open_clip, released)"
    assert _only(replace(request, settings={"tower": "ViT-B-32"})).label.endswith(",tower=ViT-B-32")


@pytest.mark.usefixtures("any_weights_fit")
def test_a_trained_row_from_weights_is_the_studys_row_from_them() -> None:
    request = Request(methods=("chexzero",), weights=(_weights(),), settings={"text": "meta"})
    row = _only(request)
    assert row.title == "CheXzero + meta labels from w.pt"
    assert row.label == f"from-{row.weights[0][:8]},text=meta"
    assert row.config.preset == "paper"
    assert (request.run_count, REQUEST.run_count) == (10, 1)


def test_without_weights_rows_are_what_they_were() -> None:
    row = _only(Request(methods=("cxrcml",)))
    assert (row.title, row.label, row.weights) == ("CXR-CML", "default", ())
    assert row.config.preset == "tiny"
