"""The campaign of faults is ready to be run: a part of it, and what it would not let pass."""

from __future__ import annotations

import numpy as np
import pytest

from tests.campaigns import faults
from tests.campaigns.harness import Campaign, Study, Tally


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(tmp_path_factory.mktemp("campaign"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault, _ in faults.FAULTS], ids=lambda f: f.__name__)
def test_a_study_survives(campaign: Campaign, fault: faults.Fault) -> None:
    tally = fault(campaign, 1, np.random.default_rng(0))
    assert tally.passed, (tally.lost, tally.redone, tally.torn, tally.wrong)


@pytest.mark.slow
def test_what_was_lost_or_done_again_or_differs_is_seen(campaign: Campaign) -> None:
    """A harness that finds nothing wrong must be one that could."""
    study = campaign.study()
    tally = Tally("none")
    campaign.complete(study, tally, {"trials/gone/run-00_fold-0": 1})
    assert tally.lost == 1
    name = next(iter(campaign.reference.records))
    campaign.complete(study, tally, {name: 1})
    assert tally.redone == 1
    assert not tally.wrong
    study = _with_one_line_changed(campaign)
    campaign.complete(study, tally, {})
    assert tally.wrong == ["the tables differ"]


def _with_one_line_changed(campaign: Campaign) -> Study:
    """A study whose `bench table` will read another title than the undisturbed one did."""
    study = campaign.study()
    study.folder.mkdir(parents=True)
    text = "".join(
        f'[[row]]\nmethod = "{name}"\ntitle = "{title}"\nset = {{ epochs = "3" }}\n'
        for name, title in (("troubled", "Changed"), ("steady", "Steady"))
    )
    (study.folder / "study.toml").write_text(text)
    return study
