"""Weights to start from: a file read without running anything in it, or a named model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """What `--weights` named, read."""

    reference: str
    """As typed: a file, `hf-hub:OWNER/NAME` or `local-dir:FOLDER`."""
    digest: str
    """SHA-256 of the file, or of the folder's files; for a hub model its name and revision."""
    state: Mapping[str, Tensor]
    """Tensors under upstream names, without `module.` and without the file's other contents.
    Empty for a named model, which its library opens."""
    folder: Path
    """Where the file lies: companions such as `vocab.txt` are looked for there."""
