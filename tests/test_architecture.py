"""The walls of the house: who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# Data flows one way; a folder imports only from those to its left. `stats` is arithmetic that
# everybody may use and that knows nobody.
ORDER = ["errors", "classes", "stats", "data", "protocol", "runs", "report", "cli", "__main__"]


def _modules(folder: str) -> list[Path]:
    return sorted((REPOSITORY / folder).rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "bench" and len(parts) > 1 and parts[1] in ORDER else None


@pytest.mark.parametrize("path", _modules("bench"), ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_a_room_of_bench_imports_only_from_its_left(path: Path) -> None:
    relative = path.relative_to(REPOSITORY / "bench").with_suffix("")
    here = relative.parts[0]
    if here not in ORDER:
        assert here == "__init__"
        return
    for module in _imports(path):
        room = _room(module)
        if room is not None:
            assert ORDER.index(room) <= ORDER.index(here), f"{here} imports {module}"


@pytest.mark.parametrize("path", _modules("bench"), ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_only_the_discovery_imports_methods(path: Path) -> None:
    if path != REPOSITORY / "bench" / "protocol" / "method.py":
        assert not [m for m in _imports(path) if m.split(".")[0] in {"methods", "cxrcml"}]


@pytest.mark.parametrize("path", _modules("methods"), ids=lambda p: p.name)
def test_methods_import_the_protocol_and_cxrcml_only(path: Path) -> None:
    for module in _imports(path):
        if module.startswith("bench."):
            assert _room(module) in {"protocol", "errors", "classes"}, module


@pytest.mark.parametrize("path", _modules("cxrcml"), ids=lambda p: p.name)
def test_cxrcml_is_a_library_without_bench(path: Path) -> None:
    assert not [m for m in _imports(path) if m.split(".")[0] in {"bench", "methods"}]


def test_bench_knows_no_method_by_name() -> None:
    names = {path.stem for path in _modules("methods")} - {"__init__"}
    for path in _modules("bench"):
        text = path.read_text()
        strings = {
            node.value
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not strings & names, path
