"""Where a number of the page comes from: the records behind it and the command that redoes it.

The page may be given away. So a folder of the machine that made the study is not on it: a path as
somebody typed it stands with its last part only.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from bench.report.results import RowResults
from bench.runs.trial import place_of

HIDDEN = "…"
"""Stands for the folders of a path."""


def slug(row: RowResults) -> str:
    """The name of a row in addresses and attributes of the page.

    >>> re.sub(r"[^A-Za-z0-9_.-]+", "-", "cxrcml-nu=2,pca=32")
    'cxrcml-nu-2-pca-32'
    """
    return row_slug(row.method, row.label)


def row_slug(method: str, label: str) -> str:
    """The same from a row's method and label."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{method}-{label}")


def record_path(spec: Mapping[str, Any]) -> str:
    """A trial's record, seen from the page."""
    return f"trials/{place_of(spec).as_posix()}/record.json"


def records_of(row: RowResults) -> str:
    """All records of a row, as a pattern seen from the page, and how many they are."""
    count = len(row.folders)
    return f"trials/{row.method}-{row.label}/run-*_fold-*/record.json ({count} finished)"


def run_command(spec: Mapping[str, Any], runs: int) -> str:
    """The command line that makes the trials of a row again, or finishes them."""
    parts = ["bench", "run", "--method", _shown(spec["method_reference"])]
    parts += ["--data", _shown(spec["data"])]
    for one in spec.get("external", ()):
        parts += ["--test-data", _shown(one["data"])]
        for name in one["unseen"]:
            parts += ["--classes", name]
    parts += ["--preset", str(spec["config"]["preset"])]
    for name in spec.get("weights_names", ()):
        parts += ["--weights", _shown(name)]
    if spec["track"] == "released":
        parts += ["--track", "released"]
    for setting in _settings(spec):
        parts += ["--set", setting]
    parts += ["--folds", str(spec["folds"]), "--runs", str(runs), "--seed", str(spec["seed"])]
    return shlex.join([*parts, "--study", spec["study"]])


def table_command(study: str, which: str, policy: str = "pair", *, paper: bool = False) -> str:
    """The command line that makes a table again."""
    parts = ["bench", "table", study, "--table", which]
    parts += [] if policy == "pair" else ["--prompts", policy]
    return shlex.join([*parts, "--paper"] if paper else parts)


def _settings(spec: Mapping[str, Any]) -> list[str]:
    """KEY=VALUE of what sets a row apart, by the names in its label; all where it holds none."""
    config = {key: value for key, value in spec["config"].items() if key != "preset"}
    label = str(spec["row"])
    if spec.get("weights"):
        label = label.partition(",")[2] or "default"
    if label == "default":
        return []
    named = re.findall(r"(?:^|,)([A-Za-z_]\w*)=", label)
    # A label that was too long is cut and ends in a digest; it does not say all settings.
    cut = re.search(r"-[0-9a-f]{16}$", label) is not None
    keys = list(config) if cut or not set(named) <= set(config) else named
    return [f"{key}={config[key]}" for key in keys]


def _shown(reference: str) -> str:
    """A path without its folders; a name as it is.

    >>> _shown("csv:/home/ann/scans"), _shown("phantom"), _shown("./mine.py")
    ('csv:…/scans', 'phantom', './mine.py')
    """
    kind, colon, place = reference.rpartition(":")
    path = PurePath(place)
    if kind == "hf-hub" or len(path.parts) < 2:
        return reference
    return f"{kind}{colon}{HIDDEN}/{path.name}"
