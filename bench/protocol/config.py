"""What a user may set about a method: one frozen dataclass from the command line to the record."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from bench.errors import UsageError, unknown

_ADDED = "added"


def added(default: Any) -> Any:
    """A field that came after trials had been recorded, and changes none of them at its default.

    At that value it is left out of the record, so that older records keep their identity.
    """
    return field(default=default, metadata={_ADDED: True})


@dataclass(frozen=True)
class Config:
    """The training recipe every method shares; a method's own `Config` adds its fields.

    `tiny` is the same code at a size a laptop trains in seconds, `paper` the paper's values,
    `upstream` the recipe of the method's own authors (towers, preprocessing, optimiser, schedule).
    """

    preset: Literal["tiny", "paper", "upstream"] = "tiny"
    text: Literal["meta", "reports"] = "meta"
    """What is trained on: captions made from labels, or the reports' own words."""
    image_size: int = 112
    """Longest side in pixels; smaller stored images are used as they are."""
    batch_size: int = 32
    epochs: int = 9
    lr: float = 4e-3
    weight_decay: float = 0.1
    shift: float = 0.06
    """Augmentation: training images are moved by up to this share of their side, edges repeated."""
    clauses: Literal["all", "some"] = "some"
    """Augmentation of meta captions: every step reads all positive clauses in class order, as the
    paper has it, or a random part of what the labels say (`captions.ClauseSampler`)."""
    schedule: Literal["one_cycle", "plateau", "constant", "own"] = "one_cycle"
    """`own` asks the method for the rate of every step (`Method.rate`)."""
    plateau_factor: float = 0.1
    plateau_patience: int = 2
    """Epochs without a better validation loss before the learning rate falls."""
    early_stop: int | None = None
    """Epochs without a better validation loss before training ends; None = never."""
    select: Literal["best", "last"] = "last"
    """Which epoch is scored: the best validation loss, or the last."""

    optimiser: Literal["adamw", "sgd"] = added("adamw")
    """sgd has momentum 0.9."""
    clip_gradient: float | None = added(None)
    """Largest norm of a step's gradient; None = not clipped."""
    precision: Literal["float32", "bfloat16"] = added("float32")
    """Of the products of a training step; weights, optimiser, validation and scores are float32."""
    preprocessing: Literal["common", "own"] = added("common")
    """Pictures as all methods see them (padded to a square), or framed and augmented as the
    method's authors do (`Method.frame`)."""

    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "image_size": (8, 4096),
        "batch_size": (2, math.inf),
        "epochs": (1, math.inf),
        "lr": (1e-12, math.inf),
        "weight_decay": (0, math.inf),
        "shift": (0, 0.5),
        "plateau_factor": (0, 0.99),
        "plateau_patience": (0, math.inf),
        "early_stop": (0, math.inf),
        "clip_gradient": (1e-12, math.inf),
    }
    """Smallest and largest value of each number; a subclass extends it with its own."""

    def __post_init__(self) -> None:
        for key, (low, high) in self.RANGES.items():
            value = getattr(self, key)
            if value is not None and not low <= value <= high:
                reach = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
                raise UsageError(f"{key}={value}: {key} is {reach}.")

    @classmethod
    def tiny(cls) -> Self:
        """The preset of the embedded default."""
        return cls()

    @classmethod
    def paper(cls) -> Self:
        """The paper's values; what it leaves open is filled as the documents say."""
        return cls(
            preset="paper",
            image_size=224,
            batch_size=32,
            epochs=20,
            lr=1e-6,
            weight_decay=0.01,
            shift=0.0,
            clauses="all",
            schedule="plateau",
            early_stop=5,
            select="best",
        )

    @classmethod
    def upstream(cls) -> Self:
        """The recipe of the method's own authors; a method that has one overrides this.

        Raises:
            UsageError: the method declares none.
        """
        raise UsageError(f"{cls.__name__} has no preset 'upstream'. Presets: tiny, paper.")

    @classmethod
    def of_preset(cls, preset: str) -> Self:
        """The preset by name.

        Raises:
            UsageError: there is no such preset.
        """
        presets = {"tiny": cls.tiny, "paper": cls.paper, "upstream": cls.upstream}
        if preset not in presets:
            raise UsageError(unknown("preset", preset, presets))
        return presets[preset]()

    def with_settings(self, settings: Mapping[str, str]) -> Self:
        """This configuration with `key=value` settings, each read as the type of its field.

        Raises:
            UsageError: an unknown key, or a value its field cannot take.
        """
        hints = typing.get_type_hints(type(self))
        fields = [f.name for f in dataclasses.fields(self) if f.name != "preset"]
        values: dict[str, Any] = {}
        for key, text in settings.items():
            if key not in fields:
                raise UsageError(unknown("setting", key, fields))
            values[key] = _read(key, text, hints[key])
        return dataclasses.replace(self, **values)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the record; JSON has no infinity, so it becomes the word."""
        values: dict[str, Any] = {}
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if not (entry.metadata.get(_ADDED) and value == entry.default):
                values[entry.name] = "inf" if value == math.inf else value
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration that `as_dict` wrote."""
        plain: dict[str, Any] = {k: math.inf if v == "inf" else v for k, v in values.items()}
        return cls(**plain)


def _read(key: str, text: str, kind: Any) -> Any:
    """`text` as a value of the annotated type `kind`."""
    origin = typing.get_origin(kind)
    if origin is Literal:
        choices = typing.get_args(kind)
        if text not in map(str, choices):
            raise UsageError(unknown(f"value of {key}", text, map(str, choices)))
        return next(choice for choice in choices if str(choice) == text)
    if origin in (types.UnionType, typing.Union):
        options = typing.get_args(kind)
        if type(None) in options and text.lower() == "none":
            return None
        return _read(key, text, next(option for option in options if option is not type(None)))
    if kind is bool:
        if text.lower() in {"true", "false"}:
            return text.lower() == "true"
        raise UsageError(f"{key}={text}: a value of {key} is true or false.")
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{key}={text}: a value of {key} is a {kind.__name__}.") from None
