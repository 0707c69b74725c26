from __future__ import annotations

import json
import math
from dataclasses import dataclass

import pytest

from bench.errors import UsageError
from bench.protocol.config import Config


@dataclass(frozen=True)
class _Config(Config):
    nu: float = 4.0
    balanced: bool = False


def test_settings_are_read_as_the_type_of_their_field() -> None:
    config = _Config.tiny().with_settings(
        {"lr": "1e-4", "epochs": "3", "balanced": "true", "early_stop": "none", "nu": "inf"}
    )
    assert (config.lr, config.epochs, config.balanced, config.early_stop) == (1e-4, 3, True, None)
    assert config.nu == math.inf


def test_an_unknown_key_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="Did you mean 'batch_size'"):
        Config.tiny().with_settings({"batchsize": "4"})


@pytest.mark.parametrize(
    ("key", "value"), [("lr", "fast"), ("epochs", "1.5"), ("schedule", "cosine")]
)
def test_a_value_of_the_wrong_type_is_refused(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=key):
        Config.tiny().with_settings({key: value})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("epochs", "0", "at least 1"),
        ("batch_size", "1", "at least 2"),
        ("lr", "-1", "at least 1e-12"),
        ("lr", "nan", "at least 1e-12"),
        ("shift", "2", "from 0 to 0.5"),
        ("early_stop", "-1", "at least 0"),
    ],
)
def test_a_value_out_of_range_is_refused(key: str, value: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Config.tiny().with_settings({key: value})


def test_the_preset_cannot_be_changed_by_a_setting() -> None:
    with pytest.raises(UsageError, match="Unknown setting 'preset'"):
        Config.tiny().with_settings({"preset": "paper"})


def test_the_paper_preset_holds_the_papers_values() -> None:
    config = Config.of_preset("paper")
    assert (config.lr, config.batch_size, config.image_size) == (1e-6, 32, 224)
    assert (config.schedule, config.plateau_factor, config.plateau_patience) == ("plateau", 0.1, 2)


def test_a_configuration_survives_json() -> None:
    config = _Config(nu=math.inf)
    told = json.dumps(config.as_dict(), allow_nan=False)
    assert _Config.from_dict(json.loads(told)) == config
