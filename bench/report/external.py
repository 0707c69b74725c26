"""Records as if their trials had been tested on external data, and what can be said of these.

Every fold's model of every run scores all of the external data. The value of a run is the mean over
its models; runs differ by luck of partition and training, never by the patients tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from bench.report.results import RowResults

ONE_TEST_SET = "external data are one test set for all models"


def on_external(
    records: Sequence[tuple[Path, dict[str, Any]]], name: str, study: str
) -> list[tuple[Path, dict[str, Any]]]:
    """The records that have scores on external data, told as if these were what was tested.

    `data`, `metrics` and `spec.classes` are of the external data; `on` says what they are.

    Raises:
        UsageError: none has, or not on data of that name.
    """
    names = sorted({known for _, record in records for known in record.get("external", {})})
    if not names:
        raise UsageError(
            f"{study} has no scores on external data. Run: bench run --test-data {name} ..."
        )
    if name not in names:
        raise UsageError(unknown("external data", name, names))
    return [
        (folder, _view(record, name))
        for folder, record in records
        if name in record.get("external", {})
    ]


def _view(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    told = record["external"][name]
    (asked,) = (one for one in record["spec"]["external"] if one["name"] == name)
    metrics = {
        policy: {"classes": [*shared["classes"], *told["unseen_metrics"][policy]["classes"]]}
        for policy, shared in told["metrics"].items()
    }
    return dict(record) | {
        "spec": record["spec"] | {"classes": [*asked["shared"], *asked["unseen"]]},
        "data": told["data"],
        "metrics": metrics,
        "split": record["split"] | {"test": told["scored"]},
        "on": told | asked | {"trained_on": record["data"]},
    }


def external_notes(row: RowResults) -> list[str]:
    """What was trained on, how a run's value comes about, and what of unseen classes is known."""
    on = row.external
    if on is None:
        names = sorted(row.told.get("external", {}))
        more = ", ".join(f"bench table --on {name}" for name in names)
        return [f"These models were tried on external data too: {more}."] if names else []
    trained, models = on["trained_on"], row.told["spec"]["folds"]
    origin = "Scored beside the test folds of" if row.track == "released" else "Trained on:"
    notes = [
        f"External data: nothing was trained on them here. {origin} {trained['name']}, "
        f"{trained['images']} images of {trained['patients']} patients. Each of the {models} "
        f"models of a run scores all {on['scored']} images with a label of a class that was asked "
        f"({on['scored_patients']} patients); a run's value is the mean over its models. Total and "
        "its parts are of the classes that both data sets label.",
        _overlap(row),
    ]
    if on["unseen"]:
        notes.append(_unseen(row))
    return notes


def _overlap(row: RowResults) -> str:
    assert row.external is not None
    note = (
        "Whether a patient is in both data sets under two ids cannot be told from them; such a "
        "patient may have been trained on."
    )
    both = row.external["patient_ids_in_both"]
    if both and not row.told["data"]["synthetic"]:
        note += (
            f" {both} patient ids are in both: if ids of the two mean the same people, these are "
            "no external patients."
        )
    return note


def _unseen(row: RowResults) -> str:
    assert row.external is not None
    named = row.external["unseen_in_texts"]
    note = (
        f"Unseen: classes that the training data do not label, asked by prompts alone: "
        f"{', '.join(row.external['unseen'])}."
    )
    told = [f"{name} in {count}" for name, count in named.items() if count]
    if told:
        note += (
            f" Not unheard of: texts that were trained on hold the name (in the first trial of "
            f"{row.title} {', '.join(told)})."
        )
    if row.told["spec"].get("weights"):
        note += " The texts behind the given weights may hold the names; nobody counted there."
    return note


def untested(row: RowResults) -> str:
    """Why nothing is said about new training sets."""
    return (
        "New training sets, would the procedure win again? Not tested: the corrected t-test weighs "
        "the test part of a resampled data set against its training part, and "
        f"{row.told['data']['name']} is one test set for all models; a t-test over runs or models "
        "would count trainings on the same patients as independent, and speak of the luck of "
        "training alone. So there is no asterisk."
    )


def drawn_words(row: RowResults, run: int | None, replicates: int, seed: int) -> str:
    """The bootstrap over patients of external data in one sentence or two."""
    assert row.external is not None
    models = f"models of run {run}" if run is not None else "models of a run"
    sources = " within each source" if len(row.told["data"]["sources"]) > 1 else ""
    return (
        f"Paired bootstrap of the {row.external['scored_patients']} patients, drawn with all their "
        f"images {replicates} times, seed {seed}, one draw for all {models}; AUC is taken for each "
        f"model{sources} and averaged over the models. In brackets 95 % percentile intervals; p is "
        f"Holm-adjusted and cannot be below {2 / (replicates + 1):.2g}."
    )
