"""Ten seconds of `python -m tests.campaigns.torture`: spoilt files end in a sentence."""

from __future__ import annotations

import pickle
import random
import time
from pathlib import Path

import pytest

from tests.campaigns import _mutate
from tests.campaigns._attack import Attack


@pytest.mark.parametrize("target", ["csv", "nih", "bundle", "images"])
def test_a_spoilt_file_ends_in_a_sentence_and_touches_nothing(tmp_path: Path, target: str) -> None:
    attack = Attack(target, tmp_path, seed=1)
    ends = time.process_time() + 1.2
    for index in range(200):
        attack.one(index)
        if time.process_time() > ends:
            break
    assert attack.told.crashes == {}
    assert attack.told.refused > 0


def test_an_input_is_made_again_from_its_number(tmp_path: Path) -> None:
    attack = Attack("csv", tmp_path, seed=1)
    attack.spoil(3)
    first = (attack._case / "labels.csv").read_bytes()
    attack.spoil(4)
    attack.spoil(3)
    assert (attack._case / "labels.csv").read_bytes() == first
    assert first != (attack._clean / "labels.csv").read_bytes()


def test_a_file_written_outside_and_code_that_ran_are_noticed(tmp_path: Path) -> None:
    attack = Attack("csv", tmp_path, seed=1)
    attack.spoil(0)
    assert attack._touched() is None
    (attack._case.parent / "outside" / "secret.txt").write_text("changed")
    assert "touched" in str(attack._touched())
    rng = random.Random(0)
    pickle.loads(_mutate.hostile_pickle(attack._canary, rng))
    assert "code ran" in str(attack._touched())
