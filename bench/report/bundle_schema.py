"""What a results bundle may hold, field by field, and how one is read that anybody may have made.

A bundle is one JSON file. Every field is named here with what it may hold; `bench export` writes
nothing else and `bench import` takes nothing else. A digest shows that a bundle is as it was
written, not who wrote it: whoever changes the content can change the digests with it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from bench.errors import ResultsError

FORMAT, VERSION = "cxr-bench results bundle", 1
LARGEST = 32 * 2**20
"""Bytes; ten rows of ten runs of five folds take about 3.5 million."""
POLICIES = ("pair", "positive", "own")
PACKAGES = ("cxr-bench", "torch", "open_clip_torch", "timm", "transformers", "numpy")


@dataclass(frozen=True)
class Leaf:
    """A value: what it has to be, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Keyed:
    """An object whose keys are data, too."""

    keys: Leaf
    of: Any


def _text(words: str, pattern: str) -> Leaf:
    made = re.compile(pattern)
    return Leaf(words, lambda value: isinstance(value, str) and made.fullmatch(value) is not None)


def _hex(digits: int) -> Leaf:
    return _text(f"{digits} hex digits", rf"[0-9a-f]{{{digits}}}")


def _choice(*known: Any) -> Leaf:
    words = " or ".join(map(repr, known))
    return Leaf(words, lambda value: any(type(value) is type(k) and value == k for k in known))


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 2**63 and math.isfinite(value)


def _or_none(leaf: Leaf) -> Leaf:
    return Leaf(f"{leaf.words}, or null", lambda value: value is None or leaf.holds(value))


_COUNT = Leaf("a count", _whole)
_SHARE = Leaf("a number from 0 to 1", lambda value: _finite(value) and 0 <= value <= 1)
_YES_NO = _choice(True, False)
# No slash, backslash, colon or at-sign: no path, address or account fits.
WORDS = _text("a name", r"[\w(][\w .,;+=()\[\]'-]{0,79}")
_STUDY = _text("a folder's name", r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_METHOD = _text("a method's name, and no file's", r"(?!.*\.py\Z)[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_LABEL = _text("a row's label", r"[A-Za-z0-9_=.,+-]{1,80}")
_SETTING = Leaf(
    "a number, a word, true, false or null",
    lambda value: value is None or type(value) is bool or _finite(value) or WORDS.holds(value),
)
_RELEASE = _text("a version", r"\d{1,4}(\.\d{1,5}){1,3}((a|b|rc|\.dev|\.post)\d{1,4})?(\+\w{1,8})?")
_CODE = _text("a version or checksum of code", r"v\d{1,4}|[0-9a-f]{64}")

_METRICS = {name: [_or_none(_SHARE)] for name in ("auroc", "auroc_pooled", "ap")}
_TRIAL = {
    "id": _hex(16),
    "run": _COUNT,
    "fold": _COUNT,
    "record": _hex(64),
    "scores": _or_none(_hex(64)),
    "train": _COUNT,
    "validation": _COUNT,
    "test": _COUNT,
    "train_patients": _or_none(_COUNT),
    "test_patients": _or_none(_COUNT),
    "partition": _or_none(_hex(64)),
    "n_pos": [_or_none(_COUNT)],
    "n_neg": [_or_none(_COUNT)],
    "metrics": Keyed(_choice(*POLICIES), _METRICS),
    "python": _or_none(_RELEASE),
    "device": _choice("cpu", "gpu", None),
    "packages": {name: _or_none(_RELEASE) for name in PACKAGES},
    "commit": _or_none(_hex(40)),
    "digest": _hex(64),
}
_ROW = {
    "method": _METHOD,
    "label": _LABEL,
    "title": WORDS,
    "code": _CODE,
    "track": _choice("trained", "released"),
    "protocol": _COUNT,
    "prompts": _hex(12),
    "config": Keyed(_text("a setting's name", r"[A-Za-z_][A-Za-z0-9_]{0,63}"), _SETTING),
    "settings_withheld": _COUNT,
    "weights": [{"sha256": _hex(64), "name": WORDS}],
    "weights_seen_known": _YES_NO,
    "weights_seen": [WORDS],
    "weights_seen_by": _choice("checksum", "card", None),
    "trials": [_TRIAL],
}
SCHEMA = {
    "format": _choice(FORMAT),
    "schema": _choice(VERSION),
    "program": _or_none(_RELEASE),
    "study": _STUDY,
    "folds": _COUNT,
    "seed": _COUNT,
    "data": {
        "fingerprint": _hex(64),
        "name": WORDS,
        "synthetic": _YES_NO,
        "images": _COUNT,
        "patients": _COUNT,
        "sources": [WORDS],
        "classes": [{"class": WORDS, "positive_patients": _or_none(_COUNT)}],
    },
    "withheld_below": {"patients_a_cell": _COUNT, "patients_a_class": _COUNT},
    "decimals": _or_none(_COUNT),
    "rows": [_ROW],
    "digest": _hex(64),
}


def allowed(schema: Any = SCHEMA, path: str = "") -> Iterator[str]:
    """Path of every value that a bundle may hold; `[]` for a list's entries, `*` for a name."""
    if isinstance(schema, Leaf):
        yield path
    elif isinstance(schema, list):
        yield from allowed(schema[0], f"{path}[]")
    elif isinstance(schema, Keyed):
        yield from allowed(schema.of, f"{path}.*")
    else:
        for key, part in schema.items():
            yield from allowed(part, f"{path}.{key}".removeprefix("."))


def refuse_unlike(value: Any, schema: Any = SCHEMA, path: str = "") -> None:
    """Compares a bundle with the schema, value by value.

    Raises:
        ResultsError: a field is missing, unknown, or holds what it may not; with its path.
    """
    if isinstance(schema, Leaf):
        if not schema.holds(value):
            _refuse(path, f"is not {schema.words}")
    elif isinstance(schema, list):
        if not isinstance(value, list):
            _refuse(path, "is not a list")
        for place, entry in enumerate(value):
            refuse_unlike(entry, schema[0], f"{path}[{place}]")
    elif not isinstance(value, dict):
        _refuse(path or "the file", "is not an object")
    elif isinstance(schema, Keyed):
        for key, entry in value.items():
            if not schema.keys.holds(key):
                _refuse(path, f"has a key that is not {schema.keys.words}")
            refuse_unlike(entry, schema.of, f"{path}.{key}")
    else:
        if missing := sorted(set(schema) - set(value)):
            _refuse(path or "the file", f"lacks {missing[0]}")
        if set(value) - set(schema):
            _refuse(path or "the file", "has a field that a bundle has not")
        for key, part in schema.items():
            refuse_unlike(value[key], part, f"{path}.{key}".removeprefix("."))


def digest_of(entry: Mapping[str, Any]) -> str:
    """SHA-256 of a bundle or of one of its trials, less the digest in it."""
    told = {key: value for key, value in entry.items() if key != "digest"}
    return hashlib.sha256(canonical(told).encode()).hexdigest()


def canonical(value: Any) -> str:
    """The one text of a value: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_bundle(path: Path) -> dict[str, Any]:
    """A bundle that keeps the schema, makes sense and fits its digests.

    Raises:
        ResultsError: it cannot be read, is none, is damaged or was changed.
    """
    try:
        if not path.is_file():
            raise ResultsError(f"{path} is not a file that is there.")
        with path.open("rb") as file:
            written = file.read(LARGEST + 1)
        if len(written) > LARGEST:
            raise ResultsError(f"{path} has more than {LARGEST >> 20} MiB: no results bundle.")
        content = json.loads(written, object_pairs_hook=_object, parse_constant=_no_number)
    except OSError as error:
        raise ResultsError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(
            f"{path} is no results bundle ({_short(error)}). Ask for a file that "
            "`bench export` wrote."
        ) from error
    try:
        _refuse_other_format(content)
        refuse_unlike(content)
        refuse_nonsense(content)
        _refuse_changed(content)
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from error
    return dict(content)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return made


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _short(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:100]


def _refuse_other_format(content: Any) -> None:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ResultsError("this is no results bundle. Ask for a file that `bench export` wrote.")
    if content.get("schema") != VERSION:
        raise ResultsError(
            "a bundle of another version of the format; this program reads "
            f"version {VERSION}. Update the program, or have it exported anew."
        )


def refuse_nonsense(bundle: Mapping[str, Any]) -> None:
    """What no field alone tells: lengths, repetitions, sums."""
    names = [entry["class"] for entry in bundle["data"]["classes"]]
    images, places = bundle["data"]["images"], set()
    if not names or len(set(names)) < len(names) or not bundle["rows"] or bundle["folds"] < 2:
        _refuse("data.classes, rows or folds", "cannot be of a study")
    for r, row in enumerate(bundle["rows"]):
        if "preset" not in row["config"] or not row["trials"]:
            _refuse(f"rows[{r}]", "lacks its preset or trials")
        for t, trial in enumerate(row["trials"]):
            where = f"rows[{r}].trials[{t}]"
            place = (f"{row['method']}-{row['label']}", trial["run"], trial["fold"])
            if place in places or trial["fold"] >= bundle["folds"] or trial["run"] > 9999:
                _refuse(where, "stands where another trial stands, or where none can")
            places.add(place)
            if "pair" not in trial["metrics"] or not 0 < trial["test"] <= images:
                _refuse(where, "lacks metrics, or tests more images than there are")
            columns = [trial["n_pos"], trial["n_neg"]]
            columns += [
                values for policy in trial["metrics"].values() for values in policy.values()
            ]
            if any(len(column) != len(names) for column in columns):
                _refuse(where, f"does not speak of {len(names)} classes throughout")
            for pos, neg in zip(trial["n_pos"], trial["n_neg"], strict=True):
                if (pos is None) != (neg is None) or (pos or 0) + (neg or 0) > trial["test"]:
                    _refuse(where, "counts more images than it tests")


def _refuse_changed(bundle: Mapping[str, Any]) -> None:
    for row in bundle["rows"]:
        for trial in row["trials"]:
            if trial["digest"] != digest_of(trial):
                raise ResultsError(
                    f"the digest of {row['title']}, run {trial['run']} fold {trial['fold']}, does "
                    "not fit: it was changed after it was written. Ask for the bundle again."
                )
    if bundle["digest"] != digest_of(bundle):
        raise ResultsError(
            "the digest does not fit: the file was changed after it was written. Ask for the "
            "bundle again."
        )


def _refuse(path: str, problem: str) -> NoReturn:
    raise ResultsError(f"{path} {problem}; that is no bundle as this program writes it.")
