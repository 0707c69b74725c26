from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from bench.data.reports import Reports, chexzero_impression, parse_report
from bench.errors import DataError

FULL = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough  // eval for pneumonia

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  None.

 FINDINGS:

 There is no focal consolidation.  The heart size
 is normal.

 IMPRESSION:

 No acute cardiopulmonary process.

 RECOMMENDATION(S):  Follow-up in six weeks.

 NOTIFICATION:  Dr. ___ was paged.
"""


def test_findings_and_impression_end_at_the_next_header() -> None:
    sections = parse_report(FULL)
    assert sections.findings == "There is no focal consolidation. The heart size is normal."
    assert sections.impression == "No acute cardiopulmonary process."


def test_the_last_impression_counts_as_with_chexzero() -> None:
    text = "IMPRESSION: Old.\n\n FINAL ADDENDUM\n\n IMPRESSION: New  one.\n"
    assert chexzero_impression(text) == "New one."
    assert parse_report(text).impression == "New one."


@pytest.mark.parametrize(
    "header",
    [
        "RECOMMENDATION(S):",
        "RECOMMENDATION:",
        "RECOMMENDATIONS:",
        "NOTIFICATION:",
        "NOTIFICATIONS:",
    ],
)
def test_an_impression_ends_before_recommendations_and_notifications(header: str) -> None:
    assert chexzero_impression(f"IMPRESSION: Edema.\n {header} CT.") == "Edema."


def test_recommendations_before_the_impression_do_not_empty_it() -> None:
    assert chexzero_impression("RECOMMENDATION: CT.\n IMPRESSION: Edema.") == "Edema."


def test_a_report_without_impression_keeps_its_findings_and_invents_no_caption() -> None:
    sections = parse_report("INDICATION: Cough.\n\n FINDINGS: Small effusion.\n")
    assert sections == ("Small effusion.", "")
    assert chexzero_impression("FINDINGS: Small effusion.") is None


@pytest.mark.parametrize("header", ["Impression:", "IMPRESSION :", "CONCLUSION:", "Conclusions:"])
def test_other_spellings_of_the_impression_are_found(header: str) -> None:
    assert (
        parse_report(f"HISTORY: Fall.\n\n {header} Rib fracture.\n").impression == "Rib fracture."
    )


def test_findings_and_impression_under_one_header_are_not_given_twice() -> None:
    sections = parse_report("FINDINGS AND IMPRESSION: Clear lungs.\n")
    assert sections == ("", "Clear lungs.")


def test_without_either_header_the_text_after_the_administrative_part_is_used() -> None:
    text = """                                 FINAL REPORT
 AP CHEST, 5:12 A.M., ___

 HISTORY:

 Pneumonia.  Check progress.

 COMPARISON:  ___.

 Bilateral opacities are unchanged.

 The tube ends 4 cm above the carina.
"""
    sections = parse_report(text)
    assert sections.impression == ""
    assert sections.findings == (
        "Bilateral opacities are unchanged. The tube ends 4 cm above the carina."
    )


@pytest.mark.parametrize("text", ["", "FINAL REPORT\n", "INDICATION: Cough.\n"])
def test_a_report_that_describes_nothing_has_no_text(text: str) -> None:
    assert parse_report(text) == ("", "")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("above", ["", "files", "mimic-cxr-reports/files"])
def test_reports_are_found_unpacked_and_in_the_zip(
    tmp_path: Path, packed: bool, above: str
) -> None:
    name = f"{above}/p10/p10000032/s50414267.txt".lstrip("/")
    if packed:
        with zipfile.ZipFile(tmp_path / "mimic-cxr-reports.zip", "w") as archive:
            archive.writestr(name, "IMPRESSION: Edema.")
    else:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("IMPRESSION: Edema.")
    wanted = [("10000032", "s50414267"), ("10000032", "s1")]
    assert list(Reports(tmp_path).texts(wanted)) == ["IMPRESSION: Edema.", None]


def test_an_identifier_cannot_lead_out_of_the_reports(tmp_path: Path) -> None:
    (tmp_path / "reports/p10").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("IMPRESSION: Secret.")
    wanted = [("10/../../..", "secret"), ("10", "../../../secret")]
    assert list(Reports(tmp_path / "reports").texts(wanted)) == [None, None]


def test_a_folder_without_reports_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mimic-cxr-reports\.zip"):
        Reports(tmp_path)


def test_a_damaged_zip_is_named(tmp_path: Path) -> None:
    (tmp_path / "mimic-cxr-reports.zip").write_bytes(b"PK no")
    with pytest.raises(DataError, match="not a readable zip"):
        list(Reports(tmp_path).texts([("10", "s1")]))


def test_a_zip_with_a_spoilt_report_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mimic-cxr-reports.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("files/p10/p10/s1.txt", "IMPRESSION: " + "clear lungs " * 50)
    content = bytearray(file.read_bytes())
    start = content.index(b"s1.txt") + len("s1.txt")
    content[start : start + 8] = b"\xff" * 8
    file.write_bytes(content)
    with pytest.raises(DataError, match="not a readable zip"):
        list(Reports(tmp_path).texts([("10", "s1")]))
