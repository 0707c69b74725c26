"""The contract of a method, and how methods are found.

A method is one file with one subclass of `Method`. Ours are the files of `methods/`; other people's
come by path (`--method ./my_method.py`) or from a package through the entry-point group
`bench.methods`.
"""

from __future__ import annotations

import abc
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import MethodError, UsageError, unknown
from bench.protocol.config import Config
from bench.protocol.prompts import POLICIES, Policy

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from bench.protocol.batches import Batch, Split
    from bench.protocol.prompts import Prompts
    from bench.protocol.weights import Checkpoint

ENTRY_POINTS = "bench.methods"


@dataclass(frozen=True)
class Weights:
    """A published checkpoint: its file name, checksum and where it is had."""

    name: str
    sha256: str | None
    where: str


@dataclass(frozen=True)
class Fit:
    """What strict loading of a state_dict into a method would meet; all keys in upstream names."""

    sizes: str
    """The model the shapes speak of, in words, e.g. "ViT-B/32 at 224, text 12x512"."""
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    """`key: shape found, shape expected`."""
    harmless: tuple[str, ...] = ()
    """Keys that are known to carry nothing the method needs, and are dropped."""

    @property
    def exact(self) -> bool:
        """Whether the state can be loaded."""
        return not (self.missing or self.unexpected or self.misshapen)


@dataclass(frozen=True)
class Card:
    """What a reader of a table has to know about a method."""

    title: str
    citation: str
    licence: str
    weights: tuple[Weights, ...] = ()
    seen: tuple[str, ...] | None = field(default=())
    """Data sets seen in pre-training of the published weights; drives the contamination mark. None
    where nobody can say, because the weights are the user's choice."""


class Method(abc.ABC):
    """A way to score images against texts, trained by the common trainer.

    A subclass declares `card` and `Config`, and writes `build`, `loss` and `score`. Randomness
    comes from the generator that the harness seeds around every call; never seed a global one.
    """

    card: ClassVar[Card]
    Config: ClassVar[type[Config]] = Config
    version: ClassVar[int] = 1
    """Raise it when a change of code changes scores: finished trials become stale, to be redone."""

    policies: ClassVar[tuple[Policy, ...]] = POLICIES
    """How it can be asked; a method with a zero-shot procedure of its own adds "own"."""

    loss_on_device: ClassVar[bool] = False
    """Whether `inputs` and `loss_of` give the loss too. Declared by each class for itself and not
    inherited, since a subclass may change the loss."""

    model: nn.Module
    """What `build` returned; the harness trains its parameters and keeps its state."""
    weights: str = "random"
    """Where the initial weights came from; `build` sets it when it loads any."""
    complete: bool = True
    """Whether the given weights are all that a score goes through. `build` says False where a part
    starts from nothing; such weights can be trained from and are not scored as released."""
    made_by_build: ClassVar[tuple[str, ...]] = ()
    """Attributes that no file can hold and need not: what `build` makes and training leaves as it
    is, such as a tokeniser. Those of base classes count as well."""
    vocabulary: tuple[str, ...] | None = None
    """Words or pieces, in their order, that `build` drew from its texts and the modules depend on.
    `build` sets it; where it is set already, `build` reads it in the place of the texts, so that a
    kept model is built again without them."""

    def __init__(self, config: Any, checkpoints: Sequence[Checkpoint] = ()) -> None:
        self.config = config  # an instance of self.Config
        self.checkpoints = tuple(checkpoints)
        """Weights to start from, named by `--weights`; empty = from scratch. `build` reads them."""

    @abc.abstractmethod
    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        """The modules to train, on `device`.

        Args:
            classes: the class names that will be asked for.
            texts: every distinct text of training, for a vocabulary; not needed otherwise.
            device: where the modules and all later images are.
        """

    @abc.abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch, a scalar with its graph."""

    @abc.abstractmethod
    def score(self, images: Tensor, prompts: Prompts) -> Tensor:
        """(N, C) scores of (N, 1, S, S) uint8 images; higher = more likely present."""

    def encode(self, images: Tensor) -> Any:
        """What of (N, 1, S, S) uint8 images does not depend on what is asked: computed once for all
        policies, and of a frozen model once for all trials. A tensor, or a tuple of them.
        """
        return images

    def ask(self, prompts: Prompts) -> Callable[[Any], Tensor]:
        """`score` of what `encode` gave, with all that depends on the prompts alone done before.

        A method that overrides the two defines `score` by them, or not at all; where a subclass
        defines `score` alone, that is what counts.
        """
        return lambda images: self.score(images, prompts)

    def inputs(self, batch: Batch) -> dict[str, Tensor] | None:
        """What `loss_of` takes of a training batch: tensors on the device, of few shapes in all.

        Asked for where `loss_on_device` is declared; None is a batch, or a configuration, whose
        loss goes through `loss`.
        """
        return None

    def loss_of(self, inputs: dict[str, Tensor]) -> Tensor:
        """The loss of a training batch as `loss` has it, to rounding, computed on the device alone.

        It asks no tensor for a number, makes none from Python's, has no shape that depends on
        values, and keeps what it keeps in tensors that `start_epoch` made. The whole step is then
        recorded once an epoch as a CUDA graph, and this code is not run again.
        """
        raise MethodError(f"{type(self).__name__} has no loss_of().")

    @classmethod
    def fit(cls, state: Mapping[str, Tensor]) -> Fit | None:
        """How a state_dict under its upstream names fits this method; None = it takes no files."""
        return None

    def frame(self, picture: np.ndarray) -> np.ndarray:
        """(S, S) uint8 input of an (h, w) uint8 picture, as the authors frame it.

        Called under `preprocessing=own`, once an image, or again for every batch where the images
        of a fold do not fit in memory. The picture is without padding, its longer side
        `config.image_size`.
        """
        raise MethodError(f"{type(self).__name__} has no preprocessing of its own.")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for torch's optimiser; a group may set `weight_decay`, `betas`, `eps`."""
        return [{"params": list(self.model.parameters())}]

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step (counted from 0 over all epochs) under `schedule=own`."""
        raise MethodError(f"{type(self).__name__} has no learning rate schedule of its own.")

    def start_epoch(self, epoch: int, train: Split) -> None:  # noqa: B027  # an optional hook
        """Called before each epoch (counted from 0) with the training part of the fold."""

    def order(self, rng: np.random.Generator) -> np.ndarray | None:
        """Places of the training part in the order an epoch reads them, each at most once.

        Called after `start_epoch`; batches are consecutive places. None is a random order.
        """
        return None

    def embed(self, images: Tensor) -> Tensor | None:
        """(N, d) image embeddings, or None for a method that has none."""
        return None

    def saliency(self, images: Tensor, prompts: Prompts) -> Tensor | None:
        """(N, C, h, w) maps of where it looks for each class, row 0 at the top; 0 = not at all.

        None where it has none of its own; `bench predict --saliency` then takes the gradient.
        """
        return None

    def diagnostics(self) -> dict[str, Any]:
        """Plain values worth keeping in the record; called after training.

        `clusterings` is drawn by `bench report` and `bench figures` where it is a list of dicts,
        one a fit of a clustering to the training images: `epoch`, and of `occupancy` (images of
        each component), `churn`, `nmi` (0 to 1) and `class_purity` (one share a class, or None)
        what there is. What has another form is kept and not drawn.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What the epochs to come, scores or diagnostics depend on besides the modules' state.

        Asked for between epochs, so that a training that is interrupted can be gone on with. Here
        it is every attribute that holds numbers, texts, tensors or arrays, or lists, tuples, sets
        and dicts of them (arrays themselves not inside of these), but for what is the modules' own.
        A method that keeps anything else, such as an object of its own, adds to it, or names it in
        `made_by_build`; else no state is kept, and a trial that is interrupted starts over. Nothing
        but tensors and plain values can be kept.
        """
        from bench.protocol.state import plain_attributes

        return plain_attributes(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken; called after `build`, before the next epoch."""
        vars(self).update(state["values"])
        vars(self).update({name: array.numpy() for name, array in state["arrays"].items()})


@dataclass(frozen=True)
class Found:
    """A method class with the name it goes by and what of its code can change scores."""

    name: str
    cls: type[Method]
    code: str


def method_names() -> list[str]:
    """Names that `find_method` knows, ours first by file, then installed ones."""
    return sorted({*ours(), *(point.name for point in entry_points(group=ENTRY_POINTS))})


def find_method(reference: str) -> Found:
    """The method called `reference`: a name, or the path of a Python file.

    Raises:
        UsageError: there is no such method or file.
        MethodError: the file or package cannot be imported or does not hold exactly one method.
    """
    if reference.endswith(".py"):
        return _from_file(Path(reference).expanduser())
    if reference in ours():
        where = f"methods/{reference}.py"
        module = _imported(where, lambda: importlib.import_module(f"methods.{reference}"))
        cls = _only_method(module, where)
        return Found(reference, cls, f"v{cls.version}")
    for point in entry_points(group=ENTRY_POINTS, name=reference):
        package = point.dist.name if point.dist else "unknown"
        where = f"Package {package}: entry point '{reference}' ({point.value})"
        cls = _imported(where, point.load)
        if not (isinstance(cls, type) and issubclass(cls, Method)):
            raise MethodError(f"{where} is not a Method.")
        _refuse_without_card(cls, where)
        return Found(reference, cls, f"{point.value} v{cls.version}")
    raise UsageError(
        unknown("method", reference, method_names())
        + " A method of your own is a path: --method ./my_method.py."
    )


def ours() -> list[str]:
    import methods

    names = (module.name for module in pkgutil.iter_modules(methods.__path__))
    return [name for name in names if not name.startswith("_")]


def _imported(where: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:
        raise MethodError(f"{where} fails on import: {type(error).__name__}: {error}") from error


def _from_file(path: Path) -> Found:
    if not path.is_file():
        raise UsageError(f"No method file at {path}.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = f"bench_method_{path.stem}_{digest[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise MethodError(f"{path} cannot be imported as Python.")
        module = importlib.util.module_from_spec(spec)
        # Registered before it runs: dataclasses look their module up while they are made.
        sys.modules[name] = module
        loader = spec.loader
        try:
            _imported(str(path), lambda: loader.exec_module(module))
        except MethodError:
            del sys.modules[name]
            raise
    cls = _only_method(sys.modules[name], str(path))
    return Found(path.stem, cls, digest)


def _only_method(module: Any, where: str) -> type[Method]:
    candidates = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    ]
    if len(candidates) != 1:
        raise MethodError(
            f"{where} holds {len(candidates)} subclasses of bench.protocol.method.Method; a method "
            "file holds exactly one."
        )
    _refuse_without_card(candidates[0], where)
    return candidates[0]


def _refuse_without_card(cls: type[Method], where: str) -> None:
    if not isinstance(getattr(cls, "card", None), Card):
        raise MethodError(f"{where}: {cls.__name__} has no `card = Card(...)`.")
