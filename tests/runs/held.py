"""A method that stops in its training while a file `hold` lies beside it, for tests of engines.

Copied into a test's folder, it is CheXzero but for the wait, in which it leaves a file `at-NODE`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from torch import Tensor

from bench.protocol.batches import Batch
from bench.protocol.method import Card
from methods.chexzero import CheXzero

HOLD = Path(__file__).with_name("hold")


class Held(CheXzero):
    card = Card(title="Held", citation="the tests", licence="MIT")

    def loss(self, batch: Batch) -> Tensor:
        until = time.monotonic() + 200
        while HOLD.exists() and time.monotonic() < until:
            HOLD.with_name(f"at-{_node()}").touch()
            time.sleep(0.05)
        return super().loss(batch)


def _node() -> str:
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        return str(ray.get_runtime_context().get_node_id())
    return os.environ.get("SLURMD_NODENAME", "here")
