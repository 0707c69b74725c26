"""What a kept model of a trial says of a person's own images."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bench.data import Dataset
from bench.data.build import refuse_constant
from bench.data.decode import Box, read_square
from bench.data.polarity import odd_pictures
from bench.data.prints import picture_print
from bench.errors import BenchError, ResultsError, UsageError, unknown
from bench.protocol.batches import Split
from bench.protocol.method import Method
from bench.protocol.prompts import HEADLINE
from bench.runs.cohort import Cohort, Finding
from bench.runs.keep import rebuilt
from bench.runs.record import MODEL, read_record, read_scores
from bench.runs.scoring import score

RESEARCH = (
    "For research, not for diagnosis: this is no medical device, and no one has tested what it "
    "says of a patient."
)
SYNTHETIC = (
    "The model was trained on drawn, synthetic X-rays; it says nothing about a real patient."
)


class Picture(NamedTuple):
    """An image as the harness stores one."""

    path: Path
    square: np.ndarray
    """(S, S) uint8."""
    box: Box
    notes: tuple[str, ...]
    """What was done to it, and what about it looks wrong."""


@dataclass(frozen=True)
class Predictor:
    """A finished trial's model beside the cohort that it was tested on."""

    record: Mapping[str, Any]
    method: Method
    stored_at: int
    """Side in pixels of the images that the trial trained on."""
    mean: np.ndarray
    """(S, S) uint8 mean of these as the model sees them."""
    cohort: Cohort

    @classmethod
    def of_trial(
        cls, folder: Path, weights: Sequence[str] = (), method: str | None = None
    ) -> Predictor:
        """The predictor of a trial's folder.

        Args:
            weights: what the trial started from, if from anything (`bench.runs.keep.rebuilt`).
            method: the file of its method, if it is one.

        Raises:
            ResultsError: there is no finished trial, or its model was not kept or is damaged.
            UsageError: other weights than the trial's, or the method's file was not given.
            MethodError: the model cannot be built again.
        """
        record = read_record(folder)
        if record is None or record["status"] != "done":
            raise ResultsError(f"{folder} holds no finished trial whose files check out.")
        kept = rebuilt(folder, record, weights, method)
        return cls(record, *kept, Cohort.of_trial(record, read_scores(folder)))

    @property
    def classes(self) -> tuple[str, ...]:
        return self.cohort.classes

    @cached_property
    def statements(self) -> tuple[str, ...]:
        """What has to be said beside every number."""
        synthetic = (SYNTHETIC,) if self.record["data"]["synthetic"] else ()
        return (RESEARCH, *synthetic, self._calibrated_on())

    def part(self, pictures: Sequence[Picture]) -> Split:
        """The pictures as the model's input, made as its training images were."""
        config = self.method.config
        frame = self.method.frame if config.preprocessing == "own" else None
        nothing = ("",) * len(pictures)
        return Split(
            self._dataset(pictures),
            np.arange(len(pictures)),
            nothing,
            nothing,
            config.image_size,
            torch.device("cpu"),
            frame,
        )

    def findings(self, pictures: Sequence[Picture]) -> list[list[Finding]]:
        """Of each picture all classes, the most probable first."""
        if not pictures:
            return []
        with torch.random.fork_rng(devices=[]):
            scores = score(self.method, self.part(pictures), self.classes)[HEADLINE]
        return self.cohort.findings(scores)

    def told(self) -> dict[str, Any]:
        """What an answer says of the model and of what its numbers are read against."""
        spec, data = self.record["spec"], self.record["data"]
        return {
            "trial": {
                "id": self.record["id"],
                **{key: spec[key] for key in ("study", "title", "method", "row", "run", "fold")},
                "track": spec["track"],
            },
            "calibrated_on": {
                "data": data["name"],
                "synthetic": data["synthetic"],
                "images": len(self.cohort.scores),
                "patients": len(np.unique(self.cohort.patients)),
            },
            "statements": list(self.statements),
        }

    def _calibrated_on(self) -> str:
        spec, cohort = self.record["spec"], self.cohort
        trained = "which the model was not trained on"
        if "checkpoints" in self.record:
            trained += " here (whether the weights it started from have seen them is not known)"
        return (
            f"Probabilities are Platt-scaled on, and ranks are among, the {len(cohort.scores)} "
            f"test images of {len(np.unique(cohort.patients))} patients of {spec['title']}, "
            f"{self.record['data']['name']}, run {spec['run']}, fold {spec['fold']}, {trained}. "
            "They hold for images like those, and where a finding is as common as there."
        )

    def _dataset(self, pictures: Sequence[Picture]) -> Dataset:
        n, nothing = len(pictures), np.array([""] * len(pictures))
        empty = np.zeros((n, len(self.classes)), np.uint8)
        return Dataset(
            name="images",
            classes=self.classes,
            pixels=np.stack([picture.square for picture in pictures]),
            boxes=np.array([picture.box for picture in pictures], np.int16),
            labels=empty,
            mask=empty.astype(bool),
            images=tuple(str(picture.path) for picture in pictures),
            patients=nothing,
            studies=nothing,
            sources=nothing,
            findings=("",) * n,
            impressions=("",) * n,
            fingerprint="",
            synthetic=False,
            left_out={},
        )


def read_pictures(paths: Sequence[Path], size: int) -> tuple[list[Picture], dict[str, str]]:
    """PNG, JPEG or DICOM files as a data set's are read, and those that cannot be, with the reason.

    Args:
        size: side in pixels at which they are stored.
    """
    pictures: list[Picture] = []
    failed: dict[str, str] = {}
    for path in paths:
        notes: list[str] = []
        try:
            square, box = read_square(path, size, notes)
            refuse_constant(square, box)
        except BenchError as error:
            failed[str(path)] = str(error)
            continue
        odd = odd_pictures([picture_print(square, box)])
        notes += [how for how, places in odd.items() if places]
        pictures.append(Picture(path, square, box, tuple(notes)))
    return pictures, failed


def find_trial(name: str, results: Path) -> Path:
    """The folder of a trial: given itself, as STUDY/ROW/run-00_fold-0, or by its id.

    Raises:
        UsageError: there is no such trial; says which there are with a kept model.
    """
    given = Path(os.path.expanduser(name))  # Path's own raises where there is no such user
    if (given / "record.json").is_file():
        return given
    study, _, rest = name.strip("/").partition("/")
    if rest and (results / study / "trials" / rest / "record.json").is_file():
        return results / study / "trials" / rest
    for path in sorted(results.glob("*/trials/*/*/record.json")):
        if _id(path) == name:
            return path.parent
    kept = [path.parent for path in results.glob(f"*/trials/*/*/{MODEL}")]
    if not kept:
        raise UsageError(
            f"No trial '{name}', and none in {results} has kept its model. "
            "Run: bench run --method cxrcml --runs 1 --keep model"
        )
    names = [f"{path.parts[-4]}/{path.parts[-2]}/{path.parts[-1]}" for path in kept]
    raise UsageError(unknown("trial", name, names))


def _id(path: Path) -> str | None:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return told.get("id") if isinstance(told, dict) else None
