from __future__ import annotations

from bench.errors import BenchError, ResultsError, UsageError, unknown


def test_a_close_name_is_suggested_whatever_its_case() -> None:
    assert "Did you mean 'Pleural Effusion'?" in unknown(
        "class", "pleural efusion", ["Pleural Effusion", "Edema"]
    )


def test_a_far_name_is_not_guessed_at() -> None:
    message = unknown("method", "resnet", ["cxrcml", "medclip"])
    assert "Did you mean" not in message
    assert "cxrcml, medclip" in message


def test_wrong_use_and_failed_work_have_different_exit_codes() -> None:
    assert (UsageError("x").exit_code, ResultsError("x").exit_code) == (2, 1)
    assert issubclass(UsageError, BenchError)
