"""`bench check` finds what is wrong with an adapter, and nothing in one that is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import MethodError, UsageError
from bench.protocol.conformance import _resuming_checks, _trained, check_method
from bench.protocol.method import find_method
from bench.protocol.planted import planted_dataset
from tests.test_readme import adapter


def _failures(path: Path, code: str) -> list[str]:
    path.write_text(code)
    return [finding.what for finding in check_method(str(path)) if not finding.passed]


@pytest.mark.parametrize("method", ["chexzero", "cxrcml"])
def test_our_methods_keep_the_contract(method: str) -> None:
    assert [finding.what for finding in check_method(method) if not finding.passed] == []


def test_a_turned_sign_is_found(tmp_path: Path) -> None:
    turned = adapter().replace(
        "return self.head(self.embed(images))[", "return -self.head(self.embed(images))["
    )
    failures = _failures(tmp_path / "turned.py", turned)
    assert len(failures) == 2
    assert all("points the right way" in failure for failure in failures)


@pytest.mark.parametrize(
    ("made", "used", "goes_on"),
    [("seen = types.SimpleNamespace(steps=0)", "seen.steps", False), ("steps = 0", "steps", True)],
)
def test_a_state_that_no_file_keeps_is_found(
    tmp_path: Path, made: str, used: str, goes_on: bool
) -> None:
    (tmp_path / "counting.py").write_text(
        "import types\n"
        "from methods.chexzero import CheXzero\n"
        "class Counting(CheXzero):\n"
        "    def build(self, classes, texts, device):\n"
        f"        self.{made}\n"
        "        return super().build(classes, texts, device)\n"
        "    def loss(self, batch):\n"
        f"        self.{used} = self.{used} + self.model.training\n"
        f"        return super().loss(batch) * (1 + self.{used} % 7)\n"
    )
    cls, data = find_method(str(tmp_path / "counting.py")).cls, planted_dataset()
    whole, _, _ = _trained(cls, (), data, epochs=2)
    (finding,) = _resuming_checks(cls, (), data, whole)
    assert finding.passed is goes_on
    assert "load_state_dict" in finding.mend


def test_a_turned_prompt_pair_is_found(tmp_path: Path) -> None:
    (tmp_path / "turned.py").write_text(
        "import dataclasses\n"
        "from methods.chexzero import CheXzero\n"
        "class Turned(CheXzero):\n"
        "    def score(self, images, prompts):\n"
        "        if prompts.negative is not None:\n"
        "            prompts = dataclasses.replace(\n"
        "                prompts, positive=prompts.negative, negative=prompts.positive)\n"
        "        return super().score(images, prompts)\n"
    )
    (failure,) = [f.what for f in check_method(str(tmp_path / "turned.py")) if not f.passed]
    assert failure.startswith("the planted signal is found under 'pair'")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("(wrong * batch.mask).sum() / batch.mask.sum().clamp(min=1)", "wrong.mean()", "mask"),
        (
            "return self.head(self.embed(images))[:, columns]",
            "return (self.head(self.embed(images)) * self.gain)[:, columns]",
            "saved and loaded",
        ),
        (
            "        return model.to(device)",
            "        KEPT.append(model)\n        return model",
            "memory",
        ),
    ],
)
def test_what_only_shows_in_use_is_found(tmp_path: Path, old: str, new: str, what: str) -> None:
    code = adapter()
    assert code.count(old) == 1
    code = code.replace(old, new).replace("\n\n@dataclass", "\nKEPT = []\n\n@dataclass", 1)
    code = code.replace(
        "        self.network =",
        "        self.gain = 1 + torch.rand(())\n        self.network =",
        1,
    )
    (failure,) = _failures(tmp_path / "subtle.py", code)
    assert what in failure


def test_a_fixed_order_of_classes_is_found(tmp_path: Path) -> None:
    fixed = adapter().replace("[:, columns]", "")
    assert any("order of the prompts" in f for f in _failures(tmp_path / "fixed.py", fixed))


def test_scores_that_depend_on_the_batch_are_found(tmp_path: Path) -> None:
    mixed = adapter().replace("[:, columns]", "[:, columns].softmax(0)")
    assert any("depend on the batch" in f for f in _failures(tmp_path / "mixed.py", mixed))


@pytest.mark.parametrize("seeding", ["torch.manual_seed(0)", "__import__('numpy').random.seed(0)"])
def test_a_global_seed_is_found(tmp_path: Path, seeding: str) -> None:
    code = adapter().replace("        wrong = F.", f"        {seeding}\n        wrong = F.")
    assert any("global generator" in f for f in _failures(tmp_path / "seeding.py", code))


def test_a_file_without_a_method_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "none.py").write_text("x = 1\n")
    with pytest.raises(MethodError, match="holds 0 subclasses"):
        check_method(str(tmp_path / "none.py"))
    (tmp_path / "broken.py").write_text("import nothing_like_this\n")
    with pytest.raises(MethodError, match="fails on import: ModuleNotFoundError"):
        check_method(str(tmp_path / "broken.py"))
    with pytest.raises(UsageError, match="No method file"):
        check_method(str(tmp_path / "absent.py"))


def test_the_planted_signal_is_where_the_label_says() -> None:
    data = planted_dataset()
    corner = data.pixels[:, 4:20, 4:20].mean(axis=(1, 2))
    assert corner[data.labels[:, 0] == 1].min() > corner[data.labels[:, 0] == 0].max()


_SCORE = "        columns = torch.tensor("
_RAISES = "        raise KeyError('lost')\n"


@pytest.mark.parametrize(
    ("old", "new", "what", "mend"),
    [
        (
            "        self.place =",
            _RAISES + "        self.place =",
            "build()",
            "KeyError in build()",
        ),
        ("        wrong = F.", _RAISES + "        wrong = F.", "loss()", "KeyError in loss()"),
        (_SCORE, _RAISES + _SCORE, "score()", "KeyError in score()"),
        ("return model.to(device)", "return None", "build()", "gave a NoneType"),
        ("        wrong = F.", "        return 1.0\n        wrong = F.", "loss()", "'backward'"),
        ("[:, columns]", "[:, columns[:2]]", "score()", "(4, 2)"),
        ("[:, columns]", "[:, columns].tolist()", "score()", "gave a list"),
    ],
)
def test_an_adapter_that_raises_or_gives_something_else_fails_without_a_traceback(
    tmp_path: Path, old: str, new: str, what: str, mend: str
) -> None:
    code = adapter()
    assert code.count(old) == 1
    (tmp_path / "raising.py").write_text(code.replace(old, new))
    (finding,) = check_method(str(tmp_path / "raising.py"))
    assert not finding.passed
    assert finding.what.startswith(what)
    assert mend in finding.mend
    assert "later checks were not run" in finding.mend


def test_what_was_checked_before_a_failure_is_kept_and_nothing_after_it(tmp_path: Path) -> None:
    one_policy = adapter().replace(
        _SCORE, "        assert prompts.negative, 'no negatives'\n" + _SCORE
    )
    (tmp_path / "one.py").write_text(one_policy)
    *before, last = check_method(str(tmp_path / "one.py"))
    assert len(before) == 4
    assert all(finding.passed and "'pair'" in finding.what for finding in before)
    assert not last.passed
    assert "AssertionError in score()" in last.mend


def test_scores_that_are_not_finite_fail_without_a_traceback(tmp_path: Path) -> None:
    endless = adapter().replace("[:, columns]", "[:, columns] * float('nan')")
    failures = _failures(tmp_path / "endless.py", endless)
    assert any("finite" in failure for failure in failures)
    assert any("points the right way" in failure for failure in failures)
