from __future__ import annotations

from bench.classes import BASE, CLASSES, COMMON, MEDIUM, NORMAL, RARE, TRAIN_COUNTS, spelled


def test_the_groups_are_the_papers_eleven_seventeen_and_twelve() -> None:
    assert (len(CLASSES), len(COMMON), len(MEDIUM), len(RARE), len(BASE)) == (40, 11, 17, 12, 28)
    assert {*COMMON, *MEDIUM, *RARE} == set(CLASSES)


def test_groups_are_ranks_of_the_training_counts() -> None:
    assert max(TRAIN_COUNTS[c] for c in RARE) < min(TRAIN_COUNTS[c] for c in MEDIUM)
    assert max(TRAIN_COUNTS[c] for c in MEDIUM) < min(TRAIN_COUNTS[c] for c in COMMON)


def test_the_places_that_files_rely_on() -> None:
    assert CLASSES.index(NORMAL) == 24
    assert CLASSES.index("Support Devices") == 37


def test_parentheses_never_reach_a_tokeniser() -> None:
    assert not any("(" in spelled(name) for name in CLASSES)
