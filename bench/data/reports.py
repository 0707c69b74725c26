"""Free-text radiology reports of MIMIC-CXR: their impression, their findings, and where they lie.

Of 227,943 reports 82.4 % have an impression, 12.5 % only findings and 5.1 % neither (MIMIC-CXR-JPG
page on PhysioNet).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.data.tables import SPOILT
from bench.errors import DataError

_IMPRESSION = "IMPRESSION:"
_AFTERWARDS = frozenset(
    f"{word}{end}:" for word in ("RECOMMENDATION", "NOTIFICATION") for end in ("", "S", "(S)")
)
# A header is in capitals at the start of a line; a time such as "AP CHEST, 5:12 P.M." is none.
_HEADER = re.compile(
    r"^[ \t]*((?:[A-Z][A-Z ,/()&'.-]{2,60}?)|(?i:impressions?|findings?|conclusions?))[ \t]*:",
    re.MULTILINE,
)
_CONCLUDES = re.compile(r"IMPRESSION|CONCLUSION")
# Sections that say how and why a picture was taken, and to whom it was reported.
_ADMINISTRATIVE = re.compile(
    r"EXAM|INDICATION|HISTORY|REASON|CLINICAL|INFORMATION|TECHNIQUE|COMPARISON|STUDY|PROCEDURE|"
    r"RECOMMENDATION|NOTIFICATION|WET READ|ADDENDUM|REPORT|DICTATED|DATE|SIGNED|REFERENCE"
)


class Sections(NamedTuple):
    """The two parts of a report that describe the picture; "" where there is none."""

    findings: str
    impression: str


def parse_report(text: str) -> Sections:
    """Findings and impression of a report, blanks and line ends made single spaces.

    The impression is CheXzero's where its rule finds one (`chexzero_impression`), else the section
    under "Impression:" or "Conclusion:" in any spelling. A report with neither section has, as its
    findings, the paragraphs that stand under no administrative header. Where CheXzero writes the
    caption "NO IMPRESSION", the impression here is empty.

    >>> parse_report("FINDINGS: Clear lungs.\\n\\nIMPRESSION: No acute process.")
    Sections(findings='Clear lungs.', impression='No acute process.')
    """
    sections = list(_sections(text))
    impression = chexzero_impression(text)
    if impression is None:
        concluding = [body for name, body in sections if _CONCLUDES.search(name)]
        impression = concluding[-1] if concluding else ""
    findings = " ".join(
        body
        for name, body in sections
        if "FINDING" in name and not _CONCLUDES.search(name) and body
    )
    if not findings and not impression:
        findings = _undeclared(text)
    return Sections(findings, impression)


def chexzero_impression(text: str) -> str | None:
    """The impression by the rule of CheXzero, None where it finds none.

    All words after the last word that is exactly "IMPRESSION:", up to a heading of recommendations
    or notifications (data_process.py@5c341db). That code also looks for these headings before the
    impression, and then returns nothing; here only those that follow it end it, in any spelling.
    """
    words = text.split()
    if _IMPRESSION not in words:
        return None
    begin = len(words) - words[::-1].index(_IMPRESSION)
    end = next((i for i in range(begin, len(words)) if words[i] in _AFTERWARDS), len(words))
    return " ".join(words[begin:end])


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Name in capitals and text of every section with a header."""
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    for header, end in zip(headers, ends, strict=False):
        yield header[1].upper(), " ".join(text[header.end() : end].split())


def _undeclared(text: str) -> str:
    """The paragraphs under no administrative header and no title in capitals."""
    kept = []
    inside_administration = False
    for paragraph in re.split(r"\n[ \t]*\n", text):
        words = " ".join(paragraph.split())
        header = _HEADER.match(paragraph.lstrip("\n"))
        if header and _ADMINISTRATIVE.search(header[1].upper()):
            # The text of a header that stands alone is in the next paragraph.
            inside_administration = not words.partition(":")[2].strip()
        elif inside_administration:
            inside_administration = False
        elif words and words != words.upper():
            kept.append(words)
    return " ".join(kept)


class Reports:
    """The report files of MIMIC-CXR, in a folder or as the zip file they come in."""

    def __init__(self, path: Path) -> None:
        """Opens `path`: the zip file, or a folder with it or with the unpacked p10 ... p19.

        Raises:
            DataError: there are no reports at `path`.
        """
        self.zip: Path | None = None
        self._folder = path
        for folder in (path, path / "files", path / "mimic-cxr-reports" / "files"):
            if any(folder.glob("p1[0-9]")):
                self._folder = folder
                return
        for file in (path, path / "mimic-cxr-reports.zip"):
            if file.suffix == ".zip" and file.is_file():
                self.zip = file
                return
        raise DataError(
            f"No reports at {path}. Expected mimic-cxr-reports.zip of the PhysioNet project "
            "MIMIC-CXR, or the folders p10 to p19 that it holds."
        )

    def texts(self, studies: Iterable[tuple[str, str]]) -> Iterator[str | None]:
        """The report of each (subject, study), as ("10000032", "s50414267"); None: not there.

        Raises:
            DataError: the zip file is damaged.
        """
        names = (f"p{subject[:2]}/p{subject}/{study}.txt" for subject, study in studies)
        if self.zip is None:
            yield from map(self._from_folder, names)
            return
        try:
            with zipfile.ZipFile(self.zip) as archive:
                members = {
                    name[f"/{name}".find("/p1") :]: name
                    for name in archive.namelist()
                    if name.endswith(".txt")
                }
                for name in names:
                    member = members.get(name)
                    yield None if member is None else _text(archive.read(member))
        except (*SPOILT, RuntimeError, zipfile.BadZipFile) as error:  # RuntimeError: encrypted
            raise DataError(f"{self.zip} is not a readable zip file: {error}") from error

    def _from_folder(self, name: str) -> str | None:
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            return None
        try:
            return _text(path.read_bytes())
        except OSError:
            return None


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")
