"""What is built and given to others: bounds, pins, data files, and what the metadata says."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import bench
from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def _pins(name: str) -> dict[str, Version]:
    lines = (REPOSITORY / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def _declared() -> list[Requirement]:
    project = PROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for texts in lists for text in texts]


def test_the_tested_versions_are_within_the_bounds() -> None:
    pins = _pins("constraints.txt")
    for wanted in _declared():
        name = canonicalize_name(wanted.name)
        if name in pins:  # wandb and mlflow are tried by hand
            assert pins[name] in wanted.specifier, wanted


def test_the_lowest_versions_are_the_lower_bounds() -> None:
    lowest = _pins("constraints-lowest.txt")
    for wanted in map(Requirement, PROJECT["project"]["dependencies"]):
        (bound,) = wanted.specifier
        assert bound.operator == ">="
        found = lowest[canonicalize_name(wanted.name)]
        # A bound that another package raises is the lowest that can be had at all.
        assert found in wanted.specifier, wanted
        assert found.release[:1] == Version(bound.version).release[:1], wanted


def test_every_file_that_is_not_code_is_in_the_wheel() -> None:
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for package in ("bench", "cxrcml", "methods"):
        root = REPOSITORY / package
        for path in root.rglob("*"):
            inside = path.relative_to(root).as_posix()
            if path.is_file() and path.suffix != ".py" and path.parent.name != "__pycache__":
                assert any(fnmatch(inside, pattern) for pattern in data[package]), path
        assert (root / "py.typed").is_file()


def test_metadata_agree() -> None:
    version = PROJECT["project"]["version"]
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert cited["version"] == version
    assert cited["license"] == PROJECT["project"]["license"]
    assert bench.__name__ in PROJECT["project"]["scripts"]
    log = (REPOSITORY / "CHANGELOG.md").read_text()
    first = re.search(r"^## (\S+)", log, re.MULTILINE)
    assert first is not None
    assert first[1] in {"Unreleased", version}


def test_the_public_names_are_documented() -> None:
    page = (REPOSITORY / "docs/api.md").read_text()
    for name in (
        "cxrcml.StudentTMixture",
        "cxrcml.triplet_loss",
        "bench.protocol.folds.patient_folds",
        "bench.stats.metrics.auroc",
        "bench.stats.metrics.average_precision",
        "bench.stats.bootstrap.paired_cluster_bootstrap",
        "bench.stats.significance.corrected_resampled_ttest",
        "bench.stats.significance.holm",
        "bench.data.load_dataset",
        "bench.protocol.method.Method",
    ):
        assert f"::: {name}\n" in page
        module, _, attribute = name.rpartition(".")
        found = getattr(__import__(module, fromlist=[attribute]), attribute)
        assert found.__doc__


def test_nothing_local_is_named() -> None:
    local = re.compile(r"(?<![\w.~/])/(work|tmp|opt|root|home)/")
    names = ["mkdocs.yml", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "pyproject.toml"]
    for path in [*map(REPOSITORY.joinpath, names), *(REPOSITORY / "docs").glob("*.md")]:
        assert not local.search(path.read_text()), path
