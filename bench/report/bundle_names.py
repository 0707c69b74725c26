"""Names in a results bundle: public ones leave, any other gets a stand-in unless it may leave."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.classes import CLASSES
from bench.report.bundle_schema import WORDS
from bench.report.seen import common_name, known_names
from bench.runs.study import load_study

_LABEL_PARTS = re.compile(r"default|(released|from)-(\d+x)?[0-9a-f]{8}")


@dataclass
class Names:
    """Names as they leave: public ones as they are, others as `with_names` says."""

    public: frozenset[str]
    with_names: bool = False
    stand_ins: dict[tuple[str, str], str] = field(default_factory=dict)
    """By kind and name what stands for it."""
    told: dict[tuple[str, str], None] = field(default_factory=dict)
    """Kind and name of what is not public and leaves all the same."""

    def of(self, kind: str, name: str) -> str:
        """The name, or what stands for it: `kind-1`."""
        known = common_name(name) if kind in ("data", "source") else name
        if known in self.public:
            return known
        if self.with_names and WORDS.holds(name):
            self.told[kind, name] = None
            return name
        number = sum(known == kind for known, _ in self.stand_ins) + 1
        return self.stand_ins.setdefault((kind, name), f"{kind}-{number}")


def public_words() -> frozenset[str]:
    """Names that are everybody's: the classes, and the data sets that weights are known to see."""
    return (
        frozenset(CLASSES)
        | known_names()
        | {row.title for row in load_study()}
        | {"phantom", "inf", "tiny", "paper", "upstream"}
    )


def settings_of(config: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Settings of public names; of those that are words, the ones a public setting can take."""

    def leaves(key: str, value: Any) -> bool:
        plain = value is None or isinstance(value, bool | int | float)
        return _public(key, names) and (plain or (isinstance(value, str) and _public(value, names)))

    return {key: value for key, value in config.items() if leaves(key, value)}


def _public(word: str, names: Names) -> bool:
    return names.of("setting", word) == word


def label_of(label: str, names: Names) -> str:
    """A row's label where it is made of public settings only; else a stand-in."""

    def known(part: str) -> bool:
        key, sign, value = part.partition("=")
        number = re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?|None|True|False", value)
        of_setting = sign and key in names.public and (number or value in names.public)
        return bool(of_setting or _LABEL_PARTS.fullmatch(part))

    if all(map(known, label.split(","))):
        return label
    return names.of("row", label)


def title_of(title: str, row: str, method: str, label: str, names: Names) -> str:
    """A row's title where it is public, with or without the label behind it; else its method's.

    Args:
        title: what the row is called here, and `row` its label.
        method: what the method is called as it leaves, and `label` the row.
    """
    start = title.removesuffix(f" ({row})")
    if (start in names.public and (start == title or row == label)) or (
        names.with_names and WORDS.holds(title)
    ):
        return title
    return method if label == "default" else f"{method} ({label})"[:80]


def code_of(code: str) -> str:
    """The version of a method of ours; of another its checksum, or one of what it is called."""
    if re.fullmatch(r"v\d{1,4}|[0-9a-f]{64}", code):
        return code
    return hashlib.sha256(code.encode()).hexdigest()
