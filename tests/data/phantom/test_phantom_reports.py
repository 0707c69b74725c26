from __future__ import annotations

import re

import numpy as np
import pytest

from bench.classes import CLASSES, NORMAL
from bench.data.phantom import make_cohort
from bench.data.phantom.phrases import DENIALS, HEDGES, WORDING
from bench.data.phantom.reports import Report, write_report
from bench.data.phantom.traits import Trait

HEDGED = re.compile(r"\b(possible|may represent|cannot be excluded|questionable|could|suspected)\b")


@pytest.fixture(scope="module")
def written() -> list[tuple[set[str], Report]]:
    """2,000 reports of studies with one to five findings, or of normal ones."""
    rng = np.random.default_rng(7)
    findings = [name for name in CLASSES if name != NORMAL]
    reports = []
    for i in range(2000):
        names = [NORMAL]
        if i % 8:
            names = rng.choice(findings, size=int(rng.integers(1, 6)), replace=False).tolist()
        traits = {name: Trait(-1 if rng.random() < 0.5 else 1, rng.random()) for name in names}
        reports.append((set(names), write_report(traits, bool(i % 2), rng)))
    return reports


def sentences(report: Report) -> tuple:
    return report.findings_said + report.impression_said


def test_every_class_has_wording_of_its_own():
    assert set(WORDING) == set(CLASSES)
    every = [text for wording in WORDING.values() for text in wording.sentences]
    assert len(every) == len(set(every))
    assert all(len(wording.sentences) >= 3 and len(wording.nouns) >= 2
               for wording in WORDING.values())  # fmt: skip


def test_no_report_affirms_what_is_absent_or_denies_what_is_present(written):
    for present, report in written:
        for sentence in sentences(report):
            assert present.issuperset(sentence.affirms), sentence
            assert present.isdisjoint(sentence.denies), sentence


def test_every_mention_of_an_absent_class_is_hedged_in_its_words(written):
    raised = 0
    for present, report in written:
        for sentence in sentences(report):
            if sentence.hedges:
                assert HEDGED.search(sentence.text.lower()), sentence
                raised += not present.issuperset(sentence.hedges)
            else:
                assert not HEDGED.search(sentence.text.lower()), sentence
    assert raised > 50


def test_the_text_is_exactly_its_sentences(written):
    for _, report in written[:100]:
        assert report.findings == " ".join(s.text for s in report.findings_said)
        assert "{" not in report.findings + report.impression
        assert all(s.text[0].isupper() and s.text.endswith(".") for s in sentences(report))


def test_findings_are_mostly_said_sometimes_hedged_sometimes_left_out(written):
    said = hedged = above = repeated = total = 0
    for present, report in written:
        affirmed = {name for s in report.findings_said for name in s.affirms}
        doubted = {name for s in report.findings_said for name in s.hedges}
        below = {name for s in report.impression_said for name in s.affirms + s.hedges}
        total += len(present)
        said += len(affirmed)
        hedged += len(doubted & present)
        above += len((affirmed | doubted) & present)
        repeated += len(below & present)
    assert 0.65 < said / total < 0.85
    assert 0.05 < hedged / total < 0.20
    assert 0.08 < 1 - above / total < 0.22
    assert repeated / total < above / total - 0.15


def test_common_negatives_are_denied_in_most_reports(written):
    denied = [any(s.denies for s in report.findings_said) for _, report in written]
    assert np.mean(denied) > 0.8
    texts = " ".join(report.findings for _, report in written)
    assert "no pleural effusion or pneumothorax" in texts.lower()


def test_an_omitted_finding_leaves_no_phrase_behind():
    """No sentence gives away that the heart is large where the report does not say so."""
    rng = np.random.default_rng(11)
    nodule, heart = {"Nodule": Trait(1, 0.5)}, {"Cardiomegaly": Trait(1, 0.5)}
    silent: list[set[str]] = []
    without: list[set[str]] = []
    for i in range(1500):
        report = write_report(nodule | heart if i % 2 else nodule, False, rng)
        if any("Cardiomegaly" in s.affirms + s.hedges for s in sentences(report)):
            continue
        (silent if i % 2 else without).append({s.text for s in sentences(report)})
    assert len(silent) > 60
    for text in set().union(*silent):
        share = np.mean([text in texts for texts in silent])
        assert share < np.mean([text in texts for texts in without]) + 0.15, text


def test_impressions_are_short(written):
    words = [len(report.impression.split()) for _, report in written]
    assert np.mean(np.array(words) < 60) > 0.98
    assert np.mean(np.array(words) > 0) > 0.95


def test_side_is_the_side_of_the_trait():
    rng = np.random.default_rng(0)
    for _ in range(40):
        report = write_report({"Pleural Effusion": Trait(1, 0.5)}, False, rng)
        for sentence in sentences(report):
            if sentence.affirms:
                assert "right" not in sentence.text.lower()


def test_denials_and_hedges_name_known_classes():
    for _, denies in DENIALS:
        assert set(denies) <= set(CLASSES)
    for hedge in HEDGES:
        assert HEDGED.search(hedge.lower())


def test_words_vary_between_studies():
    cohort = make_cohort(400, seed=2)
    texts = dict(zip(cohort.studies, cohort.findings, strict=True))
    assert len(set(texts.values())) > 0.8 * len(texts)


def test_both_sections_put_a_finding_on_the_same_side():
    sides = {"left", "right"}
    pairs = 0
    for seed in range(2000):
        report = write_report({}, False, np.random.default_rng(seed))
        by_section = [
            {
                (s.hedges, word)
                for s in said
                if s.hedges
                for word in s.text.lower().split()
                if word in sides
            }
            for said in (report.findings_said, report.impression_said)
        ]
        if all(by_section):
            pairs += 1
            assert by_section[0] == by_section[1]
    assert pairs > 5
