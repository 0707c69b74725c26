"""What a table can be asked for. Light: the command line shows these names in its help."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.classes import BASE, BETWEEN, CLASSES, HEAD, NORMAL, RARE, TAIL
from bench.errors import UsageError

TABLES = ("2", "3", "classes", "pairs", "runs")


@dataclass(frozen=True)
class Metric:
    """A number for each class; the first three come with every trial, the others from scores."""

    key: str
    title: str
    cross_fitted: bool = False
    """One value a run, over all its folds, instead of one a fold."""
    note: str = ""


_FOLDS = "found for each fold on the other folds of its run, so there is one value a run"
METRICS: dict[str, Metric] = {
    "auroc": Metric("auc", "AUC"),
    "ap": Metric("ap", "AP", note="AP: average precision; blind ranking gives the prevalence."),
    "ap-ratio": Metric(
        "ap_ratio",
        "AP ratio",
        note="AP ratio: average precision over prevalence; blind ranking gives 1.",
    ),
    "f1": Metric(
        "f1", "F1", cross_fitted=True, note=f"F1 at the threshold of highest F1, {_FOLDS}."
    ),
    "ece": Metric(
        "ece",
        "ECE",
        cross_fitted=True,
        note="ECE (lower is better): expected calibration error over 15 bins of equal counts, of "
        f"Platt-scaled scores; the scaling is {_FOLDS}.",
    ),
    "brier": Metric(
        "brier",
        "Brier",
        cross_fitted=True,
        note="Brier score (lower is better) of Platt-scaled scores; the scaling is "
        f"{_FOLDS}. It falls with prevalence: compare rows, not groups.",
    ),
}


@dataclass(frozen=True)
class Group:
    """Some of the 40 classes, by a declared list; None takes every class of the data."""

    key: str
    title: str
    names: frozenset[str] | None
    unseen: bool = False
    """Of external data the classes that the training data do not label; no other group has any."""

    def holds(self, name: str, *, unseen: bool = False) -> bool:
        """Whether a class, unseen in training or not, belongs to the group."""
        return unseen == self.unseen and (self.names is None or name in self.names)


def _group(key: str, title: str, names: Sequence[str]) -> Group:
    return Group(key, title, frozenset(names))


_TOTAL = Group("total", "Total", None)
_UNSEEN = Group("unseen", "Unseen", None, unseen=True)
_WITHOUT = [[n for n in names if n != NORMAL] for names in (CLASSES, BASE)]
GROUPINGS: dict[str, tuple[Group, ...]] = {
    "base-rare": (_TOTAL, _group("base", "Base", BASE), _group("rare", "Rare", RARE)),
    "head-medium-tail": (
        _TOTAL,
        _group("head", "Head", HEAD),
        _group("medium", "Medium", BETWEEN),
        _group("tail", "Tail", TAIL),
    ),
    "without-normal": (
        _group("total_without_normal", "Total without Normal", _WITHOUT[0]),
        _group("base_without_normal", "Base without Normal", _WITHOUT[1]),
        _group("rare", "Rare", RARE),
    ),
}


@dataclass(frozen=True)
class Options:
    """How a table is made; the defaults are those of `bench table`."""

    metric: str = "auroc"
    grouping: str = "base-rare"
    policy: str = "pair"
    baseline: str | None = None
    """METHOD or METHOD:ROW; None takes the baseline of the study file."""
    alpha: float = 1e-5
    min_patients: int = 10
    """Classes with fewer positive patients in the whole data set are undefined."""
    paper: bool = False
    on: str | None = None
    """Name of the external data whose scores are shown; None shows those of the test folds."""
    unseen: bool = False
    """Whether models were asked for classes of it that were not trained on: a column of its own."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UsageError(f"--alpha {self.alpha} is not between 0 and 1.")
        if self.on is not None and self.paper:
            raise UsageError("--paper: the paper prints no numbers on external data (--on).")
        if self.on is not None and METRICS[self.metric].cross_fitted:
            raise UsageError(
                f"--metric {self.metric} takes thresholds or scalings from other folds, and "
                "external data have none: each model scores all of them. Use auroc, ap or ap-ratio."
            )

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of classes that get a column each."""
        return (*GROUPINGS[self.grouping], *((_UNSEEN,) if self.unseen else ()))

    def stem(self, which: str) -> str:
        """File name of a table: made otherwise, it is another file, and the usual one stays.

        >>> Options().stem("2"), Options(metric="ap", alpha=0.05).stem("pairs")
        ('table2', 'table-pairs-ap-alpha-0.05')
        """
        parts = [f"table{which}" if which.isdigit() else f"table-{which}"]
        usual = Options()
        for field, told in (
            ("metric", self.metric),
            ("grouping", self.grouping),
            ("policy", self.policy),
            ("baseline", f"baseline-{self.baseline}"),
            ("alpha", f"alpha-{self.alpha:g}"),
            ("min_patients", f"min-patients-{self.min_patients}"),
            ("paper", "paper"),
            ("on", f"on-{self.on}"),
        ):
            if getattr(self, field) != getattr(usual, field):
                parts.append(told)
        # A row is called METHOD:SETTINGS, and not every file system takes every character.
        return re.sub(r"[^\w.,=+-]", "-", "-".join(parts))
