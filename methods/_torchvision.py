"""Makes `import torchvision` work beside a CPU build of torch.

PyPI's torchvision is linked against the CUDA libraries, so next to a CPU-only torch its compiled
part does not load and `import torchvision` dies with "operator torchvision::nms does not exist"
(pytorch/vision#9077), taking open_clip, timm and transformers' CLIP with it. None of them calls the
two operators whose mere declaration is missing. Where the compiled part loads, nothing is touched.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Literal

import torch

_declared: list[torch.library.Library] = []  # must outlive the call, or the operators vanish


@cache
def make_torchvision_importable() -> Literal["absent", "native", "declared"]:
    """How torchvision can be imported from here on: its own operators, ours declared, or not."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return "absent"
    for compiled in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(compiled))
            return "native"
        except OSError:
            continue
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return "declared"
