"""Does an adapter keep the contract? Checked on made-up images, in seconds, without data."""

from __future__ import annotations

import gc
import inspect
import io
import traceback
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from bench.data import Dataset
from bench.protocol.batches import Split
from bench.protocol.interruption import InMemory, Interrupted
from bench.protocol.method import Method, find_method
from bench.protocol.planted import CLASSES, planted_dataset
from bench.protocol.prompts import POLICIES, Policy, Prompts, prompts_for
from bench.protocol.trainer import Resume, train
from bench.protocol.weights import Checkpoint, load_checkpoint
from bench.stats.metrics import auroc

_EPOCHS = 30
_SEED = 7_381_250_943  # one that nobody would write into an adapter


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, whether it holds, and what to do where it does not."""

    what: str
    passed: bool
    mend: str


class _CannotGoOn(Exception):
    """An adapter failed in a way that leaves nothing for the later checks to look at."""

    def __init__(self, what: str, mend: str) -> None:
        self.finding = Finding(what, False, f"{mend} The later checks were not run.")


def check_method(reference: str, weights: Sequence[str] = ()) -> list[Finding]:
    """What an adapter does on a planted signal: three classes, three bright places.

    The list ends with the first failure after which nothing more can be checked.

    Args:
        weights: what it starts from, as `--weights` names it.

    Raises:
        UsageError, MethodError: it cannot be found or imported, or its weights cannot be read.
    """
    cls = find_method(reference).cls
    checkpoints = [load_checkpoint(name) for name in weights]
    findings: list[Finding] = []
    try:
        findings.extend(_checks(cls, checkpoints))
    except _CannotGoOn as stop:
        findings.append(stop.finding)
    return findings


def _checks(cls: type[Method], checkpoints: Sequence[Checkpoint]) -> Iterator[Finding]:
    dataset = planted_dataset()
    numpy_state = _numpy_state()
    method, first, kept_seed = _trained(cls, checkpoints, dataset)
    images = torch.from_numpy(dataset.pixels[:16]).unsqueeze(1)
    for policy in cls.policies:
        yield from _scoring_checks(method, dataset, images, policy)
    yield Finding(
        "training lowers the loss",
        first[-1] < first[0],
        "The loss must fall on a signal this plain; check that it has a gradient.",
    )
    prompts = prompts_for("pair", CLASSES)
    once, again = (_trained(cls, checkpoints, dataset, epochs=2)[0] for _ in range(2))
    yield Finding(
        "training twice from one seed gives the same scores",
        torch.equal(*(_scores(one, images, prompts) for one in (once, again))),
        "Draw all randomness from torch's generator (seeded by the harness) or from row numbers.",
    )
    yield from _resuming_checks(cls, checkpoints, dataset, again)
    yield Finding(
        "no global generator is seeded",
        kept_seed and numpy_state == _numpy_state(),
        "Remove torch.manual_seed, np.random.seed and the like; the harness seeds around every "
        "call.",
    )
    yield Finding(
        "labels that the mask hides are not read",
        _loss(again, dataset, hidden=0) == _loss(again, dataset, hidden=1),
        "Read batch.labels only where batch.mask is set: elsewhere the source says nothing.",
    )
    scores = _scores(method, images, prompts)
    yield Finding(
        "saved and loaded into a new model, scores stay the same",
        torch.allclose(scores, _scores(_reloaded(method, dataset), images, prompts), atol=1e-6),
        "Whatever scoring depends on belongs into the model's state (a buffer, where it is not "
        "trained), or follows from the arguments of build().",
    )
    model = weakref.ref(again.model)
    del again
    gc.collect()
    yield Finding(
        "memory is released with the method",
        model() is None,
        "Something outside keeps the model alive: a cache, a global, a registered hook.",
    )


def _resuming_checks(
    cls: type[Method], checkpoints: Sequence[Checkpoint], dataset: Dataset, whole: Method
) -> Iterator[Finding]:
    """Whether a training that stops after its first epoch comes to what `whole` did without."""
    kept = InMemory()
    with suppress(Interrupted):
        _trained(cls, checkpoints, dataset, epochs=2, resume=kept)
    with _running("what state_dict() gives is tensors and plain values", cls):
        kept.reread()
    resumed = _trained(cls, checkpoints, dataset, epochs=2, resume=kept)[0]
    states = whole.model.state_dict(), resumed.model.state_dict()
    prompts = prompts_for(POLICIES[0], dataset.classes)
    images = torch.from_numpy(dataset.pixels[:16]).unsqueeze(1)
    yield Finding(
        "interrupted and gone on with, training gives the same weights and scores",
        all(torch.equal(state, states[1][key]) for key, state in states[0].items())
        and torch.equal(*(_scores(one, images, prompts) for one in (whole, resumed))),
        "What a method keeps from one epoch to the next in an object of its own, beside the "
        "modules' state, has to go through state_dict() and load_state_dict().",
    )


def _scoring_checks(
    method: Method, dataset: Dataset, images: Tensor, policy: Policy
) -> Iterator[Finding]:
    prompts = prompts_for(policy, CLASSES)
    scores = _scores(method, images, prompts)
    yield Finding(
        f"score() under '{policy}' is (images, classes) and finite",
        bool(scores.isfinite().all()),
        "Return one finite number an image and class, higher = more likely present.",
    )
    halves = torch.cat([_scores(method, part, prompts) for part in images.split(5)])
    yield Finding(
        f"scores under '{policy}' do not depend on the batch",
        torch.allclose(scores, halves, atol=1e-4),
        "Put the model in eval mode layers that batch statistics do not touch; score each "
        "image for itself.",
    )
    turned = _scores(method, images, prompts_for(policy, CLASSES[::-1]))
    yield Finding(
        f"columns under '{policy}' follow the order of the prompts",
        torch.allclose(scores, turned.flip(1), atol=1e-4),
        "Build the columns from prompts.classes, not from a fixed list.",
    )
    yield Finding(
        f"the planted signal is found under '{policy}' and points the right way (AUC above .7)",
        _mean_auc(method, dataset, prompts) > 0.7,
        "A lower score for images with the class means a turned sign or swapped prompts; a value "
        f"near .5 means that nothing is learnt in {_EPOCHS} epochs: look at the loss and the lr.",
    )


@contextmanager
def _running(what: str, cls: type[Method]) -> Iterator[None]:
    """Turns whatever an adapter's code raises into a finding that says what and where.

    Raises:
        _CannotGoOn: the block raised.
    """
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == inspect.getfile(cls)]
        place = f" in {own[-1].name}(), line {own[-1].lineno}" if own else ""
        raise _CannotGoOn(what, f"It raised {type(error).__name__}{place}: {error}") from error


@torch.no_grad()
def _scores(method: Method, images: Tensor, prompts: Prompts) -> Tensor:
    """The scores as float32.

    Raises:
        _CannotGoOn: there are none, or they are not one number an image and class.
    """
    what = f"score() under '{prompts.policy}' gives a tensor of (images, classes)"
    with _running(what, type(method)):
        scores = method.score(images, prompts)
    if not isinstance(scores, Tensor):
        raise _CannotGoOn(what, f"It gave a {type(scores).__name__}; return a torch.Tensor.")
    expected = (len(images), len(prompts.classes))
    if tuple(scores.shape) != expected or scores.is_complex():
        raise _CannotGoOn(
            what,
            f"It gave {tuple(scores.shape)} of {scores.dtype} where {expected} real numbers are "
            "asked for.",
        )
    return scores.float()


def _numpy_state() -> bytes:
    """numpy's global generator, which nobody should touch."""
    return bytes(np.random.get_state(legacy=False)["state"]["key"])  # noqa: NPY002


def _trained(
    cls: type[Method],
    checkpoints: Sequence[Checkpoint],
    dataset: Dataset,
    epochs: int = _EPOCHS,
    resume: Resume | None = None,
) -> tuple[Method, list[float], bool]:
    """A trained method, its loss by epoch, and whether torch still has the seed it was given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        method = _untrained(cls, checkpoints, dataset, epochs)
        quarter = len(dataset) // 4
        part, held = (
            _part(method, dataset, slice(-quarter)),
            _part(method, dataset, slice(-quarter, None)),
        )
        with _running("loss() can be trained on", cls):
            training = train(method, part, held, (0, 0, 0), lambda entry: None, resume)
        method.model.eval()
        images = torch.from_numpy(dataset.pixels[:4]).unsqueeze(1)
        _scores(method, images, prompts_for(POLICIES[0], dataset.classes))
        kept_seed = torch.initial_seed() == _SEED
    return method, [entry["loss"] for entry in training.history], kept_seed


def _untrained(
    cls: type[Method],
    checkpoints: Sequence[Checkpoint],
    dataset: Dataset,
    epochs: int = _EPOCHS,
) -> Method:
    """A method of the tiny preset with its modules built.

    Raises:
        _CannotGoOn: it cannot be made or built, or what was built is no module.
    """
    with _running("a method is made from its tiny Config", cls):
        # On captions, whatever the method's default: reports never say what is absent here.
        config = replace(cls.Config.tiny(), text="meta", epochs=epochs, batch_size=16)
        # A constructor of an adapter's own may know of no weights.
        method = cls(config, checkpoints) if checkpoints else cls(config)
    what = "build() gives the modules to train"
    with _running(what, cls):
        model = method.build(dataset.classes, dataset.reports, torch.device("cpu"))
    if not isinstance(model, nn.Module):
        raise _CannotGoOn(what, f"It gave a {type(model).__name__}; return a torch.nn.Module.")
    method.model = model
    return method


def _part(method: Method, dataset: Dataset, rows: slice) -> Split:
    texts, device = dataset.reports, torch.device("cpu")
    places = np.arange(len(dataset))[rows]
    return Split(dataset, places, texts, texts, method.config.image_size, device)


def _loss(method: Method, dataset: Dataset, hidden: int) -> float:
    """The loss of a batch whose every third label is masked and reads `hidden`."""
    batch = _part(method, dataset, slice(16)).batch(np.arange(16))
    mask = torch.arange(batch.mask.numel()).reshape(batch.mask.shape) % 3 != 0
    labels = torch.where(mask, batch.labels, torch.full_like(batch.labels, hidden))
    method.model.eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(_SEED)
        return float(method.loss(replace(batch, labels=labels, mask=mask)))


def _reloaded(method: Method, dataset: Dataset) -> Method:
    """A method built anew, under another seed, with the state of `method` loaded from bytes.

    Raises:
        _CannotGoOn: the state does not go into a model that `build` makes.
    """
    file = io.BytesIO()
    torch.save(method.model.state_dict(), file)
    file.seek(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED + 1)
        fresh = _untrained(type(method), method.checkpoints, dataset)
    with _running("the saved state goes into a model that build() makes", type(method)):
        fresh.model.load_state_dict(torch.load(file, weights_only=True))
    fresh.model.eval()
    return fresh


def _mean_auc(method: Method, dataset: Dataset, prompts: Prompts) -> float:
    """Mean AUC over classes on the quarter not trained on; NaN where scores are not finite."""
    held = slice(len(dataset) - len(dataset) // 4, None)
    images = torch.from_numpy(dataset.pixels[held]).unsqueeze(1)
    scores = _scores(method, images, prompts).numpy()
    if not np.isfinite(scores).all():
        return float("nan")
    values = [auroc(scores[:, c], dataset.labels[held, c]) for c in range(len(CLASSES))]
    return float(np.mean([value for value in values if value is not None]))
