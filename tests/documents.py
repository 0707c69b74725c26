"""The commands that README.md and docs/ show, as a reader would copy them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_INDENTED = re.compile(r"^(?: {4})+(.*)$", re.MULTILINE)
_SETTING = re.compile(r"[A-Z_]+=\S*$")
_OURS = re.compile(r"(bench|python -m) ")


@dataclass(frozen=True)
class Command:
    """One command, without comments, environment and the brackets of optional parts."""

    document: str
    words: tuple[str, ...]
    copied: bool
    """From a block, to be copied as it is; else it is spoken of within a sentence or table."""

    def __str__(self) -> str:
        return " ".join(self.words)


def commands_of(document: Path) -> list[Command]:
    """The commands of `bench` and of our own modules, in the order of the document."""
    text = document.read_text(encoding="utf-8")
    found: list[tuple[int, Command]] = []
    for block in _FENCE.finditer(text):
        if block[1] not in {"python", "toml"}:
            for words in _lines(block[2]):
                found.append((block.start(), Command(document.name, words, copied=True)))
    prose = _FENCE.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)
    for line in _INDENTED.finditer(prose):
        for words in _lines(line[1]):
            found.append((line.start(), Command(document.name, words, copied=True)))
    for span in _SPAN.finditer(prose):
        for words in _lines(" ".join(span[1].split())):
            found.append((span.start(), Command(document.name, words, copied=False)))
    return [command for _, command in sorted(found, key=lambda entry: entry[0])]


def _lines(block: str) -> Iterator[tuple[str, ...]]:
    for line in block.replace("\\\n", " ").splitlines():
        for part in line.split(" && "):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:  # an apostrophe of a sentence
                continue
            while words and _SETTING.match(words[0]):
                del words[0]
            if words and _OURS.match(" ".join(words) + " "):
                plain = (word.replace("[", "").replace("]", "") for word in words)
                yield tuple(word for word in plain if word != "...")
