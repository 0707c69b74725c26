"""Small folders in the layout of each publisher, with the quirks of the real files."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bench.classes import CLASSES
from bench.data.readers.mimic_cxr_lt import TASK_2, TASK_3

RELEASE = "cxr-lt-multi-label-long-tailed-classification-on-chest-x-rays-2.0.0"
# The order of the published files: Normal before Nodule.
TASK_2_COLUMNS = [*TASK_2[:14], "Normal", "Nodule", *TASK_2[16:]]


def picture(path: Path, *, deep: bool = False) -> None:
    """A grey image with a pattern of its own; 16-bit where `deep`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(path.name.encode()[-8:], "big")
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 20))
    if deep:
        Image.fromarray((pixels * 100).astype(np.uint16)).save(path)
    else:
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """A CSV file; packed where its name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


class Mimic:
    """MIMIC-CXR-JPG with CXR-LT 2024 and 2023 labels and MIMIC-CXR reports.

    Three patients: the first has a frontal and a lateral picture in one study and a second study,
    the second a picture without a view, the third is in the test split.
    """

    IMAGES = (
        # dicom, subject, study, view, meaning, split
        ("02aa804e-bde0afdd", "10000032", "s50414267", "PA", "postero-anterior", "train"),
        ("174413ec-4ec4c1f7", "10000032", "s50414267", "LATERAL", "lateral", "train"),
        ("2a2277a9-b0ded155", "10000032", "s53189527", "AP", "", "train"),
        ("e084de3b-be89b11e", "11000764", "s53911762", "", "", "train"),
        ("68b5c4b1-227d0485", "11000764", "s56699142", "", "antero-posterior", "development"),
        ("096052b7-d256dc40", "19000898", "s50771383", "LL", "left lateral", "test"),
        ("fffabebf-74fd3a1f", "19000898", "s54205396", "AP AXIAL", "", "test"),
    )
    POSITIVE: Mapping[str, Sequence[str]] = {
        "s50414267": ("Normal",),
        "s53189527": ("Fibrosis", "Round(ed) Atelectasis", "Bulla"),
        "s56699142": ("Nodule", "Scoliosis"),
        "s54205396": ("Support Devices", "Tuberculosis"),
    }
    IDS = ("dicom_id", "subject_id", "study_id", "ViewPosition", "ViewCodeSequence_CodeMeaning")

    def __init__(self, folder: Path, tree: str = "files") -> None:
        self.images = folder / "mimic-cxr-jpg-2.1.0"
        self.labels = folder / RELEASE / "cxr-lt-2024"
        self.older = folder / RELEASE / "cxr-lt-2023"
        self.reports = folder / "mimic-cxr-2.1.0"
        for image in self.IMAGES:
            picture(self.images / self.path(image).replace("files/", f"{tree}/", 1))
        self.write_2024()
        self.write_2023()

    @staticmethod
    def path(image: Sequence[str]) -> str:
        dicom, subject, study = image[:3]
        return f"files/p{subject[:2]}/p{subject}/{study}/{dicom}.jpg"

    def row(self, image: Sequence[str], columns: Sequence[str]) -> list[object]:
        positive = self.POSITIVE.get(image[2], ())
        return [*image[:5], self.path(image), *(int(column in positive) for column in columns)]

    def write_2024(self, path_column: str = "fpath") -> None:
        names = {
            "train_labeled.csv": ("train", CLASSES),
            "development_labeled_task1.csv": ("development", CLASSES),
            "test_labeled_task1.csv": ("test", CLASSES),
            "development_labeled_task2.csv": ("development", TASK_2_COLUMNS),
            "test_labeled_task2.csv": ("test", TASK_2_COLUMNS),
            "development_labeled_task3.csv": ("development", TASK_3),
            "test_labeled_task3.csv": ("test", TASK_3),
        }
        for name, (split, columns) in names.items():
            rows = [self.row(image, columns) for image in self.IMAGES if image[5] == split]
            table(self.labels / name, [*self.IDS, path_column, *columns], rows)
        everything = sorted((*CLASSES, *TASK_3))
        table(
            self.labels / "labels.csv",
            [*self.IDS, path_column, *everything, "split"],
            [[*self.row(image, everything), image[5]] for image in self.IMAGES],
        )

    def write_2023(self) -> None:
        columns = ["No Finding" if name == "Normal" else name for name in TASK_2]
        for split in ("train", "development", "test"):
            rows = [self.row(image, TASK_2) for image in self.IMAGES if image[5] == split]
            table(self.older / f"{split}.csv", [*self.IDS, "path", *columns], rows)

    def write_reports(self, texts: Mapping[str, str]) -> Path:
        """The reports of these studies as files, in the folder that the zip unpacks to."""
        for _, subject, study, *_ in self.IMAGES:
            if study in texts:
                path = self.reports / f"files/p{subject[:2]}/p{subject}/{study}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(texts[study])
        return self.reports


OPENI_XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
   <uId id="CXR{uid}"/>
   <MedlineCitation><Article><Abstract>
      <AbstractText Label="COMPARISON">None.</AbstractText>
      <AbstractText Label="FINDINGS">{findings}</AbstractText>
      <AbstractText Label="IMPRESSION">{impression}</AbstractText>
   </Abstract></Article></MedlineCitation>
   <MeSH>{phrases}</MeSH>
   {images}
</eCitation>
"""


def openi_report(
    folder: Path,
    uid: int,
    images: Sequence[str],
    phrases: Sequence[str] = ("normal",),
    *,
    findings: str = "The lungs are clear.",
    impression: str = "No acute disease.",
) -> None:
    """A report file of Open-i as its archive holds it."""
    path = folder / "ecgen-radiology" / f"{uid}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        OPENI_XML.format(
            uid=uid,
            findings=findings,
            impression=impression,
            phrases="".join(f"<major>{phrase}</major>" for phrase in phrases),
            images="".join(f'<parentImage id="{image}"></parentImage>' for image in images),
        )
    )


NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient {sex},View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


def nih_table(path: Path, rows: Sequence[tuple[str, str, str, str]], *, older: bool) -> Path:
    """Data_Entry_2017 in its newer form, or its older one with a comma at the end of each line.

    Args:
        rows: image, findings, patient and view.
    """
    end = "," if older else ""
    age = "058Y" if older else "58"
    lines = [NIH_HEADER.format(sex="Gender" if older else "Sex") + end]
    lines += [
        f"{image},{findings},0,{patient},{age},M,{view},2682,2749,0.143,0.143{end}"
        for image, findings, patient, view in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


CHEXPERT_FINDINGS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion",
    "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion",
    "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip


def chexpert_table(
    path: Path, rows: Sequence[tuple[str, str, str, Mapping[str, str]]], release: str
) -> Path:
    """train.csv or valid.csv. Rows: path below the release, side, position and labels."""
    header = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_FINDINGS]
    lines = [
        [f"{release}/{file}", "Male", "60", side, position]
        + [labels.get(name, "") for name in CHEXPERT_FINDINGS]
        for file, side, position, labels in rows
    ]
    return table(path, header, lines)


PADCHEST_HEADER = (
    "", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth",
    "PatientSex_DICOM", "ViewPosition_DICOM", "Projection", "MethodProjection", "Report",
    "MethodLabel", "Labels", "Localizations",
)  # fmt: skip
# Two patients who are one when their numbers go through a float.
PADCHEST_PATIENTS = (
    "84395711120986424165421391834312167000",
    "84395711120986424165421391834312167001",
)


def padchest_row(
    image: str,
    patient: str,
    labels: str,
    *,
    projection: str = "PA",
    folder: str = "0",
    method: str = "Physician",
) -> list[str]:
    """A row of PadChest's table; `labels` is the text of its cell."""
    return [
        "0", image, folder, "20140915", f"2{patient}", patient, "1930.0", "M", "POSTEROANTERIOR",
        projection, "Manual review of DICOM fields", "sin hallazgos .", method, labels, "[]",
    ]  # fmt: skip


VINDR_COLUMNS = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture",
    "Consolidation", "Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity",
    "Lung cavity", "Lung cyst", "Mediastinal shift", "Nodule/Mass", "Pleural effusion",
    "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture", "Other lesion",
    "COPD", "Lung tumor", "Pneumonia", "Tuberculosis",
)  # fmt: skip


def vindr_tables(
    folder: Path,
    train: Sequence[tuple[str, str, Sequence[str]]],
    test: Sequence[tuple[str, Sequence[str]]],
) -> None:
    """Both tables of annotations. Rows: image, reader (training) and the findings seen."""
    columns = [*VINDR_COLUMNS, "Other diseases", "No finding"]
    table(
        folder / "annotations" / "image_labels_train.csv",
        ["image_id", "rad_id", *columns],
        [[image, who, *(int(c in seen) for c in columns)] for image, who, seen in train],
    )
    columns = [*VINDR_COLUMNS, "Other disease", "No finding"]
    table(
        folder / "annotations" / "image_labels_test.csv",
        ["image_id", *columns],
        [[image, *(int(c in seen) for c in columns)] for image, seen in test],
    )
