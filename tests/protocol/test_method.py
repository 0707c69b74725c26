"""How methods are found: by name, by path, from somebody's package."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.errors import MethodError, UsageError
from bench.protocol.method import find_method, method_names
from tests.test_readme import adapter


def test_our_methods_are_the_files_of_the_folder() -> None:
    names = method_names()
    assert {"chexzero", "cxrcml"} <= set(names)
    assert not [name for name in names if name.startswith("_")]
    assert find_method("cxrcml").code == "v1"


def test_a_file_is_a_method_and_its_bytes_are_its_version(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(adapter())
    first = find_method(str(file))
    assert (first.name, first.cls.card.title) == ("mine", "Prototypes")
    assert find_method(str(file)).code == first.code
    file.write_text(adapter() + "\n# changed\n")
    assert find_method(str(file)).code != first.code


def _install(folder: Path, module: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with an entry point, as pip would leave it on the path."""
    (folder / f"{module}.py").write_text(adapter())
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[bench.methods]\ntheirs = {module}:{target}\n")
    monkeypatch.syspath_prepend(folder)


def test_a_package_brings_methods_by_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path, "their_package", "Prototypes", monkeypatch)
    assert "theirs" in method_names()
    found = find_method("theirs")
    assert found.cls.card.title == "Prototypes"
    assert found.code == "their_package:Prototypes v1"


def test_an_entry_point_that_is_no_method_is_said_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path, "other_package", "PrototypesConfig", monkeypatch)
    with pytest.raises(MethodError, match=r"'theirs' \(other_package:PrototypesConfig\) is not"):
        find_method("theirs")


def test_a_misspelt_name_is_answered_with_the_right_one() -> None:
    with pytest.raises(UsageError, match="Did you mean 'cxrcml'"):
        find_method("cxrclm")


def test_two_methods_in_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(adapter() + "\n\nclass Another(Prototypes):\n    pass\n")
    with pytest.raises(MethodError, match="holds 2 subclasses"):
        find_method(str(tmp_path / "two.py"))


def test_a_method_without_a_card_is_refused(tmp_path: Path) -> None:
    bare = adapter().replace("    card = Card(", "    other = Card(")
    (tmp_path / "bare.py").write_text(bare)
    with pytest.raises(MethodError, match="Prototypes has no `card"):
        find_method(str(tmp_path / "bare.py"))


def test_a_package_that_fails_on_import_is_named_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path, "broken_package", "Prototypes", monkeypatch)
    (tmp_path / "broken_package.py").write_text("import nothing_like_this\n")
    said = "Package broken_package: entry point 'theirs' .* fails on import: ModuleNotFoundError"
    with pytest.raises(MethodError, match=said):
        find_method("theirs")
    listed = CliRunner().invoke(main, ["methods"])
    assert listed.exit_code == 0, listed.output
    assert "theirs is broken: Package broken_package" in listed.output
    assert "| cxrcml" in listed.output


def test_a_packaged_method_without_a_card_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path, "bare_package", "Prototypes", monkeypatch)
    bare = adapter().replace("    card = Card(", "    other = Card(")
    (tmp_path / "bare_package.py").write_text(bare)
    with pytest.raises(MethodError, match=r"bare_package.*Prototypes has no `card"):
        find_method("theirs")
