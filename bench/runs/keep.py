"""What is kept of a trial beside its record when `bench run --keep` asks for it.

    model.safetensors    the trained weights; none of a released row, whose weights are the user's
    model.json           what it takes besides the record and the weights to build the model again
    mean.png             mean of training images as the model sees them, which saliency starts from
    embeddings.npz       of the test images: `before` and `after` training (N, d), `rows` (N,), in
                         the order of scores.npz; none of a method that embeds nothing

None holds a report's text or one person's picture. A vocabulary that a text tower drew from the
training texts is kept as its pieces alone; for a tower that takes whole words these are the words
of the reports.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.errors import MethodError, ResultsError, UsageError
from bench.protocol.method import Method, find_method
from bench.runs.record import EMBEDDINGS, MEAN, MODEL, WEIGHTS, Writer
from bench.runs.trial import TrialSpec

if TYPE_CHECKING:
    from bench.protocol.batches import Split
    from bench.protocol.weights import Checkpoint

_AVERAGED = 1024  # training images in the mean picture
_LARGEST = 1 << 14  # pixels a side of stored images
_HALF = (1e-2, 6e4)  # largest numbers between which half a float loses nothing a picture shows


class Keeper:
    """Gathers what a trial was asked to keep; draws no random number and changes no score."""

    def __init__(
        self,
        spec: TrialSpec,
        part: Callable[[np.ndarray], Split],
        *,
        train: np.ndarray,
        test: np.ndarray,
    ) -> None:
        """
        Args:
            part: makes a split of rows of the data set.
            train: rows of the training patients' images.
            test: rows of the test fold, in the order of the scores.
        """
        self._spec, self._part = spec, part
        self._train, self._test = train, test
        self._before: np.ndarray | None = None

    def as_built(self, method: Method) -> None:
        """To be called when the modules are there and nothing is trained."""
        if "embeddings" in self._spec.keep:
            self._before = _embedded(method, self._part(self._test))

    def as_trained(self, method: Method) -> dict[str, dict[str, Writer]]:
        """To be called after scoring: by what was asked for, what writes each of its files."""
        kept: dict[str, dict[str, Writer]] = {}
        if "model" in self._spec.keep:
            some = self._train[:: max(1, len(self._train) // _AVERAGED)]
            kept["model"] = _model_files(method, self._spec, self._part(some))
        if "embeddings" in self._spec.keep:
            kept["embeddings"] = {}
            after = _embedded(method, self._part(self._test))
            if after is not None and self._before is not None:
                rows = self._test.astype(np.int32)
                arrays = {"before": self._before, "after": after, "rows": rows}
                kept["embeddings"] = {EMBEDDINGS: lambda path: _write_arrays(path, arrays)}
        return kept


class Rebuilt(NamedTuple):
    """A kept model on the CPU, ready to score, and what else of its training is known."""

    method: Method
    stored_at: int
    """Side in pixels at which its images were stored."""
    mean: np.ndarray
    """(S, S) uint8, the mean of its training images as it sees them."""


def method_of(spec: Mapping[str, Any], file: str | None) -> str:
    """The reference of a record's method that may be imported.

    A record may come from anybody, and importing a file runs it: which one is for the user to say.

    Args:
        file: the `.py` file that the user has named.

    Raises:
        UsageError: the method is a file and none is named, or it is none and one is.
    """
    reference = str(spec["method_reference"])
    if not reference.endswith(".py"):
        if file is not None:
            raise UsageError(f"--method {file}: this trial's method is {reference}, not a file.")
        return reference
    if file is None or not file.endswith(".py"):
        raise UsageError(
            f"This trial's method is a file, {reference}, and a record may come from anybody. If "
            "you trust the file, give it: --method FILE.py."
        )
    return file


def rebuilt(
    folder: Path,
    record: Mapping[str, Any],
    weights: Sequence[str] = (),
    file: str | None = None,
) -> Rebuilt:
    """The model that was kept of a trial.

    Args:
        record: that of the folder, checked (`read_record`).
        weights: references of what the trial started from (`bench run --weights`), in their order.
        file: that of the method, where it is a file (`method_of`).

    Raises:
        UsageError: other weights than those, or the method is not there or may not be imported.
        ResultsError: no model was kept, its files are damaged, or the method's code is another.
        MethodError: the method cannot be built again without its training texts.
    """
    spec = record["spec"]
    told = _told(folder, record)
    found = find_method(method_of(spec, file))
    if found.code != spec["method_code"]:
        raise ResultsError(
            f"{folder} was trained by another version of {spec['method']} ({spec['method_code']}, "
            f"now {found.code}). Run it again: bench run --keep model."
        )
    method = found.cls(found.cls.Config.from_dict(spec["config"]), _checkpoints(spec, weights))
    if told["vocabulary"] is not None:
        method.vocabulary = tuple(told["vocabulary"])
    method.model = _filled(method, folder, spec)
    method.model.eval()
    from PIL import Image

    with Image.open(folder / MEAN) as image:
        mean = np.array(image)
    return Rebuilt(method, int(told["stored_at"]), mean)


def _filled(method: Method, folder: Path, spec: Mapping[str, Any]) -> Any:
    """The modules with the kept weights."""
    import torch
    from safetensors.torch import load_file

    from bench.protocol.weights import load_strictly

    with torch.random.fork_rng(devices=[]):  # what build draws is overwritten
        model = method.build(tuple(spec["classes"]), (), torch.device("cpu"))
    if spec["track"] == "released":
        return model
    try:
        load_strictly(model, load_file(folder / WEIGHTS), where=str(folder / WEIGHTS))
    except MethodError as error:
        raise MethodError(
            f"{spec['method']} cannot be built again as it was trained: {error} If its modules "
            "depend on the training texts, build() has to set self.vocabulary and to read it."
        ) from error
    return model


def _told(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """What `model.json` says, once the files are those that were kept."""
    from bench.runs.record import sha256_of

    files = record.get("kept", {}).get("model")
    if files is None:
        raise ResultsError(
            f"The model of {folder} was not kept. Run the same command again with --keep model."
        )
    for file, expected in files.items():
        if not (folder / file).is_file() or sha256_of(folder / file) != expected:
            raise ResultsError(
                f"{folder / file} is missing or is not what was kept. Delete {folder} and run the "
                "same command again with --keep model."
            )
    try:
        told: dict[str, Any] = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        words = told["vocabulary"]
        listed = words is None or all(isinstance(word, str) for word in words)
        sound = listed and 0 < int(told["stored_at"]) <= _LARGEST
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        sound = False
    if not sound:
        raise ResultsError(
            f"{folder / MODEL} is not as bench run --keep model writes it. Delete {folder} and run "
            "the same command again."
        )
    return told


def _checkpoints(spec: Mapping[str, Any], weights: Sequence[str]) -> tuple[Checkpoint, ...]:
    """The weights the trial started from, which the record knows by checksum alone."""
    from bench.protocol.weights import load_checkpoint

    digests = spec.get("weights", [])
    if len(weights) != len(digests):
        names = ", ".join(spec.get("weights_names", [])) or "no weights"
        raise UsageError(
            f"This trial started from {names}: give --weights as often, in that order "
            f"({len(digests)}, not {len(weights)})."
        )
    read = tuple(load_checkpoint(reference) for reference in weights)
    for checkpoint, digest in zip(read, digests, strict=True):
        if checkpoint.digest != digest:
            raise UsageError(
                f"--weights {checkpoint.reference} is not what the trial started from: its "
                f"SHA-256 is {checkpoint.digest[:12]}..., not {digest[:12]}..."
            )
    return read


def _model_files(method: Method, spec: TrialSpec, train: Split) -> dict[str, Writer]:
    import torch
    from PIL import Image
    from safetensors.torch import save

    sums = [images.sum(dim=0, dtype=torch.int64) for images in train.images()]
    average = torch.stack(sums).sum(0)[0] / len(train)
    mean = Image.fromarray(average.round().to(torch.uint8).cpu().numpy())
    vocabulary = None if method.vocabulary is None else list(method.vocabulary)
    told = json.dumps({"stored_at": train.dataset.size, "vocabulary": vocabulary}, indent=1)
    files: dict[str, Writer] = {
        MODEL: lambda path: path.write_text(told, encoding="utf-8"),
        MEAN: lambda path: mean.save(path, format="PNG"),
    }
    if spec.track == "trained":
        # Copies, since the format refuses tensors that share their memory.
        state = {
            key: value.detach().cpu().contiguous().clone()
            for key, value in method.model.state_dict().items()
        }
        # Not save_file, whose error on a full disk is no OSError, and which leaves a temporary file
        # of its own when it is killed.
        files[WEIGHTS] = lambda path: path.write_bytes(save(state))
    return files


def _embedded(method: Method, part: Split) -> np.ndarray | None:
    """(N, d) embeddings as float16, or float32 where that would lose them; None without any."""
    import torch

    device = part.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        was_training = method.model.training
        method.model.eval()
        embeds = method.embed(next(part.images())[:2]) is not None
        method.model.train(was_training)
        if not embeds:
            return None
        values: np.ndarray = part.embed(method).float().cpu().numpy()
    low, high = _HALF
    return values.astype(np.float16) if low <= np.abs(values).max() <= high else values


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
