"""What of a study was asked for, kept beside its trials, so that what is not begun is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.runs.record import cannot_write, replacing
from bench.runs.trial import TrialSpec

ASKED = "asked.json"


class Asked(NamedTuple):
    """Of one row."""

    runs: int
    folds: int

    @property
    def places(self) -> list[tuple[int, int]]:
        """Every run and fold."""
        return [(run, fold) for run in range(self.runs) for fold in range(self.folds)]


def write_asked(specs: Sequence[TrialSpec], folder: Path) -> None:
    """Writes into a study's folder how many runs and folds of each row are wanted.

    What was asked last of a row holds. A row that is not among the specs is kept where it has been
    begun, since the rows of a study may be run one after the other.

    Args:
        specs: all trials of a request, those included that it does not run now.

    Raises:
        ResultsError: the folder cannot be written.
    """
    rows = {
        row: asked
        for row, asked in read_asked(folder).items()
        if (folder / "trials" / row).is_dir()
    }
    now: dict[str, Asked] = {}
    for spec in specs:
        before = now.get(spec.row_folder, Asked(0, 0))
        now[spec.row_folder] = Asked(max(before.runs, spec.run + 1), spec.folds)
    rows |= now
    told = {row: asked._asdict() for row, asked in sorted(rows.items())}
    try:
        with replacing(folder / ASKED) as temporary:
            temporary.write_text(json.dumps(told, indent=1) + "\n")
    except OSError as error:
        raise cannot_write(folder, error) from error


def read_asked(folder: Path) -> Mapping[str, Asked]:
    """By row what was asked for; nothing where the study was made before this was kept, was
    imported, or the file is damaged."""
    try:
        told = json.loads((folder / ASKED).read_text())
        return {row: Asked(int(one["runs"]), int(one["folds"])) for row, one in told.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
