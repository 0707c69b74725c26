"""Indiana University / Open-i (Demner-Fushman et al., JAMIA 2016): X-rays with reports in English.

    openi:DIR[,reports=DIR|TGZ]

DIR holds the images under any folders, as PNG (`CXR1_1_IM-0001-3001.png`), DICOM or copies of
those (`1_IM-0001-3001.dcm.png`). `reports` (else DIR) holds the report files, in `ecgen-radiology`
or packed as `NLMCXR_reports.tgz`. One report is one visit, and the collection does not say which
visits are of one patient, so a report is a patient.

The reports say neither which picture is frontal nor do the file names. With
`indiana_projections.csv` beside the images (uid, filename, projection; a widespread copy has it)
all views are known. Without it the pictures numbered 1001 and 4004 are taken for frontal (2,268 of
2,317 such pictures with a known view are), and what the others show is not said.
"""

from __future__ import annotations

import os
import re
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.data.listing import UNLABELLED, Listing
from bench.data.mesh import CODED, mesh_labels
from bench.data.reading import assemble, place, unknown_views
from bench.data.tables import SPOILT, optional_file, read_table
from bench.errors import DataError

VERSION = 1

ARCHIVES = ("NLMCXR_reports.tgz", "NLMCXR_reports.tar.gz")
_FOLDERS = ("ecgen-radiology", "NLMCXR_reports/ecgen-radiology", "reports", "")
_ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
_NAME = re.compile(r"(?:CXR)?(\d+)_(?:\1_)?(IM-.+)")
FRONTAL_NUMBERS = ("-1001", "-4004")


class Report(NamedTuple):
    """What is used of one report file."""

    uid: str
    """As "CXR1042"."""
    findings: str
    impression: str
    phrases: list[str]
    """The MeSH phrases of a human coder, as "Opacity/lung/base/left"."""
    images: list[str]
    """As "CXR1042_IM-0034-1001"."""


def read(root: Path, options: Mapping[str, str]) -> Listing:
    """One row a picture of every report.

    Raises:
        DataError: there are no report files.
    """
    source = place(options, "reports", root)
    reports, tables, spoilt = _reports(source)
    pictures = _pictures(root)
    sides, table = _projections(root)
    keys = [(report, _key(image)) for report in reports for image in report.images]
    copies = {key: pictures.get(key, [f"{key}.png"]) for _, key in keys}
    views = [
        sides.get(key, "") if sides else ("FRONTAL" if key.endswith(FRONTAL_NUMBERS) else "")
        for _, key in keys
    ]
    coded = {report.uid: mesh_labels(report.phrases) for report in reports}
    listing = assemble(
        root,
        CODED,
        np.array([coded[report.uid] for report, _ in keys], np.uint8).reshape(-1, len(CODED)),
        images=[copies[key][0] for _, key in keys],
        patients=[report.uid for report, _ in keys],
        studies=[report.uid for report, _ in keys],
        views=views,
        omit=unknown_views(views, options),
        findings=[report.findings for report, _ in keys],
        impressions=[report.impression for report, _ in keys],
        problems={
            "report that cannot be read": spoilt,
            "report without a picture": [r.uid for r in reports if not r.images],
            "report without findings and impression": [
                r.uid for r in reports if not (r.findings or r.impression)
            ],
            "report that was not coded": [
                r.uid for r in reports if (coded[r.uid] == UNLABELLED).all()
            ],
        },
        tables=[*tables, *table],
    )
    others = {
        path: "another copy of the picture" for paths in copies.values() for path in paths[1:]
    }
    return replace(listing, left_out={**others, **listing.left_out})


def parse_report(content: bytes) -> Report:
    """What is used of a report file.

    Raises:
        ValueError: it is no XML, or no report.
    """
    try:
        root = ET.fromstring(content)
    except (ET.ParseError, LookupError) as error:  # LookupError: an unknown encoding
        raise ValueError(f"no XML: {error}") from error
    uid = root.find("uId")
    name = uid.get("id", "") if uid is not None else ""
    if not name:
        raise ValueError("no uId")
    texts = {
        part.get("Label", ""): " ".join((part.text or "").split())
        for part in root.iter("AbstractText")
    }
    return Report(
        name,
        texts.get("FINDINGS", ""),
        texts.get("IMPRESSION", ""),
        [(major.text or "").strip() for major in root.iterfind(".//MeSH/major")],
        [image.get("id", "") for image in root.iterfind("parentImage") if image.get("id")],
    )


def _key(name: str) -> str:
    """The same for all names of a picture: "1_IM-0001-3001" of "CXR1_1_IM-0001-3001.dcm.png".

    >>> _key("CXR1_1_IM-0001-3001.png"), _key("1_IM-0001-3001.dcm.png"), _key("CXR1_1_IM-0001-3001")
    ('1_IM-0001-3001', '1_IM-0001-3001', '1_IM-0001-3001')
    """
    stem = name
    while stem.lower().endswith(_ENDINGS):
        stem = stem.rpartition(".")[0]
    match = _NAME.fullmatch(stem)
    return f"{match[1]}_{match[2]}" if match else stem


def _pictures(root: Path) -> dict[str, list[str]]:
    """Key -> the files below `root` that hold the picture, the publisher's PNG first."""
    found: dict[str, list[str]] = {}
    for folder, _, files in os.walk(root):
        below = Path(folder).relative_to(root)
        for name in files:
            if name.lower().endswith(_ENDINGS):
                found.setdefault(_key(name), []).append((below / name).as_posix())
    for paths in found.values():
        paths.sort(key=lambda path: (_ENDINGS.index(Path(path).suffix.lower()), path))
    return found


def _projections(root: Path) -> tuple[dict[str, str], list[Path]]:
    """Key -> view, and the table that says it; empty without one."""
    path = optional_file([root], ["indiana_projections.csv"])
    if path is None:
        return {}, []
    table = read_table(path, ["filename", "projection"])
    words = {"frontal": "FRONTAL", "lateral": "LATERAL"}
    sides = table["projection"].str.lower().map(words).fillna("")
    return dict(zip(map(_key, table["filename"]), sides, strict=True)), [path]


def _reports(source: Path) -> tuple[list[Report], list[Path], list[str]]:
    """The reports by number, the archive they came from, and the files that are none."""
    reports, spoilt = [], []
    archive = _archive(source)
    for name, content in _packed(archive) if archive else _unpacked(source):
        try:
            reports.append(parse_report(content))
        except ValueError as error:
            spoilt.append(f"{name}: {error}")
    reports.sort(key=lambda report: (len(report.uid), report.uid))
    if not reports:
        raise DataError(
            f"No Open-i report at {source}. Expected the folder ecgen-radiology with its XML "
            f"files, or {ARCHIVES[0]}."
        )
    return reports, [archive] if archive else [], spoilt


def _archive(source: Path) -> Path | None:
    """The packed reports: `source` itself, or in it where they are not unpacked."""
    if source.is_file():
        return source
    if any(any((source / folder).glob("*.xml")) for folder in _FOLDERS):
        return None
    return optional_file([source], ARCHIVES)


def _packed(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None and member.name.endswith(".xml"):
                    yield member.name, file.read()
    except (*SPOILT, tarfile.TarError) as error:
        raise DataError(f"{path} is not a readable tar file: {error}") from error


def _unpacked(source: Path) -> Iterator[tuple[str, bytes]]:
    for folder in _FOLDERS:
        for path in sorted((source / folder).glob("*.xml")):
            if not path.is_file():
                continue
            try:
                yield path.name, path.read_bytes()
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
