"""What a file of weights is: which method it fits, how well, and whether a card knows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import MethodError, UsageError
from bench.protocol.method import Card, Fit, find_method, method_names
from bench.protocol.weights import LISTED, Checkpoint, load_checkpoint


@dataclass(frozen=True)
class Candidate:
    """A method and how a file fits it."""

    name: str
    card: Card
    fit: Fit

    @property
    def faults(self) -> int:
        """How many keys stand against strict loading."""
        return len(self.fit.missing) + len(self.fit.unexpected) + len(self.fit.misshapen)


@dataclass(frozen=True)
class Examined:
    """A file with the methods that take files, the best fit first."""

    checkpoint: Checkpoint
    candidates: tuple[Candidate, ...]
    broken: tuple[str, ...]
    """What kept a method from being asked."""

    @property
    def fits(self) -> bool:
        """Whether any method loads it."""
        return any(candidate.fit.exact for candidate in self.candidates)


def examine(reference: str, methods: tuple[str, ...] = ()) -> Examined:
    """Reads a file of weights and asks methods (all there are by default) whether it is theirs.

    Raises:
        UsageError: there is no such file, or it is a named model.
        MethodError: it holds no weights; says what it is instead.
    """
    checkpoint = load_checkpoint(reference)
    if checkpoint.named:
        raise UsageError(
            f"{reference} is a folder with a model; it is checked strictly when it is opened. Try: "
            f"bench run --method NAME --track released --weights {reference} --data phantom:n=60"
        )
    candidates, broken = [], []
    for name in methods or method_names():
        try:
            found = find_method(name)
            fit = found.cls.fit(checkpoint.state)
        except MethodError as error:
            broken.append(f"{name} was not asked: {error}")
            continue
        if fit is not None:
            candidates.append(Candidate(name, found.cls.card, fit))
    candidates.sort(key=lambda c: (not c.fit.exact, c.faults, c.name))
    return Examined(checkpoint, tuple(candidates), tuple(broken))


def lines_of(found: Examined) -> Iterator[str]:
    """What a person is told, the verdict last."""
    checkpoint = found.checkpoint
    kinds = _kinds(checkpoint)
    numbers = sum(tensor.numel() for tensor in checkpoint.state.values())
    yield f"file:       {checkpoint.reference}"
    yield f"tensors:    {len(checkpoint.state)}, {numbers:,} numbers"
    yield f"precision:  {', '.join(f'{kind} ({count})' for kind, count in kinds.most_common())}"
    yield f"sha256:     {checkpoint.digest} ({_card_entry(found) or 'no card knows it'})"
    yield from found.broken
    exact = [c for c in found.candidates if c.fit.exact]
    for candidate in exact or found.candidates[:1]:
        yield from _candidate_lines(candidate)
    if exact:
        names = " or ".join(candidate.name for candidate in exact)
        yield f"verdict:    it fits {names}. To score it:"
        yield (
            f"            bench run --method {exact[0].name} --track released "
            f"--weights {checkpoint.reference}"
        )
    elif found.candidates:
        nearest = found.candidates[0]
        yield (
            f"verdict:    it fits no method; nearest is {nearest.name}, with "
            f"{nearest.faults} {'key' if nearest.faults == 1 else 'keys'} against it."
        )
    else:
        yield "verdict:    it fits no method; none of those there are takes such a file."


def told_of(found: Examined) -> dict[str, Any]:
    """The same as plain values: what the file holds, and every method that takes files."""
    checkpoint = found.checkpoint
    return {
        "file": checkpoint.reference,
        "sha256": checkpoint.digest,
        "known": _card_entry(found),
        "tensors": len(checkpoint.state),
        "numbers": sum(tensor.numel() for tensor in checkpoint.state.values()),
        "precision": dict(_kinds(checkpoint)),
        "fits": [candidate.name for candidate in found.candidates if candidate.fit.exact],
        "methods": [{"name": c.name, **asdict(c.fit)} for c in found.candidates],
        "not_asked": list(found.broken),
    }


def _kinds(checkpoint: Checkpoint) -> Counter[str]:
    return Counter(str(t.dtype).removeprefix("torch.") for t in checkpoint.state.values())


def convert(checkpoint: Checkpoint, out: Path) -> None:
    """Writes the tensors as safetensors under the names they have upstream.

    The SHA-256 of the source goes into the metadata of the file.

    Raises:
        UsageError: `out` is there already or is not called .safetensors.
        MethodError: it cannot be written.
    """
    from safetensors.torch import save_file

    if out.suffix != ".safetensors":
        raise UsageError(f"--convert {out}: call it .safetensors, which is what it becomes.")
    if out.exists():
        raise UsageError(f"--convert {out}: there is such a file already.")
    # Tensors that share their numbers would be refused; each gets its own.
    tensors = {key: tensor.clone().contiguous() for key, tensor in checkpoint.state.items()}
    about = {"format": "pt", "source": checkpoint.name}
    try:
        save_file(tensors, out, metadata=about | {"source_sha256": checkpoint.digest})
    except OSError as error:
        raise MethodError(f"--convert {out}: it cannot be written ({error}).") from error


def _card_entry(found: Examined) -> str | None:
    """The name under which a card lists exactly this file."""
    for candidate in found.candidates:
        for weights in candidate.card.weights:
            if weights.sha256 == found.checkpoint.digest:
                return f"{weights.name} on the card of {candidate.name}"
    return None


def _candidate_lines(candidate: Candidate) -> Iterator[str]:
    fit = candidate.fit
    yield f"{candidate.name}: {candidate.card.title}, {fit.sizes}"
    for kind, keys in (
        ("missing", fit.missing),
        ("unexpected", fit.unexpected),
        ("misshapen", fit.misshapen),
        ("harmless", fit.harmless),
    ):
        yield f"  {kind + ':':<12}{len(keys)}{_listed(keys)}"


def _listed(keys: tuple[str, ...]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return f" ({'; '.join(keys[:LISTED])}{more})"
