"""A figure with its caption and its numbers, and how they are written: same records, same bytes."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import ResultsError
from bench.report.results import RowResults
from bench.report.table import settled
from bench.runs.record import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What each format would otherwise say of the moment and the program of its making.
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}
FORMATS = tuple(_METADATA)

Numbers = Sequence[Mapping[str, Any]]
"""What is drawn, one record a mark: text, whole numbers, floats, None where undefined."""


@dataclass(frozen=True)
class Drawing:
    """A figure that is ready to be written."""

    stem: str
    """Name of its files without suffix."""
    figure: Figure
    caption: tuple[str, ...]
    """What is shown, one statement each."""
    numbers: Numbers
    """The content of the CSV."""


def write_drawing(drawing: Drawing, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Writes a figure in some of `FORMATS`, its caption (.txt) and its numbers (.csv).

    To be called inside `styled`, as the figure was made.

    Raises:
        ResultsError: the folder cannot be written.
    """
    contents = {form: _rendered(drawing.figure, form) for form in formats}
    contents["txt"] = _caption_text(drawing.caption).encode()
    contents["csv"] = _numbers_text(drawing.numbers).encode()
    written = []
    try:
        folder.mkdir(exist_ok=True)
        for suffix, content in contents.items():
            path = folder / f"{drawing.stem}.{suffix}"
            with replacing(path) as temporary:
                temporary.write_bytes(content)
                temporary.chmod(0o644)
            written.append(path)
    except OSError as error:
        raise ResultsError(f"Cannot write figures to {folder}: {error.strerror}.") from error
    return written


def say_synthetic(figure: Figure, row: RowResults) -> None:
    """Writes under a figure of synthetic data that it is one, since captions get lost."""
    data = row.told["data"]
    if data["synthetic"]:
        figure.supxlabel(
            f"Synthetic data ({data['name']}), not X-rays", x=0.995, ha="right", fontsize=5.5
        )


def _rendered(figure: Figure, form: str) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format=form, metadata=_METADATA[form])
    return out.getvalue()


def _caption_text(caption: Sequence[str]) -> str:
    return "".join(f"{textwrap.fill(statement, 100)}\n" for statement in caption)


def _numbers_text(numbers: Numbers) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(numbers[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: settled(value) for name, value in n.items()} for n in numbers)
    return out.getvalue()
