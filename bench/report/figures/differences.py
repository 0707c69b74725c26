"""The pairs of a study's rows as a forest plot, both questions of `compare.py` apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from bench.report.compare import ROPE, no_bootstrap
from bench.report.figures.drawing import Drawing, Numbers, say_synthetic
from bench.report.figures.style import FAINT, GRID, INK, LOOKS, TWO_COLUMNS
from bench.report.notes import data_notes
from bench.report.options import Options
from bench.report.pair_table import pair_table
from bench.report.results import RowResults
from bench.report.scores import REPLICATES, SEED
from bench.report.seen import seen_notes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


class _Question(NamedTuple):
    name: str
    colour: str
    marker: str
    face: str
    shift: float
    """Off the line of its pair."""
    keys: tuple[str, str, str]
    """Of the value and the ends of its interval, in the numbers."""


_BLUE = LOOKS["common"].colour
_PROCEDURE = _Question(
    "new training sets",
    FAINT,
    "o",
    "white",
    -0.16,
    ("difference", "procedure_low", "procedure_high"),
)
_PATIENTS = _Question(
    "new patients",
    _BLUE,
    "s",
    _BLUE,
    0.16,
    ("patients_difference", "patients_low", "patients_high"),
)


def pair_figure(
    study: str, rows: Sequence[RowResults], baseline: RowResults | None, options: Options
) -> Drawing:
    """A line a pair of rows, a panel a group of classes.

    Raises:
        ResultsError: fewer than two rows of one track.
    """
    from matplotlib.figure import Figure

    named = ("a", "b", "group", *_PROCEDURE.keys, *_PATIENTS.keys)
    records = pair_table(study, rows, baseline, options).records()
    numbers = [{name: record[name] for name in named} for record in records]
    groups = [group.title for group in options.groups]
    pairs = [(n["a"], n["b"]) for n in numbers if n["group"] == groups[0]]
    reason = no_bootstrap(rows, options)
    questions = (_PROCEDURE,) if reason else (_PROCEDURE, _PATIENTS)
    figure = Figure(figsize=(TWO_COLUMNS, 0.95 + 0.2 * len(pairs)), layout="constrained")
    axes = figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)[0]
    for axis, group in zip(axes, groups, strict=True):
        _panel(axis, [n for n in numbers if n["group"] == group], questions)
        axis.set_title(group)
    axes[0].set_yticks(range(len(pairs)), [f"{a} − {b}" for a, b in pairs])
    axes[0].set_ylim(len(pairs) - 0.5, -0.5)
    figure.legend(handles=_keys(questions), loc="outside upper right", ncols=3)
    say_synthetic(figure, rows[0])
    caption = (
        f"Paired differences of AUC between the rows of {study}; right of zero A is better.",
        "Open circles: mean over runs and folds with the 95 % confidence interval of the corrected "
        "resampled t-test (other training sets). Intervals are not adjusted for the number of "
        f"pairs; the p values of bench table --table pairs are. Grey band: ±{ROPE:g}, taken as "
        "equal there.",
        f"No intervals over patients: {reason}."
        if reason
        else "Filled squares: the fixed models of one run with the 95 % percentile interval of the "
        f"paired bootstrap (other patients, drawn within each fold, {REPLICATES} draws, seed "
        f"{SEED}).",
        *data_notes(rows, options),
        *seen_notes(rows),
    )
    return Drawing("pairs", figure, caption, numbers)


def _panel(axis: Axes, numbers: Numbers, questions: Sequence[_Question]) -> None:
    axis.axvspan(-ROPE, ROPE, color=GRID, lw=0, zorder=0)
    axis.axvline(0, color=INK, lw=0.6, zorder=1)
    for _, colour, marker, face, shift, keys in questions:
        for y, n in enumerate(numbers):
            value, low, high = (n[key] for key in keys)
            if low is not None:
                axis.plot([low, high], [y + shift] * 2, color=colour, lw=0.9)
            if value is not None:
                axis.plot(value, y + shift, marker, color=colour, mfc=face, ms=2.8, mew=0.8)
    axis.set_xlabel("Difference of AUC, A − B")
    axis.tick_params(axis="y", length=0)


def _keys(questions: Sequence[_Question]) -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    lines = [
        Line2D([], [], color=q.colour, marker=q.marker, ms=2.8, mfc=q.face, lw=0.9, label=q.name)
        for q in questions
    ]
    return [*lines, Patch(color=GRID, label=f"within ±{ROPE:g}")]
