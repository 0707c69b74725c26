"""MLflow (extra `mlflow`) in a folder of files; a study is an experiment.

Every attempt at a trial is a run of its own. The store of files is the one that needs no server and
no database, and that several processes may write; MLflow calls it old, and takes it only where
MLFLOW_ALLOW_FILE_STORE is set, here and for `mlflow ui --backend-store-uri FOLDER`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.runs.loggers import Entry, numbers_of, results_of, settings_of
from bench.runs.trial import TrialSpec

_ENVIRONMENT = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}


class Log:
    def start(self, trial: TrialSpec, folder: Path) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=folder.resolve().as_uri())
        # Two workers that both find no experiment would each make one.
        with FileLock(folder / ".lock"):
            there = self._client.get_experiment_by_name(trial.study)
            experiment = (
                self._client.create_experiment(trial.study)
                if there is None
                else there.experiment_id
            )
        name = f"{trial.row_folder} run {trial.run} fold {trial.fold}"
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        for key, value in settings_of(trial).items():
            self._client.log_param(self._run, key, value)
        self._last = 0

    def epoch(self, entry: Entry) -> None:
        self._last = entry["epoch"]
        self._write(numbers_of(entry))

    def end(self, record: Mapping[str, Any]) -> None:
        self._write(results_of(record))
        ended = "FINISHED" if record["status"] == "done" else "FAILED"
        self._client.set_terminated(self._run, ended)

    def _write(self, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._client.log_metric(self._run, name, value, step=self._last)
