"""Whole files to be spoilt, made by the code and the tests' own builders of publishers' trees."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from tests.conftest import CsvFolder
from tests.data.readers import test_chexpert, test_cxr_lt_2026, test_nih, test_openi, test_padchest
from tests.data.readers.test_vindr import TEST, TRAIN
from tests.data.readers.trees import RELEASE, Mimic, table, vindr_tables
from tests.data.test_dicom import RAMP, write
from tests.protocol.test_weights import STATE, _torchscript

__all__ = ["RELEASE"]

STUDY = "s"
DATA = "phantom:n=60,size=32"
TRIAL = "s/medclip-epochs=1/run-00_fold-0"
WEIGHTS = ("zip.pt", "old.pt", "w.safetensors", "script.pt", "arrays.npz", "nested.pth")


def csv_folder(folder: Path, patients: int = 6) -> None:
    CsvFolder(folder, patients)


def mimic(folder: Path) -> Mimic:
    made = Mimic(folder)
    made.write_reports(
        {
            "s50414267": "FINAL REPORT\n\n FINDINGS: Clear.\n\n IMPRESSION: No acute process.\n",
            "s53189527": "EXAM: CHEST\n\nIMPRESSION: Fibrosis.\nRECOMMENDATION: CT.\n",
        }
    )
    return made


def _built(module: Any, name: str, folder: Path) -> None:
    """What a fixture of a reader's tests builds, in `folder` itself."""
    made = getattr(module, name).__wrapped__(folder / "made")
    shutil.copytree(made, folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "made")


def openi(folder: Path) -> None:
    _built(test_openi, "openi", folder)


def cxr_lt_2026(folder: Path) -> None:
    _built(test_cxr_lt_2026, "tree", folder)


def nih(folder: Path) -> None:
    test_nih.tree(folder)
    names = [row[0] for row in test_nih.ROWS]
    (folder / "test_list.txt").write_text("\n".join(names[2:]) + "\n")
    (folder / "train_val_list.txt").write_text("\n".join(names[:2]) + "\n")


def chexpert(folder: Path) -> None:
    made = test_chexpert.release(folder / "made")
    shutil.copytree(made, folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "made")


def padchest(folder: Path) -> None:
    """With its table packed, as it is published."""
    test_padchest.tree(folder)
    plain = folder / test_padchest.NAME
    table(Path(f"{plain}.gz"), test_padchest.PADCHEST_HEADER, test_padchest.ROWS)
    plain.unlink()


def vindr(folder: Path) -> None:
    vindr_tables(folder, TRAIN, TEST)
    for name in ("train/aaaa", "train/bbbb", "test/cccc", "test/dddd"):
        (folder / name).parent.mkdir(exist_ok=True)
        write(folder / f"{name}.dicom", RAMP)


def weights(folder: Path) -> None:
    """One file of each format that holds weights."""
    import numpy as np
    from safetensors.torch import save_file

    torch.save({"state_dict": STATE}, folder / "zip.pt")
    torch.save({"state_dict": STATE}, folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"model": {"state_dict": STATE}, "epoch": 3}, folder / "nested.pth")
    save_file(STATE, folder / "w.safetensors")
    np.savez(folder / "arrays.npz", **{key: value.numpy() for key, value in STATE.items()})
    _torchscript(folder / "script.pt")


def trained(results: Path, keep: tuple[str, ...] = ()) -> Path:
    """The folder of one finished trial of one epoch."""
    from bench.data.dataset import load_dataset
    from bench.runs.layout import specs_of
    from bench.runs.perform import perform
    from bench.runs.rows import Request, resolve_rows

    request = Request(methods=("medclip",), settings={"epochs": "1"}, folds=2, keep=keep)
    dataset = load_dataset(DATA)
    spec = next(specs_of(request, resolve_rows(request, print), DATA, dataset, STUDY))
    assert perform(spec, dataset, "cpu", results).error is None
    return spec.folder(results)


def interrupted(results: Path) -> None:
    """The state after the last epoch of a trial that has no record yet."""
    from bench.runs import resume

    with (
        mock.patch.object(resume, "LEAST", 0.0),
        mock.patch.object(resume, "_RATIO", 0),
        mock.patch.object(resume.ResumeFile, "discard"),
    ):
        shutil.rmtree(trained(results))
