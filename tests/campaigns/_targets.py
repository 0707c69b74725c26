"""What is attacked: files as the program finds them, the commands that read them, and their seals.

A seal makes checksums fit again after a change, as anybody who makes up a file would: what is
refused for its checksum alone never reaches the reader behind it.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.campaigns import _trees

Words = tuple[str, ...]


def _unsealed(case: Path) -> None:
    """Nothing in these files is signed."""


@dataclass(frozen=True)
class Target:
    """Files of one kind, in a folder that is copied for every input."""

    make: Callable[[Path], None]
    """Fills an empty folder."""
    victims: Sequence[str]
    """Patterns of the files that are spoilt."""
    commands: Sequence[Words]
    """Of which one is run an input; `{case}` is its folder."""
    seal: Callable[[Path], None] = _unsealed


def _prepare(name: str, root: str = "{case}", **options: str) -> Words:
    words = ["data", "prepare", name, "--root", root, "--out", "{case}/out", "--jobs", "1"]
    for key, value in options.items():
        words += ["--option", f"{key}={value}"]
    return (*words, "--size", "32")


def _images(folder: Path) -> None:
    from tests.data.test_dicom import RAMP, write

    _trees.csv_folder(folder, patients=5)
    names = sorted((folder / "images").iterdir())
    pixels = np.asarray(Image.open(names[0]))
    for name, (suffix, mode) in zip(
        names[1:], ((".jpg", "L"), (".tif", "L"), (".png", "P"), (".jpg", "RGB")), strict=False
    ):
        made = Image.fromarray(pixels).convert(mode)
        made.save(folder / "images" / f"{name.stem}{suffix}")
        name.with_suffix(".png").unlink() if suffix != ".png" else None
    write(folder / "images" / "deep.dcm", RAMP)
    rows = [
        (f"images/{p.name}", p.name, i % 2) for i, p in enumerate((folder / "images").iterdir())
    ]
    lines = ["image,patient_id,Edema", *(f"{a},{b},{c}" for a, b, c in rows)]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def _store(folder: Path) -> None:
    from click.testing import CliRunner

    from bench.cli import main

    _trees.csv_folder(folder / "source")
    words = _prepare("csv", str(folder / "source"))
    words = tuple(word.replace("{case}/out", str(folder / "store")) for word in words)
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output


def _seal_store(case: Path) -> None:
    from bench.data.store import fingerprint

    folder = case / "store"
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["checksums"]:
        manifest["checksums"][name] = _sha256(folder / name)
    manifest["fingerprint"] = fingerprint(manifest["classes"], manifest["checksums"])
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _study(folder: Path) -> None:
    from tests.report.page_study import page_study

    page_study(folder)


def _seal_records(case: Path) -> None:
    """Also of scores and kept files beside the records."""
    from bench.runs.record import digest

    for path in case.rglob("record.json"):
        record = json.loads(path.read_text())
        if isinstance(record.get("scores_sha256"), str) and (path.parent / "scores.npz").is_file():
            record["scores_sha256"] = _sha256(path.parent / "scores.npz")
        for files in record.get("kept", {}).values():
            for name in files:
                files[name] = _sha256(path.parent / name)
        record["digest"] = digest(record)
        path.write_text(json.dumps(record))


def _bundle(folder: Path) -> None:
    from click.testing import CliRunner

    from bench.cli import main
    from tests.conftest import REPOSITORY

    shutil.copytree(REPOSITORY / "tests" / "fixtures" / "record-v1", folder / "results")
    words = ["export", "--results", str(folder / "results"), "--out", str(folder / "b.json")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    shutil.rmtree(folder / "results")


def _seal_bundle(case: Path) -> None:
    from bench.report.bundle_schema import digest_of

    bundle = json.loads((case / "b.json").read_text())
    for row in bundle["rows"]:
        for trial in row["trials"]:
            trial["digest"] = digest_of(trial)
    bundle["digest"] = digest_of(bundle)
    (case / "b.json").write_text(json.dumps(bundle))


def _tables(folder: Path) -> None:
    from click.testing import CliRunner

    from bench.cli import main

    _study(folder)
    for which in ("2", "runs"):
        done = CliRunner().invoke(main, ["table", "--table", which, "--results", str(folder)])
        assert done.exit_code == 0, done.output
    for trials in folder.glob("*/trials"):
        shutil.rmtree(trials)


def _study_file(folder: Path) -> None:
    from bench.runs.study import PAPER_STUDY

    text = PAPER_STUDY.read_text(encoding="utf-8")
    (folder / "my.toml").write_text(text, encoding="utf-8")
    _study(folder / "results")
    for study in (folder / "results").iterdir():
        (study / "study.toml").write_text(text, encoding="utf-8")


def _kept(folder: Path) -> None:
    _trees.trained(folder / "results", keep=("model", "embeddings"))
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "chest.png")


def _resume(folder: Path) -> None:
    _trees.interrupted(folder / "results")


def _seal_resume(case: Path) -> None:
    for path in case.rglob("*.resume"):
        line, _, body = path.read_bytes().partition(b"\n")
        head = json.loads(line)
        zeros = json.dumps({**head, "sha256": "0" * 64}).encode() + b"\n"
        head["sha256"] = hashlib.sha256(zeros + body).hexdigest()
        path.write_bytes(json.dumps(head).encode() + b"\n" + body)


def _zipped_reports(folder: Path) -> None:
    """MIMIC-CXR with its reports as the zip file that they come in."""
    mimic = _trees.mimic(folder)
    with zipfile.ZipFile(folder / "mimic-cxr-reports.zip", "w") as packed:
        for path in sorted(mimic.reports.rglob("*.txt")):
            packed.write(path, path.relative_to(mimic.reports))
    shutil.rmtree(mimic.reports)


def _packed_openi(folder: Path) -> None:
    _trees.openi(folder)
    with tarfile.open(folder / "NLMCXR_reports.tgz", "w:gz") as packed:
        packed.add(folder / "ecgen-radiology", "ecgen-radiology")
    shutil.rmtree(folder / "ecgen-radiology")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


_MIMIC = ("--labels", "{case}/" + _trees.RELEASE)
_MIMIC_ROOT = "{case}/mimic-cxr-jpg-2.1.0"
_RESULTS = ("--results", "{case}")
_DATA = ("--data", _trees.DATA)
_RUN = ("run", "--method", "medclip", "--set", "epochs=1", "--folds", "2", *_DATA, "--limit", "1",
        "--study", "s", "--results", "{case}/results", "--jobs", "1",
        "--device", "cpu")  # fmt: skip
_OF_RECORDS: tuple[Words, ...] = (
    ("table",), ("table", "--table", "3"), ("table", "--table", "classes"),
    ("table", "--table", "pairs"), ("table", "--table", "runs"), ("table", "--metric", "f1"),
    ("table", "--metric", "ap-ratio", "--prompts", "positive"), ("table", "--paper"), ("power",),
    ("status",), ("report",), ("export", "--out", "{case}/made.json"),
    ("table", "--group-by", "group"),
)  # fmt: skip

TARGETS: dict[str, Target] = {
    "csv": Target(_trees.csv_folder, ["labels.csv"], [_prepare("csv")]),
    "mimic": Target(
        lambda folder: _trees.mimic(folder) and None,
        [f"{_trees.RELEASE}/**/*.csv", "**/*.txt"],
        [
            (*_prepare("mimic-cxr-lt", _MIMIC_ROOT, **options), *_MIMIC, *reports)
            for options in ({}, {"year": "2023"}, {"task": "2", "split": "test"}, {"views": "all"})
            for reports in ((), ("--reports", "{case}/mimic-cxr-2.1.0"))
        ],
    ),
    "reports-zip": Target(
        _zipped_reports,
        ["*.zip"],
        [(*_prepare("mimic-cxr-lt", _MIMIC_ROOT), *_MIMIC, "--reports", "{case}")],
    ),
    "openi": Target(_trees.openi, ["**/*.xml"], [_prepare("openi", views="all")]),
    "openi-tgz": Target(_packed_openi, ["*.tgz"], [_prepare("openi")]),
    "nih": Target(
        _trees.nih, ["*.csv", "*.txt"], [_prepare("nih"), _prepare("nih", split="test")]
    ),
    "chexpert": Target(_trees.chexpert, ["**/*.csv"], [_prepare("chexpert")]),
    "padchest": Target(
        _trees.padchest,
        ["*.csv.gz"],
        [_prepare("padchest", by=b) for b in ("physician", "all")],
    ),
    "vindr": Target(_trees.vindr, ["**/*.csv"], [_prepare("vindr")]),
    "cxr-lt-2026": Target(
        _trees.cxr_lt_2026,
        ["*.csv"],
        [_prepare("cxr-lt-2026"), _prepare("cxr-lt-2026", split="test")],
    ),
    "images": Target(_images, ["images/*"], [_prepare("csv")]),
    "store": Target(
        _store,
        ["store/*"],
        [
            ("data", "verify", "{case}/store"),
            ("data", "show", "--data", "{case}/store", "--out", "{case}/sheet.png"),
            ("plan", "--method", "chexzero", "--data", "{case}/store", "--results", "{case}/r"),
        ],
        _seal_store,
    ),
    "records": Target(
        _study,
        ["*/trials/*/*/*", "*/trials/*/*/record.json"],
        [(*words, *_RESULTS) for words in _OF_RECORDS],
        _seal_records,
    ),
    "tables": Target(
        _tables,
        ["*/table*.json"],
        [
            ("reproduce", f"{{case}}/{_trees.STUDY}", "--row", "cxrcml", "--data", "{case}/no"),
            ("table", "--check", *_RESULTS),
        ],
    ),
    "study": Target(
        _study_file,
        ["my.toml", "results/*/study.toml"],
        [
            ("plan", "--study", "{case}/my.toml", *_DATA, "--results", "{case}/r"),
            ("table", "--results", "{case}/results"),
            ("table", "--paper", "--results", "{case}/results"),
            ("status", "--results", "{case}/results"),
        ],
    ),
    "bundle": Target(
        _bundle, ["b.json"], [("import", "{case}/b.json", "--results", "{case}/r")], _seal_bundle
    ),
    "weights": Target(
        _trees.weights,
        ["*"],
        [("weights", f"{{case}}/{name}", "--method", "chexzero") for name in _trees.WEIGHTS],
    ),
    "kept": Target(
        _kept,
        ["results/s/trials/*/*/*"],
        [
            ("predict", "{case}/chest.png", "--trial", _trees.TRIAL, "--results", "{case}/results"),
            ("predict", "{case}/chest.png", "--trial", _trees.TRIAL, "--results", "{case}/results",
             "--saliency", "{case}"),
            ("figures", "--format", "svg", "--results", "{case}/results"),
        ],
        _seal_records,
    ),
    "resume": Target(
        _resume,
        ["results/s/trials/*/*.resume"],
        [_RUN, _RUN, _RUN, ("status", "--results", "{case}/results"), ("plan", *_RUN[1:])],
        _seal_resume,
    ),
}  # fmt: skip
"""By name. Commands run in this process, `bench run` with its trials in it as well."""


def seal(target: Target, case: Path, rng: random.Random) -> None:
    """Makes the checksums of a spoilt case fit again, as often as not, where they can."""
    if rng.random() < 0.75:
        try:
            target.seal(case)
        except Exception:  # what is left of the file has no place for a checksum
            return


def command(target: Target, case: Path, rng: random.Random) -> list[str]:
    """One of the target's commands, on this case."""
    chosen: Any = rng.choice(list(target.commands))
    return [word.replace("{case}", str(case)) for word in chosen]
