"""A synthetic data set as the files and tables of a published one.

`mimic-cxr-lt` writes three folders as PhysioNet gives them out: MIMIC-CXR-JPG 2.1.0, CXR-LT 2.0.0
and the reports of MIMIC-CXR. Every third study gets a side view as well (its frontal image
squeezed; nobody should learn from it), one in five of those without a stated view, so that a
reader has something to leave out. Identifiers are made up in the publisher's form.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.classes import CLASSES
from bench.data.dataset import Dataset, load_dataset
from bench.errors import DataError, UsageError

_UNSEEN = ("Bulla", "Cardiomyopathy", "Hilum", "Osteopenia", "Scoliosis")
_CHEXPERT = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum",
    "Fracture", "Lung Lesion", "Lung Opacity", "Pleural Effusion", "Pleural Other", "Pneumonia",
    "Pneumothorax", "Support Devices",
)  # fmt: skip
_MEANING = {"AP": "antero-posterior", "PA": "postero-anterior", "LATERAL": "lateral", "": ""}
_SPLITS = (("train", 0.7), ("development", 0.8), ("test", 1.0))
_PRIME = 7919  # spreads the patients over the ten folders


class _Image(NamedTuple):
    """One file of the tree and its row."""

    row: int
    dicom: str
    subject: str
    study: str
    view: str
    split: str

    @property
    def path(self) -> str:
        return f"files/p{self.subject[:2]}/p{self.subject}/s{self.study}/{self.dicom}.jpg"


def export(data: str, folder: Path, layout: str) -> Iterator[str]:
    """Writes the layout's folders and says what each is and how to read them back.

    Raises:
        UsageError: no such layout, `folder` is not empty, or the data set is not synthetic: what
            a licence covers is not to be passed on in another form.
        DataError: the data set cannot be made, or nothing can be written.
    """
    if layout != "mimic-cxr-lt":
        raise UsageError(f"There is no layout '{layout}'. Known: mimic-cxr-lt.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder. Name a new one.")
    dataset = load_dataset(data, 224)
    if not dataset.synthetic:
        raise UsageError(f"{data} is not synthetic; only phantom data is written as files.")
    images = _images(dataset)
    jpg, labels, reports = (folder / name for name in ("mimic-cxr-jpg", "cxr-lt", "reports"))
    try:
        for image in images:
            _write_image(jpg / image.path, dataset.pixels[image.row], image.view)
        _write_jpg_tables(jpg, dataset, images)
        _write_labels(labels / "cxr-lt-2024", dataset, images)
        _write_reports(reports, dataset, images)
    except OSError as error:
        raise DataError(f"Cannot write {folder}: {error.strerror or error}.") from error
    frontal = sum(image.view in {"AP", "PA"} for image in images)
    yield f"{jpg}: {len(images)} images, {frontal} of them frontal, as in MIMIC-CXR-JPG 2.1.0"
    yield f"{labels}: label tables as in CXR-LT 2.0.0 (task 1 of 2024)"
    yield f"{reports}: {len({image.study for image in images})} reports as in MIMIC-CXR 2.1.0"
    yield (
        f"Read it: bench data prepare mimic-cxr-lt --root {jpg} --labels {labels} "
        f"--reports {reports}"
    )


def _images(dataset: Dataset) -> list[_Image]:
    assert dataset.views is not None
    patients = {name: i for i, name in enumerate(dict.fromkeys(dataset.patients.tolist()))}
    studies = {name: i for i, name in enumerate(dict.fromkeys(dataset.studies.tolist()))}
    images: list[_Image] = []
    seen: set[int] = set()
    for row, name in enumerate(dataset.images):
        patient = patients[str(dataset.patients[row])]
        study = studies[str(dataset.studies[row])]
        place = (patient + 0.5) / len(patients)
        frontal = _Image(
            row=row,
            dicom=_dicom(name),
            subject=str(10_000_000 + (patient + 1) * _PRIME % 10_000_000),
            study=str(50_000_000 + study),
            view=str(dataset.views[row]),
            split=next(split for split, end in _SPLITS if place < end),
        )
        images.append(frontal)
        if study % 3 == 0 and study not in seen:
            side = "" if study % 15 == 0 else "LATERAL"
            images.append(frontal._replace(dicom=_dicom(name + " side"), view=side))
        seen.add(study)
    return images


def _dicom(name: str) -> str:
    """Five groups of eight hex digits, as MIMIC-CXR names its images."""
    digits = hashlib.sha256(name.encode()).hexdigest()
    return "-".join(digits[start : start + 8] for start in range(0, 40, 8))


def _write_image(path: Path, square: np.ndarray, view: str) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(square))
    if view not in {"AP", "PA"}:
        image = image.resize((image.width // 2, image.height))
    image.save(path, quality=95)


def _write_jpg_tables(folder: Path, dataset: Dataset, images: Sequence[_Image]) -> None:
    side = dataset.size
    _write_packed(
        folder / "mimic-cxr-2.0.0-metadata.csv.gz",
        (
            "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription",
            "ViewPosition", "Rows", "Columns", "StudyDate", "StudyTime",
            "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning",
            "PatientOrientationCodeSequence_CodeMeaning",
        ),
        (
            (
                i.dicom, i.subject, i.study, "CHEST", i.view, side,
                side if i.view in {"AP", "PA"} else side // 2, 21800101, "120000.000", "CHEST",
                _MEANING[i.view], "Erect" if i.view else "",
            )
            for i in images
        ),
    )  # fmt: skip
    official = {"train": "train", "development": "validate", "test": "test"}
    _write_packed(
        folder / "mimic-cxr-2.0.0-split.csv.gz",
        ("dicom_id", "study_id", "subject_id", "split"),
        ((i.dicom, i.study, i.subject, official[i.split]) for i in images),
    )
    studies = {i.study: i for i in images}
    column = [CLASSES.index(name) for name in (*_CHEXPERT, "Normal")]
    _write_packed(
        folder / "mimic-cxr-2.0.0-chexpert.csv.gz",
        ("subject_id", "study_id", *_CHEXPERT, "No Finding"),
        (
            (i.subject, i.study, *("1.0" if dataset.labels[i.row, c] else "" for c in column))
            for i in studies.values()
        ),
    )


def _write_labels(folder: Path, dataset: Dataset, images: Sequence[_Image]) -> None:
    ids = (
        "dicom_id", "subject_id", "study_id", "ViewPosition", "ViewCodeSequence_CodeMeaning",
        "fpath",
    )  # fmt: skip

    def row(image: _Image) -> tuple[Any, ...]:
        return (
            image.dicom, image.subject, "s" + image.study, image.view, _MEANING[image.view],
            image.path, *dataset.labels[image.row].tolist(),
        )  # fmt: skip

    folder.mkdir(parents=True)
    names = ("train_labeled.csv", "development_labeled_task1.csv", "test_labeled_task1.csv")
    for (split, _), name in zip(_SPLITS, names, strict=True):
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow((*ids, *CLASSES))
            writer.writerows(row(image) for image in images if image.split == split)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*ids, *CLASSES, *_UNSEEN, "split"))
        writer.writerows((*row(i), *(0 for _ in _UNSEEN), i.split) for i in images)


def _write_reports(folder: Path, dataset: Dataset, images: Sequence[_Image]) -> None:
    for image in {image.study: image for image in images}.values():
        patient = folder / f"files/p{image.subject[:2]}/p{image.subject}"
        patient.mkdir(parents=True, exist_ok=True)
        sections = (
            ("EXAMINATION", f"CHEST ({dataset.views[image.row]})"),  # type: ignore[index]
            ("INDICATION", "___ year old patient, drawn by a computer."),
            ("COMPARISON", "None."),
            ("FINDINGS", dataset.findings[image.row]),
            ("IMPRESSION", dataset.impressions[image.row]),
        )
        text = "\n \n ".join(f"{name}:  {_wrapped(said)}" for name, said in sections if said)
        report = f"                                 FINAL REPORT\n {text}\n"
        (patient / f"s{image.study}.txt").write_text(report, encoding="utf-8")


def _wrapped(text: str) -> str:
    import textwrap

    return "\n ".join(textwrap.wrap(text, 78, break_on_hyphens=False))


def _write_packed(path: Path, header: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    with (
        gzip.open(path, "wb", compresslevel=3) as packed,
        TextIOWrapper(packed, encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
