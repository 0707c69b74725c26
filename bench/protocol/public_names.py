"""What a user's choices can be called without telling anything of the user: names in this program.

A file of a user's own, or a method from somebody's package, adds none.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from bench.protocol.config import Config
from bench.protocol.method import find_method, method_names, ours


def public_names() -> frozenset[str]:
    """Our methods, their titles, settings with the words these can take, published weights and the
    data sets that these have seen."""
    return frozenset(name for method in method_names() if method in ours() for name in _of(method))


def _of(method: str) -> Iterator[str]:
    cls = find_method(method).cls
    card = cls.card
    yield from (method, card.title, *(weights.name for weights in card.weights), *(card.seen or ()))
    yield from _of_settings(cls.Config)


def _of_settings(config: type[Config]) -> Iterator[str]:
    hints = typing.get_type_hints(config)
    for entry in dataclasses.fields(config):
        yield entry.name
        yield from _choices(hints[entry.name])


def _choices(kind: Any) -> Iterator[str]:
    """The words that an annotated type lists.

    >>> list(_choices(typing.Literal["a", "b"] | None))
    ['a', 'b']
    """
    if typing.get_origin(kind) is typing.Literal:
        yield from (choice for choice in typing.get_args(kind) if isinstance(choice, str))
    else:
        for part in typing.get_args(kind):
            yield from _choices(part)
