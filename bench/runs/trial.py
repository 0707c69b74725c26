"""A trial: one method, one row, one run, one fold. Its identity is what can change its scores."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.protocol.references import name_of

# Raise when the protocol itself changes scores (batching, scoring, seeds): every finished trial
# then is stale.
PROTOCOL_VERSION = 1
# What a trial is called and where its parts lie, which changes no score.
_NAMES = ("study", "row", "title", "method_reference", "data", "weights_names")

_NAMES_OF_EXTERNAL = ("name", "data")

Track = Literal["trained", "released"]
State = Literal["done", "missing", "stale", "failed"]
"""How a trial stands against the records that are there."""


@dataclass(frozen=True)
class ExternalSet:
    """Other data that the models of a study score beside their test folds, and what is asked."""

    name: str
    """Names its files and `bench table --on`."""
    data: str
    """As typed."""
    fingerprint: str
    shared: tuple[str, ...]
    """Classes that both it and the training data label."""
    unseen: tuple[str, ...]
    """Classes that it labels and the training data do not."""
    prompts: str
    """Digest of the prompts of all policies."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What is asked of its images, in the order of the columns of the scores."""
        return (*self.shared, *self.unseen)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the record."""
        return asdict(self) | {"shared": list(self.shared), "unseen": list(self.unseen)}


@dataclass(frozen=True)
class TrialSpec:
    """Everything that decides the scores of a trial, and the names it goes by."""

    study: str
    row: str
    """What sets this row apart from the method's preset, e.g. `default` or `nu=2`."""
    title: str
    method: str
    method_reference: str
    method_code: str
    track: Track
    data: str
    fingerprint: str
    config: Mapping[str, Any]
    classes: tuple[str, ...]
    prompts: str
    """Digest of the prompts of all policies."""
    seed: int
    folds: int
    run: int
    fold: int
    weights: tuple[str, ...] = ()
    """SHA-256 of what `--weights` named, in its order; what is scored, or trained from."""
    weights_references: tuple[str, ...] = ()
    """The same as typed: where they lie on this machine."""
    external: tuple[ExternalSet, ...] = ()
    """Other data that the trial's model scores too."""
    keep: tuple[str, ...] = ()
    """What to keep beside the record: "model", "embeddings". Changes no score, is not recorded."""

    def identity(self) -> dict[str, Any]:
        """What can change scores and nothing else: no title, path, device or job count."""
        return identity_of(self.as_dict())

    @property
    def id(self) -> str:
        """Sixteen hex digits of the identity."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def partition_seed(self) -> tuple[int, int]:
        """Seed of the fold partition: the same for every method of a study."""
        return (self.seed, self.run)

    @property
    def trial_seed(self) -> tuple[int, int, int]:
        """Seed of initialisation and order; run 7 can be redone alone."""
        return (self.seed, self.run, self.fold)

    def folder(self, results: Path) -> Path:
        """Where the record of this trial lives."""
        return trials_folder(results, self.study) / place_of(self.as_dict())

    @property
    def row_folder(self) -> str:
        return f"{self.method}-{self.row}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the record."""
        told = asdict(self) | {
            "protocol": PROTOCOL_VERSION,
            "classes": list(self.classes),
            "config": dict(self.config),
        }
        # What there was not when the first trials were recorded stands in a spec only where it is.
        references = told.pop("weights_references")
        told.pop("keep")
        if told.pop("weights"):
            names = [name_of(reference) for reference in references]
            told |= {"weights": list(self.weights), "weights_names": names}
        if told.pop("external"):
            told["external"] = [one.as_dict() for one in self.external]
        return told


def identity_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a spec as a record holds it, whatever version wrote it."""
    told = {"protocol": 1} | {k: v for k, v in spec.items() if k not in _NAMES}
    if "external" in told:
        told["external"] = [
            {k: v for k, v in one.items() if k not in _NAMES_OF_EXTERNAL}
            for one in told["external"]
        ]
    return told


def place_of(spec: Mapping[str, Any]) -> Path:
    """Folders of a trial below its study's trials: its row, then its run and fold."""
    return Path(f"{spec['method']}-{spec['row']}", f"run-{spec['run']:02d}_fold-{spec['fold']}")


def trials_folder(results: Path, study: str) -> Path:
    """The folder of a study's trials."""
    return results / study / "trials"


def weights_label(track: Track, digests: Sequence[str], settings: str) -> str:
    """The name of a row with weights: its track or origin, eight digits of each, its settings.

    >>> weights_label("released", ["0123456789"], "default")
    'released-01234567'
    """
    if not digests:
        return settings
    several = hashlib.sha256("".join(digests).encode()).hexdigest()
    short = digests[0][:8] if len(digests) == 1 else f"{len(digests)}x{several[:8]}"
    start = f"released-{short}" if track == "released" else f"from-{short}"
    return start if settings == "default" else f"{start},{settings}"


def row_label(config: Mapping[str, Any], preset: Mapping[str, Any]) -> str:
    """The name of a row: its settings that differ from the preset, or `default`.

    >>> row_label({"nu": 2.0, "lr": 1e-6}, {"nu": 4.0, "lr": 1e-6})
    'nu=2.0'
    """
    changed = {key: value for key, value in config.items() if preset[key] != value}
    label = ",".join(f"{key}={value}" for key, value in sorted(changed.items())) or "default"
    safe = re.sub(r"[^A-Za-z0-9=.,_+-]", "_", label)
    if len(safe) <= 80:
        return safe
    return f"{safe[:63]}-{hashlib.sha256(label.encode()).hexdigest()[:16]}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What changed between two identities, in words short enough for one line.

    >>> differences({"prompts": "a", "config": {"lr": 1}}, {"prompts": "b", "config": {"lr": 2}})
    'prompts changed; lr 1 -> 2'
    """
    changes = []
    for key in sorted({*old, *new} - {"config"}):
        if old.get(key) != new.get(key):
            short = all(isinstance(side.get(key), int | None) for side in (old, new))
            detail = f" {old.get(key)} -> {new.get(key)}" if short else " changed"
            changes.append(f"{_WORDS.get(key, key)}{detail}")
    before, after = old.get("config", {}), new.get("config", {})
    changes += [
        f"{key} {before.get(key)} -> {after.get(key)}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
    # "prompts" sorts before most; configuration changes come last because they are the longest.
    return "; ".join(changes) or "its record names another identity"


_WORDS = {
    "external": "test data or their classes",
    "fingerprint": "data",
    "method_code": "method code",
    "protocol": "protocol version",
}
