"""What can be recomputed from the numbers that the paper prints, and what then does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, log2

from bench.classes import BASE, CLASSES, RARE
from bench.runs.study import PAPER_STUDY, Claims, Row, load_claims, load_study
from bench.stats.significance import required_effect

_HALF = 0.0005  # the paper prints three digits


def audit_lines(rows: Sequence[Row] | None = None, claims: Claims | None = None) -> Iterator[str]:
    """The list that `bench table --audit` prints: a heading, then a finding a line."""
    rows = load_study() if rows is None else rows
    claims = load_claims() if claims is None else claims
    printed = [row for row in rows if row.paper]
    yield f"Recomputed from what the paper prints ({PAPER_STUDY.name}); nothing was measured here."
    yield f"Total AUC against the mean of {len(BASE)} base and {len(RARE)} rare classes:"
    yield from (f"- {_total(row)}" for row in printed)
    yield f"Reaching p < {claims.alpha:g}:"
    yield from (f"- {line}" for line in _reach(printed, claims))
    yield "What the paper says twice:"
    yield from (f"- {line}" for line in _said_twice(printed, claims))


def weighted_total(paper: dict[str, float]) -> tuple[float, float, float]:
    """The mean over all classes from base and rare, and its bounds given their rounding."""
    value = (len(BASE) * paper["base"] + len(RARE) * paper["rare"]) / len(CLASSES)
    return value, value - _HALF, value + _HALF


def _total(row: Row) -> str:
    paper = dict(row.paper or {})
    total, (value, low, high) = paper["total"], weighted_total(paper)
    told = f"{row.title}: {value:.4f} ({low:.4f} to {high:.4f} with rounding), printed {total:.3f}"
    if low <= total + _HALF + 1e-9 and total - _HALF - 1e-9 <= high:
        return f"{told}: fits."
    parts = (paper["base"], paper["rare"])
    if not min(parts) - 2 * _HALF <= total <= max(parts) + 2 * _HALF:
        return f"{told}: cannot be; no mean lies outside its parts."
    middle = sum(parts) / 2
    half = f"; base and rare in equal parts would give {middle:.4f}"
    return f"{told}: does not fit{half if abs(middle - total) <= 2 * _HALF + 1e-9 else ''}."


def _reach(rows: Sequence[Row], claims: Claims) -> Iterator[str]:
    alpha = claims.alpha
    for runs in (claims.runs_in_text, claims.runs_in_caption):
        yield (
            f"Wilcoxon signed-rank over {runs} runs: the smallest two-sided p is {2 / 2**runs:.3g}"
            f"{', out of reach' if 2 / 2**runs >= alpha else ''}."
        )
    yield f"Wilcoxon needs {ceil(log2(2 / alpha) + 1e-12)} runs that all agree."
    for runs in (claims.runs_in_text, claims.runs_in_caption):
        yield f"Paired t over {runs} runs as if independent: {_effect(alpha, runs, 1, 0.0)}."
    ratio = 1 / (claims.folds - 1)
    runs, folds = claims.runs_in_caption, claims.folds
    yield f"Paired t over {runs} x {folds} values as if independent: " + (
        f"{_effect(alpha, runs, folds, 0.0)}."
    )
    yield f"Nadeau-Bengio over {runs} x {folds} values: {_effect(alpha, runs, folds, ratio)}."
    baseline = next((row.paper for row in rows if row.baseline and row.paper), None)
    needed = required_effect(alpha, runs, folds, ratio)
    if baseline is not None and needed is not None:
        best = max(rows, key=lambda row: (row.paper or {}).get("total", 0.0))
        gain = dict(best.paper or {})["total"] - baseline["total"]
        yield (
            f"Largest printed difference from the baseline, total: {gain:+.3f} ({best.title}). Its "
            f"sd over runs x folds would have to be below {gain / needed:.3f}; the caption bounds "
            f"the sd of a result by {claims.sd_below:g} and gives no sd of a difference."
        )


def _effect(alpha: float, runs: int, folds: int, ratio: float) -> str:
    effect = required_effect(alpha, runs, folds, ratio)
    return (
        "no p value"
        if effect is None
        else (f"a mean difference of {effect:.2f} standard deviations of the differences")
    )


def _said_twice(rows: Sequence[Row], claims: Claims) -> Iterator[str]:
    baseline = next((row for row in rows if row.baseline), None)
    if baseline is not None and claims.baseline_starred:
        yield (
            f"{baseline.title} carries the asterisk for a difference from the baseline: from "
            "itself the difference is 0 and has no p value."
        )
    if claims.runs_in_caption != claims.runs_in_text:
        yield (
            f"Runs: {claims.runs_in_caption} in the caption of Table 2, {claims.runs_in_text} in "
            "the implementation details."
        )
    if claims.classes_in_text != claims.classes_in_abstract:
        yield (
            f"Classes: {claims.classes_in_text} in the description of the data, "
            f"{claims.classes_in_abstract} in the abstract and {len(BASE)} + {len(RARE)} = "
            f"{len(BASE) + len(RARE)} in the tables."
        )
    if baseline is not None and baseline.paper:
        best = max(rows, key=lambda row: (row.paper or {}).get("total", 0.0))
        total = dict(best.paper or {})["total"]
        gains = [
            f"{100 * (total - row.paper['total']):.1f} over {row.title}"
            for row in rows
            if row.paper and row.method == baseline.method
        ]
        yield (
            f"Gain: {claims.points_in_abstract:g} points of AUC in the abstract; in the tables "
            f"{best.title} has {' and '.join(gains)} (total)."
        )
    below = [row.title for row in rows if row.paper and row.paper["total"] < 0.5]
    if below:
        yield f"Below chance in total: {', '.join(below)}; check sign, prompts, weights."
