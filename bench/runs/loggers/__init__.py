"""Where a trial is logged while it runs: a file of lines always, other places where asked.

A logger is a class `Log` in a module of this folder, one for each name. Whatever it does, it cannot
fail a trial, and it is given nothing of any image or patient: settings, one entry an epoch, and
means over classes. It writes below `RESULTS/STUDY/logs` and speaks with no server.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bench.errors import UsageError, unknown
from bench.runs.loggers.jsonl import JsonLines
from bench.runs.trial import TrialSpec

NAMES = ("tensorboard", "wandb", "mlflow")
FOLDER = "logs"
_GROUPS = ("total", "base", "rare")

Entry = Mapping[str, Any]
"""Of one epoch: `epoch`, `lr`, `loss`, `validation`; a value that is undefined is None."""


class Logger(Protocol):
    """One place that a trial is logged to."""

    def start(self, trial: TrialSpec, folder: Path) -> None:
        """Called once, before the first epoch; `folder` is the logger's own and is there."""

    def epoch(self, entry: Entry) -> None:
        """Called after every epoch; first with those before an interruption that is gone on
        from."""

    def end(self, record: Mapping[str, Any]) -> None:
        """Called with what the record will say, finished or failed."""


class Logs:
    """All loggers of one trial; one that fails is not called again."""

    def __init__(self, trial: TrialSpec, results: Path, names: Sequence[str] = ()) -> None:
        self.entries: list[dict[str, Any]] = []
        """Of the epochs so far."""
        self.failure: str | None = None
        """The first failure of a logger, in words that are the same for all trials it befalls."""
        self._file = JsonLines(trial.folder(results))
        self._loggers: dict[str, Logger] = {}
        for name in names:
            self._call(name, partial(self._start, name, trial, results))

    def epoch(self, entry: dict[str, Any]) -> None:
        """Logs an epoch."""
        self.entries.append(entry)
        self._file.epoch(entry)
        for name, logger in list(self._loggers.items()):
            self._call(name, partial(logger.epoch, entry))

    def end(self, record: Mapping[str, Any]) -> None:
        """Ends all logs; there is nothing to log after it."""
        for name, logger in list(self._loggers.items()):
            self._call(name, partial(logger.end, record))

    def _start(self, name: str, trial: TrialSpec, results: Path) -> None:
        logger: Logger = importlib.import_module(f"{__name__}.{name}").Log()
        folder = results / trial.study / FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        logger.start(trial, folder)
        self._loggers[name] = logger

    def _call(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # somebody else's library may raise anything
            self._loggers.pop(name, None)
            self.failure = self.failure or f"--log {name}: {type(error).__name__}: {error}"


def require(names: Sequence[str]) -> None:
    """Sees that the loggers can be imported here, before any trial begins.

    Raises:
        UsageError: there is no such logger, or its extra is not installed.
    """
    for name in names:
        if name not in NAMES:
            raise UsageError(unknown("logger", name, NAMES))
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"--log {name} needs {name}: pip install 'cxr-bench[{name}]'.")


def settings_of(trial: TrialSpec) -> dict[str, Any]:
    """What sets a trial apart, as plain values; no path, and no name of a file."""
    return {
        **trial.config,
        "method": trial.method,
        "row": trial.row,
        "track": trial.track,
        "seed": trial.seed,
        "folds": trial.folds,
        "run": trial.run,
        "fold": trial.fold,
        "trial": trial.id,
    }


def numbers_of(entry: Entry) -> dict[str, float]:
    """The curves of an epoch: its values that are defined, but for its number.

    >>> numbers_of({"epoch": 2, "loss": 0.5, "validation": None})
    {'loss': 0.5}
    """
    return {
        key: float(value)
        for key, value in entry.items()
        if key != "epoch" and isinstance(value, int | float)
    }


def results_of(record: Mapping[str, Any]) -> dict[str, float]:
    """What a trial came to: AUC by prompt policy and group of classes where defined, and seconds.

    >>> results_of({"metrics": {"pair": {"total": {"auroc": 0.7}, "rare": {"auroc": None}}}})
    {'test/pair/total_auc': 0.7}
    """
    told = {
        f"test/{policy}/{group}_auc": metrics[group]["auroc"]
        for policy, metrics in record.get("metrics", {}).items()
        for group in _GROUPS
        if group in metrics
    }
    if "cost" in record:
        told["seconds"] = record["cost"]["seconds"]
    return {name: float(value) for name, value in told.items() if value is not None}
