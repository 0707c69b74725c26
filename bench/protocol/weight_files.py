"""Files of weights read without running anything in them.

PyTorch files are read with `weights_only=True` and an allow-list of classes that hold plain values;
there is no other way in. What a file is, is decided by its first bytes and not by its name.
"""

from __future__ import annotations

import argparse
import hashlib
import pathlib
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import MethodError, UsageError
from bench.protocol.torchscript import is_torchscript, read_torchscript

_CONTAINERS = ("state_dict", "model_state_dict", "model", "sd")
_HEAD = 512


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without containers and without `module.`.

    Raises:
        UsageError: there is no such file.
        MethodError: it holds no weights; says what it is and what to do.
    """
    if path.is_dir():
        raise UsageError(
            f"--weights {path} is a folder. Name the file in it, or give local-dir:{path} for a "
            "folder that open_clip or transformers wrote."
        )
    if not path.is_file():
        raise UsageError(f"--weights {path}: there is no such file.")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    _refuse_what_is_no_weights(path, head)
    if head.startswith(b"PK"):
        content = _zip(path)
    elif _is_safetensors(head):
        content = _safetensors(path)
    elif head.startswith(b"\x80"):  # how every pickle begins, torch's older files among them
        content = _torch(path)
    else:
        raise _cut(path, "it is in none of the formats .pt, .pth, .bin, .safetensors, .npz")
    return _unwrapped(content, path)


def _refuse_what_is_no_weights(path: Path, head: bytes) -> None:
    if not head:
        raise MethodError(f"{path} is empty. Fetch it again.")
    if head.startswith(b"version https://git-lfs"):
        raise MethodError(
            f"{path} is a Git LFS pointer of a few lines, not the weights. In its clone: "
            f"git lfs pull --include {path.name}"
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise MethodError(
            f"{path} is a web page: the download saved the site's answer and not the file. Open "
            "the link in a browser (a large file may ask for a confirmation) and save it again."
        )


def _zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        raise _cut(path, "its table of contents is missing") from None
    if all(name.endswith(".npy") for name in names):
        return _npz(path)
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return _torchscript(path) if is_torchscript(names) else _torch(path)
    inside = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".safetensors"))]
    raise MethodError(
        f"{path} is a zip archive and not itself a file of weights. Unpack it"
        + (f" and name the file inside: {', '.join(inside[:3])}." if inside else ".")
    )


def _torchscript(path: Path) -> dict[str, Tensor]:
    try:
        return read_torchscript(path)
    except Exception as error:  # whatever a pickle that is not what it should be runs into
        raise MethodError(
            f"{path} is a TorchScript archive of a kind that is not read here without running it "
            f"({_first_line(error)}). If you trust it: torch.jit.load(FILE).state_dict(), and "
            "safetensors.torch.save_file of that."
        ) from error


def _npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            prefixed = [name for name in arrays.files if name.startswith("sd/")]
            named = {name: arrays[name] for name in prefixed or arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise MethodError(f"{path}: an array cannot be read as plain numbers: {error}.") from error
    return {
        name.removeprefix("sd/"): torch.from_numpy(array)
        for name, array in named.items()
        if array.dtype.kind in "biuf"
    }


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 10**8


def _safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise _cut(path, str(error)) from error


def _allowed() -> list[Any]:
    """Classes of plain values that files of weights carry beside them.

    A path becomes one that touches no disk; numpy's scalars are best accuracies.
    """
    paths: list[Any] = [
        (pure, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for name, pure in (
            ("PosixPath", pathlib.PurePosixPath),
            ("WindowsPath", pathlib.PureWindowsPath),
        )
    ]
    scalar = np.float64(0).__reduce__()[0]
    scalars: list[Any] = [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "bool")),
    ]
    return [argparse.Namespace, *paths, *scalars]


def _torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_allowed()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch wonders at pickle protocols other than its own
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MethodError(
            f"{path} was not read: {_asked_for(error)}, and reading it could run code. If you "
            "trust it, load it where it was made, keep the tensors and save those alone: "
            "safetensors.torch.save_file(state_dict, OUT)."
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError, struct.error) as error:
        raise _cut(path, _first_line(error)) from error


def _asked_for(error: Exception) -> str:
    """What an unpickler was asked for that is not on the list."""
    found = re.search(
        r"GLOBAL ([\w.]+)|instantiate class (\S+)|unsupported (?!GLOBAL)(\S+)", str(error)
    )
    name = next((group for group in found.groups() if group), "") if found else ""
    return f"beside tensors it holds {name}" if name else "it holds more than tensors"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _cut(path: Path, why: str) -> MethodError:
    return MethodError(
        f"{path} ({path.stat().st_size:,} bytes) cannot be read as weights: {why}. Most often the "
        "download was cut short: compare its size and SHA-256 with the source and fetch it again."
    )


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[k] for k in _CONTAINERS if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        raise MethodError(f"{path} holds a {type(content).__name__} and not tensors by name.")
    state = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    if not state:
        keys = ", ".join(map(str, list(content)[:8]))
        raise MethodError(f"{path} holds no tensors by name; its entries are: {keys or 'none'}.")
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state
