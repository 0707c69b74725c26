"""What `--weights` may name: a file, `hf-hub:OWNER/NAME[@REVISION]` or `local-dir:FOLDER`."""

from __future__ import annotations

from pathlib import Path

HUB, FOLDER = "hf-hub:", "local-dir:"


def is_named(reference: str) -> bool:
    """Whether it names a model, which is a folder, and not a file."""
    return reference.startswith((HUB, FOLDER))


def name_of(reference: str) -> str:
    """What weights are called in a record: without the folders they lie in on this machine.

    >>> name_of("hf-hub:owner/name"), name_of("../weights/best.pt"), name_of("local-dir:a/b/")
    ('hf-hub:owner/name', 'best.pt', 'local-dir:b')
    """
    if reference.startswith(HUB):
        return reference
    if reference.startswith(FOLDER):
        return FOLDER + Path(reference.removeprefix(FOLDER)).resolve().name
    return Path(reference).name
