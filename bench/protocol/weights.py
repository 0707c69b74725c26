"""Weights to start from: a file read without running anything in it, or a named model.

`load_checkpoint` reads what `--weights` named, `load_strictly` puts it into a module, and `fit_of`
says beforehand what strict loading would meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.errors import MethodError
from bench.protocol.method import Fit
from bench.protocol.named_models import digest_of_folder, folder_of
from bench.protocol.references import is_named, name_of
from bench.protocol.weight_files import digest_of_file, read_state

LISTED = 8
"""How many keys of a kind an error names before it only counts them."""


@dataclass(frozen=True)
class Checkpoint:
    """What `--weights` named, read."""

    reference: str
    """As typed: a file, `hf-hub:OWNER/NAME` or `local-dir:FOLDER`."""
    digest: str
    """SHA-256 of the file, or of the folder's files: the same wherever they lie."""
    state: Mapping[str, Tensor]
    """Tensors on the CPU as stored (possibly fp16) under upstream names, without `module.` and
    without the file's other contents. Empty for a named model, which its library opens."""
    folder: Path
    """Where the file lies: companions such as `vocab.txt` are looked for there. For a named model
    its folder."""

    @property
    def name(self) -> str:
        """What a record calls it: the reference without the folders of this machine."""
        return name_of(self.reference)

    @property
    def named(self) -> bool:
        """Whether it is a named model and not a file."""
        return is_named(self.reference)


def load_checkpoint(reference: str) -> Checkpoint:
    """What `--weights REFERENCE` names; nothing in it is executed.

    Args:
        reference: a file (.pt, .pth, .bin, .safetensors, .npz), `hf-hub:OWNER/NAME[@REVISION]` or
            `local-dir:FOLDER`.

    Raises:
        UsageError: there is no such file or folder.
        MethodError: the file holds no weights, or is not what it should be; says what to do.
    """
    if is_named(reference):
        folder = folder_of(reference)
        return Checkpoint(reference, digest_of_folder(folder), {}, folder)
    path = Path(reference).expanduser()
    state = read_state(path)
    return Checkpoint(reference, digest_of_file(path), state, path.resolve().parent)


def read_folder(folder: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of the first of these files that a named model's folder holds.

    Raises:
        MethodError: it holds none of them, or the file cannot be read.
    """
    for name in names:
        if (folder / name).is_file():
            return read_state(folder / name)
    raise MethodError(f"{folder} holds no weights; looked for {', '.join(names)}.")


def fit_of(
    expected: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    *,
    sizes: str,
    harmless: Iterable[str] = (),
) -> Fit:
    """What strict loading of `state` where `expected` is wanted would meet.

    Args:
        expected: key -> tensor of the wanted shape (may be on the meta device).
        sizes: the model in words.
        harmless: patterns (`*` stands for anything) of keys that are dropped when they are not
            expected.
    """
    patterns = tuple(harmless)
    extra = [key for key in state if key not in expected]
    dropped = {key for key in extra if any(fnmatchcase(key, pattern) for pattern in patterns)}
    return Fit(
        sizes=sizes,
        missing=tuple(key for key in expected if key not in state),
        unexpected=tuple(key for key in extra if key not in dropped),
        misshapen=tuple(
            f"{key}: {_shape(state[key])}, {_shape(wanted)}"
            for key, wanted in expected.items()
            if key in state and state[key].shape != wanted.shape
        ),
        harmless=tuple(key for key in extra if key in dropped),
    )


def load_strictly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    where: str,
    harmless: Iterable[str] = (),
) -> None:
    """Copies `state` into `module`; every key must fit, half precision becomes the module's own.

    Args:
        state: tensors under the module's own names.
        where: what is loaded, for the error; e.g. the checkpoint's reference.
        harmless: patterns of keys that are dropped when the module has none of that name.

    Raises:
        MethodError: keys are missing, unexpected or of another shape; it names them.
    """
    expected = module.state_dict()
    fit = fit_of(expected, state, sizes="", harmless=harmless)
    if not fit.exact:
        raise MethodError(f"{where} does not fit: {misfit(fit)}. See: bench weights {where}")
    with torch.no_grad():
        module.load_state_dict(
            {key: state[key].to(expected[key].dtype) for key in expected}, strict=True
        )


def misfit(fit: Fit) -> str:
    """What does not fit, in words, naming at most LISTED keys of a kind.

    >>> misfit(Fit("", missing=("a", "b")))
    '2 missing keys (a, b)'
    """
    kinds = (
        ("missing", fit.missing),
        ("unexpected", fit.unexpected),
        ("misshapen", fit.misshapen),
    )
    return "; ".join(
        f"{len(keys)} {kind} {'key' if len(keys) == 1 else 'keys'} ({_listed(keys)})"
        for kind, keys in kinds
        if keys
    )


def _listed(keys: tuple[str, ...]) -> str:
    return ", ".join(keys[:LISTED]) + (", ..." if len(keys) > LISTED else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
