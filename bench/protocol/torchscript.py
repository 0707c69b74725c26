"""The tensors of a TorchScript archive, without loading the program that it is.

Such an archive is a zip: `data.pkl` holds the modules as plain attributes, `data/` the numbers, and
`code/` the program, which is never looked at. OpenAI's CLIP weights come this way.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(names: list[str]) -> bool:
    """Whether a zip with these members is a TorchScript archive."""
    return any(name.endswith("constants.pkl") for name in names)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers by name, as `state_dict` of the loaded module would give them.

    Raises:
        pickle.UnpicklingError: the archive asks for anything but modules and tensors.
        zipfile.BadZipFile: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl")
        root = pickled.removesuffix("data.pkl")
        module = _Reader(archive, root, io.BytesIO(archive.read(pickled))).load()
    state: dict[str, Tensor] = {}
    _collect(module, "", state)
    return state


def _collect(module: Any, prefix: str, state: dict[str, Tensor]) -> None:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            state[prefix + name] = value
        elif type(value).__name__ == "_Module":
            _collect(value, f"{prefix}{name}.", state)


class _Reader(pickle.Unpickler):
    """Makes inert modules and tensors, and nothing else, whatever the pickle asks for."""

    def __init__(self, archive: zipfile.ZipFile, root: str, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self._archive, self._root = archive, root

        # A class of its own for every file: what one file does to it, no other sees.
        class _Module:
            pass

        self._module = _Module

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return self._module
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name in _DTYPES:
            return name
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return _listed
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        kind, storage, key, _, count = pid
        if kind != "storage" or not str(key).isdecimal():
            raise pickle.UnpicklingError(f"it asks for {kind} {key}")
        content = bytearray(self._archive.read(f"{self._root}data/{key}"))
        dtype = _DTYPES[storage]
        if not content:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(content, dtype=dtype, count=count)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: Any, *_: Any) -> Tensor:
    if math.prod(size) == 0:
        return torch.empty(size, dtype=storage.dtype)
    if math.prod(size) > storage.numel():
        raise pickle.UnpicklingError("a tensor is larger than its storage")
    return torch.as_strided(storage, size, stride, offset).clone()


def _listed(values: list[Any], *_: Any) -> list[Any]:
    return list(values)
