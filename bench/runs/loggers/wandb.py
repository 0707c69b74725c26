"""Weights & Biases (extra `wandb`), offline: `wandb sync` sends it, if and when a person does.

Every attempt at a trial is a run of its own; those of a row are a group.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.runs.loggers import Entry, numbers_of, results_of, settings_of
from bench.runs.trial import TrialSpec


class Log:
    def start(self, trial: TrialSpec, folder: Path) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        # A run says by itself whose machine it ran on, from which folder and by which code; a later
        # sync would send that along.
        quiet = wandb.Settings(
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            mode="offline",
            dir=str(folder.parent),  # in which it makes a folder of its own name
            project=trial.study,
            group=trial.row_folder,
            name=f"{trial.row_folder} run {trial.run} fold {trial.fold}",
            config=settings_of(trial),
            reinit="create_new",
            settings=quiet,
        )

    def epoch(self, entry: Entry) -> None:
        self._run.log(numbers_of(entry), step=entry["epoch"])

    def end(self, record: Mapping[str, Any]) -> None:
        self._run.summary.update(results_of(record))
        self._run.finish(exit_code=0 if record["status"] == "done" else 1)
