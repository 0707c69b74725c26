"""What of a method's own attributes can be kept in a file and put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from bench.protocol.method import Method

_OF_HARNESS = {"config", "checkpoints", "model", "weights", "complete", "vocabulary"}


def plain_attributes(method: Method) -> dict[str, Any]:
    """The attributes of a method that `torch.load` reads without running anything in a file.

    Without what the harness and `build` set, and without tensors that share memory with the model's
    state: put back, these would be copies that no step changes.

    Returns:
        `values` and `arrays` (numpy's, as tensors), each by the attribute's name.
    """
    of_model = _of_model(method)

    def plain(value: Any) -> bool:
        if isinstance(value, torch.Tensor):
            return type(value) is torch.Tensor and _memory(value) not in of_model
        if type(value) is dict:
            return all(plain(part) for pair in value.items() for part in pair)
        if type(value) in (list, tuple, set):
            return all(map(plain, value))
        return value is None or type(value) in (bool, int, float, str)

    found = {name: value for name, value in vars(method).items() if name not in _OF_HARNESS}
    return {
        "values": {name: value for name, value in found.items() if plain(value)},
        "arrays": {
            name: torch.from_numpy(value.copy())
            for name, value in found.items()
            if isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
        },
    }


def unkept(method: Method) -> list[str]:
    """The attributes that `plain_attributes` leaves out and that `build` does not make again.

    A training that went on without them would come to other numbers. None of a method that has a
    `state_dict` of its own: it says what it needs.
    """
    from bench.protocol.method import Method

    if type(method).state_dict is not Method.state_dict:
        return []
    kept = plain_attributes(method)
    made = {name for cls in type(method).__mro__ for name in vars(cls).get("made_by_build", ())}
    others = vars(method).keys() - _OF_HARNESS - made - kept["values"].keys()
    of_model = _of_model(method)
    return sorted(
        name
        for name in others - kept["arrays"].keys()
        if not (isinstance(value := vars(method)[name], Tensor) and _memory(value) in of_model)
    )


def _of_model(method: Method) -> set[int]:
    """Where the tensors of the model's state lie in memory."""
    return {_memory(tensor) for tensor in method.model.state_dict().values()}


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
