"""Training steps on a GPU beside an eager loop of upstream's kind, alone and packed, and what 500
trainings would take.

    python -m tests.perf.gpu                     # 20,000 phantom images of 224 pixels
    python -m tests.perf.gpu --n 4000 --steps 100 --packed 1 2
    python -m tests.perf.gpu --dry               # the script itself, on a CPU, at toy sizes

Every party runs in a process of its own; times are of the device (synchronised at both ends), after
steps that are not counted. The eager loop is CheXzero's kind: float32, three colours normalised on
the host, 77 tokens of every caption, plain AdamW, the loss read at every step.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any, Literal

import numpy as np

TRAININGS, EPOCHS, IMAGES, BATCH = 500, 10, 187_840, 32
METHODS = ("chexzero", "cxrcml")


@dataclass(frozen=True)
class Asked:
    """What a process measures."""

    party: str
    """`upstream`, `eager` (ours without recording) or `ours`."""
    method: str
    data: str
    steps: int
    precision: Literal["float32", "bfloat16"]
    dry: bool


@dataclass(frozen=True)
class Seen:
    """What it saw."""

    seconds: float
    """A step."""
    busy: float | None
    """Share of the time with a kernel on the GPU, as its driver counts it; None where unknown."""
    memory: float
    """GiB at most, of this process."""
    fit: float
    """Seconds of a fit of the mixture and the embeddings it needs."""
    images: int
    """Of the training."""


def measure(asked: Asked, start: Any = None) -> Seen:
    """Trains and tells; waits at the barrier `start` before the steps that are counted."""
    import torch

    device = torch.device("cpu" if asked.dry else "cuda")
    step, fit, images = _upstream(asked, device) if asked.party == "upstream" else _ours(asked)
    for _ in range(2 if asked.dry else 30):
        step()
    if start is not None:
        start.wait()
    _wait(device)
    with _Busy(asked.dry) as busy:
        begun = time.perf_counter()
        for _ in range(asked.steps):
            step()
        _wait(device)
        seconds = (time.perf_counter() - begun) / asked.steps
    memory = 0.0 if asked.dry else torch.cuda.max_memory_allocated() / 2**30
    return Seen(seconds, busy.share, memory, fit, images)


def _ours(asked: Asked) -> tuple[Callable[[], None], float, int]:
    """A step of the harness, and what the epoch's start takes."""
    import torch

    from bench.data import load_dataset
    from bench.protocol.batches import Split
    from bench.protocol.captions import meta_captions
    from bench.protocol.method import find_method
    from bench.protocol.step import Step

    device = torch.device("cpu" if asked.dry else "cuda")
    dataset = load_dataset(asked.data)
    captions = meta_captions(dataset.labels, dataset.mask, dataset.classes)
    rows = np.flatnonzero([bool(caption) for caption in captions])
    cls = find_method(asked.method).cls
    config = cls.Config.of_preset("tiny" if asked.dry else "paper")
    config = replace(
        config, text="meta", schedule="plateau", clauses="all", precision=asked.precision
    )
    torch.manual_seed(0)
    method = cls(config)
    method.model = method.build(dataset.classes, captions, device)
    part = Split(dataset, rows, captions, captions, config.image_size, device)
    step = Step(method, len(part) // BATCH)
    if asked.party == "eager":
        step._graphed = None
    method.model.train()
    method.start_epoch(0, part)  # once before it is timed
    _wait(device)
    begun = time.perf_counter()
    method.start_epoch(1, part)
    _wait(device)
    fit = time.perf_counter() - begun
    step.start_epoch()
    batches = _endless(lambda: part.batches(BATCH, np.random.default_rng(0)))
    return lambda: _drop(step(next(batches))), fit, len(part)


def _upstream(asked: Asked, device: Any) -> tuple[Callable[[], None], float, int]:
    import torch
    from torch.nn import functional as F

    from bench.data import load_dataset
    from bench.protocol.captions import meta_captions
    from methods._clip import PIXEL_MEAN, PIXEL_STD
    from methods._torchvision import make_torchvision_importable

    make_torchvision_importable()
    import open_clip

    dataset = load_dataset(asked.data)
    captions = meta_captions(dataset.labels, dataset.mask, dataset.classes)
    rows = np.flatnonzero([bool(caption) for caption in captions])
    model: Any = _small_towers(dataset.size) if asked.dry else None
    if model is None:
        model = open_clip.create_model("ViT-B-32-quickgelu")
    model = model.to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def sample(row: int) -> tuple[Any, Any]:
        grey = torch.from_numpy(np.array(dataset.pixels[row])).float()
        image = grey.expand(3, -1, -1)
        return (image - PIXEL_MEAN) / PIXEL_STD, open_clip.tokenize(captions[row])[0]

    loader: Any = torch.utils.data.DataLoader(
        [*map(int, rows)],
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        collate_fn=lambda some: [torch.stack(p) for p in zip(*map(sample, some), strict=True)],
    )
    batches = _endless(lambda: iter(loader))

    def step() -> None:
        images, tokens = (part.to(device) for part in next(batches))
        optimiser.zero_grad()
        image, text, scale = model(images, tokens)
        logits = scale * image @ text.T
        target = torch.arange(len(logits), device=device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        loss.backward()
        optimiser.step()
        loss.item()

    return step, 0.0, len(rows)


def _small_towers(size: int) -> Any:
    import open_clip

    return open_clip.model.CLIP(
        embed_dim=32,
        vision_cfg={"layers": 1, "width": 64, "patch_size": 16, "image_size": size},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
    )


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


def _drop(loss: Any) -> None:
    """The loss stays on the device: the trainer reads a hundred of them at a time."""


def _endless(start: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    while True:
        yield from start()


class _Busy:
    """Asks the driver five times a second how busy the GPU was."""

    share: float | None = None

    def __init__(self, dry: bool) -> None:
        self._dry, self._end, self._seen = dry, threading.Event(), []  # type: ignore[var-annotated]

    def __enter__(self) -> _Busy:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.share = float(np.mean(self._seen)) / 100 if self._seen else None

    def _look(self) -> None:
        import torch

        while not (self._dry or self._end.wait(0.2)):
            try:
                self._seen.append(torch.cuda.utilization())
            except (ModuleNotFoundError, RuntimeError):  # nvidia-ml-py, or the driver's answer
                return


def _served(asked: Asked, start: Any, answers: Any) -> None:
    answers.put(measure(asked, start))


def packed(asked: Asked, count: int) -> list[Seen]:
    """So many processes on the GPU at a time."""
    if asked.dry:
        return [measure(asked) for _ in range(count)]
    context = get_context("spawn")
    start, answers = context.Barrier(count), context.Queue()
    processes = [
        context.Process(target=_served, args=(asked, start, answers)) for _ in range(count)
    ]
    for process in processes:
        process.start()
    seen: list[Seen] = []
    while len(seen) < count:
        try:
            seen.append(answers.get(timeout=5))
        except Exception as error:  # queue.Empty: look whether anybody is left to answer
            if any(process.exitcode not in (None, 0) for process in processes):
                start.abort()
                raise SystemExit(f"One of {count} processes failed; see above.") from error
    for process in processes:
        process.join()
    return seen


def told(title: str, seen: Sequence[Seen]) -> float:
    """Prints a party's line; seconds a step in aggregate."""
    together = 1 / sum(1 / one.seconds for one in seen)
    busy = [one.busy for one in seen if one.busy is not None]
    print(
        f"{title:34s} {1e3 * seen[0].seconds:8.2f} ms a step each, {1e3 * together:7.2f} in "
        f"aggregate, {BATCH / together:8.0f} images/s, "
        f"{'busy unknown' if not busy else f'busy {np.mean(busy):.0%}'}, "
        f"{sum(one.memory for one in seen):.1f} GiB",
        flush=True,
    )
    return together


def extrapolated(title: str, step: float, fit: float, images: int) -> None:
    """Prints what all trainings take, with the arithmetic."""
    steps = IMAGES // BATCH
    fits = fit * IMAGES / images  # a step of EM, and the embeddings, are linear in the images
    total = TRAININGS * EPOCHS * (steps * step + fits)
    print(
        f"{title}: {TRAININGS} trainings x {EPOCHS} epochs x ({IMAGES:,} / {BATCH} = {steps:,} "
        f"steps x {1e3 * step:.2f} ms + a fit of {fit:.1f} s x {IMAGES:,} / {images:,}) "
        f"= {total / 86400:.2f} GPU-days; the mixture's share {fits / (fits + steps * step):.1%}"
    )


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=20_000, help="images of the phantom")
    parser.add_argument("--steps", type=int, default=300, help="that are counted")
    parser.add_argument("--packed", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args(words)
    import torch

    if not (options.dry or torch.cuda.is_available()):
        sys.exit("torch sees no GPU here, so nothing is measured. --dry tries the script itself.")
    data, steps, counts = f"phantom:n={options.n},size=224", options.steps, options.packed
    if options.dry:
        data, steps, counts = "phantom:n=120,size=32", 2, [1, 2]
        print("A dry run on the CPU at toy sizes: the numbers below mean nothing.")
    else:
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {data}")
    base = Asked("upstream", METHODS[0], data, steps, "float32", options.dry)
    upstream = told("upstream's kind, eager", packed(base, 1))
    eager = replace(base, party="eager")
    told("ours, float32, not recorded", packed(eager, 1))
    for method in METHODS:
        asked = replace(base, party="ours", method=method, precision=options.precision)
        for count in counts:
            seen = packed(asked, count)
            title = f"{method}, {options.precision}, {count} a GPU"
            together = told(title, seen)
            print(f"  {upstream / together:.1f}x upstream's kind")
            # Fits of one process run beside the steps of the others as well.
            extrapolated(f"  {title}", together, seen[0].fit / count, seen[0].images)


if __name__ == "__main__":
    main()
