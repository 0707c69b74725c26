"""The forest plot: each row's difference from the baseline with both of its intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from bench.report.page.figure import Figure, Line, broken, number
from bench.report.page.origin import slug
from bench.report.page.svg import INK, MUTED, SERIES, Drawing, style
from bench.report.results import RowResults
from bench.report.table import Table

_TRAINING, _PATIENTS = SERIES[0], SERIES[1]


@dataclass(frozen=True)
class _Difference:
    """A line of the table of pairs in which the baseline is B."""

    row: RowResults
    group: str
    mean: float | None
    training: tuple[float, float] | None
    drawn: tuple[float, float, float] | None
    """Difference of the fixed models and the interval over patients."""


def difference_figure(
    pairs: Table, rows: Sequence[RowResults], baseline: RowResults
) -> Figure | None:
    """From the table of pairs, so that both say the same; None when it has no such pair."""
    by_title = {row.title: row for row in rows}
    found = [
        _difference(by_title[str(told["a"])], told)
        for told in pairs.records()
        if told["b"] == baseline.title
    ]
    groups = list(dict.fromkeys(one.group for one in found))
    order = [row for row in rows if any(one.row is row for one in found)]
    if not found:
        return None
    with style():
        drawing = Drawing("differences", 0.95 + 0.46 * len(order))
        axes = drawing.figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)[0]
        for axis, group in zip(axes, groups, strict=True):
            _panel(drawing, axis, [one for one in found if one.group == group], order)
            axis.set_title(f"{group} AUC")
        axes[0].set_yticks(range(len(order)), [broken(row.title) for row in order])
        axes[0].set_ylim(len(order) - 0.45, -0.55)
        handles, labels = axes[0].get_legend_handles_labels()
        first = dict(zip(labels, handles, strict=True))
        drawing.figure.legend(first.values(), first.keys(), loc="outside upper right", ncols=2)
        drawing.figure.supxlabel(
            f"Difference from {baseline.title} (right of 0 is better)", fontsize=9
        )
        title = f"Differences from {baseline.title}"
        told = "; ".join(f"{one.row.title} {one.group} {number(one.mean, '+.3f')}" for one in found)
        svg = drawing.svg(title, f"{told}.")
    return Figure(
        "differences",
        title,
        "Two questions, two intervals of 95 %. Circle: would the procedure win again on new "
        "training sets (Nadeau-Bengio corrected t over runs x folds)? Diamond: do these fixed "
        "models differ on new patients (paired bootstrap of patients)? Neither is adjusted for "
        "several rows; the p values in the tables are.",
        svg,
        ("Method", "Classes", "Difference", "New training sets", "Fixed models", "New patients"),
        tuple(_line(one) for one in found),
    )


def _difference(row: RowResults, told: Mapping[str, Any]) -> _Difference:
    training = (told["procedure_low"], told["procedure_high"])
    drawn = (told["patients_difference"], told["patients_low"], told["patients_high"])
    return _Difference(
        row,
        str(told["group"]),
        told["difference"],
        None if None in training else training,
        None if None in drawn else drawn,
    )


def _panel(
    drawing: Drawing, axis: Axes, found: Sequence[_Difference], order: Sequence[RowResults]
) -> None:
    axis.axvline(0, color=INK, linewidth=0.9)
    axis.grid(axis="y", visible=False)
    axis.locator_params(axis="x", nbins=5)
    for one in found:
        y = [row.key for row in order].index(one.row.key)
        told = f"{one.row.title}, {one.group}: {number(one.mean, '+.4f')}"
        parts = []
        if one.mean is not None and one.training is not None:
            low, high = one.training
            words = f"{told} [{low:+.4f}, {high:+.4f}] over new training sets"
            parts.append(
                (one.mean, low, high, y - 0.14, "o", _TRAINING, "new training sets", words)
            )
        if one.drawn is not None:
            value, low, high = one.drawn
            words = f"{told}; fixed models {value:+.4f} [{low:+.4f}, {high:+.4f}] over new patients"
            parts.append((value, low, high, y + 0.14, "D", _PATIENTS, "new patients", words))
        for value, low, high, height, marker, colour, label, words in parts:
            (bar,) = axis.plot([low, high], [height] * 2, color=colour, linewidth=1.6)
            (point,) = axis.plot([value], [height], marker, color=colour, markersize=5, label=label)
            for artist in (bar, point):
                drawing.tag(artist, row=slug(one.row), title=words)
        if not parts:
            missing = axis.text(0, y, "  no interval", va="center", color=MUTED)
            drawing.tag(missing, row=slug(one.row))


def _line(one: _Difference) -> Line:
    drawn = one.drawn or (None, None, None)
    return Line(
        (
            one.row.title,
            one.group,
            number(one.mean, "+.4f"),
            _interval(one.training),
            number(drawn[0], "+.4f"),
            _interval(None if one.drawn is None else one.drawn[1:]),
        ),
        slug(one.row),
    )


def _interval(interval: tuple[float, float] | None) -> str:
    return "none" if interval is None else f"[{interval[0]:+.4f}, {interval[1]:+.4f}]"
