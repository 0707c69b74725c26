"""What a record has to be for the code that reads it, whoever wrote it.

A digest shows that a record is as it was written, not that this program wrote it. What is looked at
here is what a reader takes for granted: types, ranges, and classes that are the same throughout.
What only circumstances tell (`cost`, `provenance`) may be absent, but not of another kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

_POLICIES = ("pair", "positive", "own")  # a later version may know more
_MOST = 9999  # runs and folds; a table has a place for each, whether it is there or not


def fault(record: Mapping[str, Any]) -> str | None:
    """The first thing in a finished record that cannot be; None for a sound one."""
    try:
        _hold(record, _DONE)
        _cohere(record)
    except _Unlike as unlike:
        return str(unlike)
    return None


class _Unlike(Exception):
    """Raised with the place of a value and what it is not."""


def _hold(value: Any, form: Any, path: str = "") -> None:
    """Compares a value with a form: a test, a list's entry, or an object's keys (`?`: may lack)."""
    if callable(form):
        if not form(value):
            raise _Unlike(f"{path}: {str(value)[:40]!r} cannot stand there")
    elif isinstance(form, list):
        if not isinstance(value, list):
            raise _Unlike(f"{path}: is no list")
        for place, entry in enumerate(value):
            _hold(entry, form[0], f"{path}[{place}]")
    elif not isinstance(value, Mapping):
        raise _Unlike(f"{path or 'the record'}: is no object")
    elif "*" in form:
        for key, entry in value.items():
            _hold(entry, form["*"], f"{path}.{key[:40]}")
    else:
        for key, part in form.items():
            name = key.rstrip("?")
            if name in value:
                _hold(value[name], part, f"{path}.{name}".lstrip("."))
            elif name == key:
                raise _Unlike(f"{path or 'the record'}: lacks {name}")


def _cohere(record: Mapping[str, Any]) -> None:
    spec, data = record["spec"], record["data"]
    classes = spec["classes"]
    if not spec["fold"] < spec["folds"] or len({*classes}) < len(classes):
        raise _Unlike("spec: the fold is not one of the folds, or a class stands twice")
    if missing := [name for name in classes if name not in data["positive_patients"]]:
        raise _Unlike(f"data.positive_patients: lacks {missing[0]}")
    if not 0 < record["split"]["test"] <= data["images"]:
        raise _Unlike("split.test: more images than there are, or none")
    if not record["metrics"]:
        raise _Unlike("metrics: of no prompts")
    for policy in _POLICIES:
        if policy not in record["metrics"]:
            continue
        summary = record["metrics"][policy]
        if [entry["class"] for entry in summary["classes"]] != classes:
            raise _Unlike(f"metrics.{policy}: not of the classes of the trial, in their order")
        for entry in summary["classes"]:
            defined = any(entry.get(name) is not None for name in ("auroc", "ap"))
            if defined and entry["n_pos"] == 0:
                raise _Unlike(f"metrics.{policy}: {entry['class']} is defined without positives")


def _is(*kinds: type) -> Callable[[Any], bool]:
    """Of exactly one of the types: True is no number here."""
    return lambda value: type(value) in kinds


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 2**63 and math.isfinite(value)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _few(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _share(value: Any) -> bool:
    return value is None or (_number(value) and 0 <= value <= 1)


def _or_none(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


_text = _is(str)
_SPEC = {
    **dict.fromkeys(
        (
            "study", "row", "title", "method", "method_code", "track", "data", "fingerprint",
            "prompts",
        ),
        _text,
    ),
    "config": {},
    "classes": [_text],
    "seed": _is(int),
    "folds": lambda value: _few(value) and value > 0,
    "run": _few,
    "fold": _few,
    "protocol?": _is(int),
    "weights?": [_text],
    "weights_names?": [_text],
    "external?": [{"name": _text, "shared": [_text], "unseen": [_text], "fingerprint": _text}],
}  # fmt: skip
_COST = {
    "seconds?": _number,
    "phases?": {},
    "peak_memory_mb?": _number,
    "peak_gpu_memory_mb?": _or_none(_number),
    "energy_j?": _or_none(_number),
    "started_over?": _text,
}
_SUMMARY = {
    "classes": [
        {
            "class": _text,
            **dict.fromkeys(("n_pos", "n_neg"), _or_none(_count)),
            **dict.fromkeys(("auroc?", "auroc_pooled?", "ap?"), _share),
        }
    ],
    **{f"{group}?": {"auroc": _share} for group in ("total", "base", "rare")},
}
_DATA = {
    "name": _text,
    "synthetic": _is(bool),
    "images": _count,
    "patients": _count,
    "positive_patients": {"*": _or_none(_count)},
    "sources?": [_text],
}
_DONE = {
    "id": _text,
    "spec": _SPEC,
    "cost?": _COST,
    "kept?": {"model?": {}, "embeddings?": {}},
    "origin?": {"study": _text, "bundle": _text},
    "data": _DATA,
    "split": {
        "test": _count,
        **dict.fromkeys(("train?", "validation?", "without_text?"), _or_none(_count)),
        **dict.fromkeys(("train_patients?", "test_patients?"), _or_none(_count)),
        "digest?": _or_none(_text),
    },
    "metrics": {f"{policy}?": _SUMMARY for policy in _POLICIES},
    "training?": {
        "history?": [
            {"epoch": _count, **dict.fromkeys(("loss?", "validation?"), _or_none(_number))}
        ],
        "kept_epoch?": _or_none(_count),
        "epochs?": _count,
        "steps?": _count,
    },
    "diagnostics?": {},
    "provenance?": {
        "finished?": _text,
        "python?": _or_none(_text),
        "device?": _or_none(_text),
        "packages?": {},
        "git?": lambda value: value is None or isinstance(value, dict),
    },
    "checkpoints?": {"files": [{"name": _text}], "seen": _or_none(_is(list))},
    "external?": {"*": {"data": _DATA, "scored": _count, "metrics": {"*": {"classes": [{}]}}}},
}  # fmt: skip
