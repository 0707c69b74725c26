"""TensorBoard (extra `tensorboard`): `tensorboard --logdir RESULTS/STUDY/logs/tensorboard`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.runs.loggers import Entry, numbers_of, results_of, settings_of
from bench.runs.trial import TrialSpec, place_of


class Log:
    """An event file a trial, below its row; what an earlier attempt left there is removed."""

    def start(self, trial: TrialSpec, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        place = folder / place_of(trial.as_dict())
        for left in place.glob("events.out.tfevents.*"):
            left.unlink()
        self._writer = SummaryWriter(str(place))
        self._last = 0
        settings = json.dumps(settings_of(trial), indent=1)
        # TensorBoard shows texts as markdown.
        self._writer.add_text("settings", "\n".join(f"    {line}" for line in settings.split("\n")))

    def epoch(self, entry: Entry) -> None:
        self._last = entry["epoch"]
        self._write(numbers_of(entry))

    def end(self, record: Mapping[str, Any]) -> None:
        self._write(results_of(record))
        self._writer.close()

    def _write(self, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, self._last)
        self._writer.flush()
