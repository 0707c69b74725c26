"""Where the trials of a study came from that were not run in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report.results import RowResults

ORIGIN = "origin.json"
"""Beside the trials of a study the bundles that were imported into it."""


def origins(folder: Path) -> list[dict[str, Any]]:
    """Digest and study of every bundle that was imported into a study's folder."""
    try:
        return list(json.loads((folder / ORIGIN).read_text())["bundles"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def origin_notes(rows: Sequence[RowResults]) -> list[str]:
    """Which trials of a table came in a bundle, and what that proves."""
    study = next(iter(rows[0].folders.values())).parents[2]
    if not (study / ORIGIN).exists():
        return []
    counted: Counter[tuple[str, str]] = Counter()
    titles: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for folder in row.folders.values():
            origin = json.loads((folder / "record.json").read_text()).get("origin")
            if origin is not None:
                bundle = (origin["study"], origin["bundle"])
                counted[bundle] += 1
                if row.title not in titles.setdefault(bundle, []):
                    titles[bundle].append(row.title)
    notes = [
        f"Trials imported, not run here: {count} ({', '.join(titles[name, digest])}), from a "
        f"bundle of study {name}, SHA-256 {digest[:12]}. The digest shows that the bundle was not "
        "changed since it was written, not who wrote it."
        for (name, digest), count in sorted(counted.items())
    ]
    hidden = [n for n, count in rows[0].told["data"]["positive_patients"].items() if count is None]
    if counted and not rows[0].told["data"]["synthetic"]:
        notes.append(
            "Bundles of real images withhold cells over few patients and round values to 4 "
            "decimals; means are of what is left, and may differ from those where it was run."
            + (f" Nothing is told of {', '.join(hidden)}." if hidden else "")
        )
    return notes
