"""Training on the CPU beside the obvious loop: paired and interleaved, processor time of one core.

    python -m tests.perf.training                # everything, some ten minutes
    python -m tests.perf.training tiny start     # some of: tiny vit score start profile

The obvious loop is open_clip's model with its own training transform in a DataLoader, every caption
as 77 tokens, three colours, and torch's plain AdamW. The parties take turns, a few steps each;
printed is the median over rounds of the ratio within a round, with its range.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

# Read once, when the libraries below are loaded.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from bench.data import Dataset, load_dataset  # noqa: E402
from bench.protocol.batches import Split  # noqa: E402
from bench.protocol.captions import meta_captions  # noqa: E402
from bench.protocol.method import find_method  # noqa: E402
from bench.protocol.step import Step  # noqa: E402
from bench.protocol.trainer import train  # noqa: E402
from methods._torchvision import make_torchvision_importable  # noqa: E402

make_torchvision_importable()
import open_clip  # noqa: E402

CPU = torch.device("cpu")
BATCH = 32
Steps = Callable[[int], None]
"""Does so many steps."""


class Study:
    """A phantom with its meta captions."""

    def __init__(self, data: str) -> None:
        self.dataset: Dataset = load_dataset(data)
        captions = meta_captions(self.dataset.labels, self.dataset.mask, self.dataset.classes)
        self.captions = captions
        self.rows = np.flatnonzero([bool(caption) for caption in captions])

    def part(self, rows: np.ndarray, size: int) -> Split:
        return Split(self.dataset, rows, self.captions, self.captions, size, CPU)


def ours(study: Study, **settings: Any) -> tuple[Any, Any]:
    """CheXzero as `bench run` builds it, and its configuration."""
    cls = find_method("chexzero").cls
    preset = settings.pop("preset")
    config = replace(cls.Config.of_preset(preset), text="meta", **settings)
    method = cls(config)
    texts = tuple(study.captions[row] for row in study.rows)
    method.model = method.build(study.dataset.classes, texts, CPU)
    return method, config


def our_trainer(study: Study) -> Steps:
    """The trainer itself: so many steps are an epoch of a part of so many batches."""
    method, config = ours(study, preset="tiny", epochs=1)
    nothing = study.part(study.rows[:0], config.image_size)

    def steps(count: int) -> None:
        part = study.part(study.rows[: count * BATCH], config.image_size)
        train(method, part, nothing, (0,), lambda entry: None)

    return steps


def our_steps(study: Study) -> Steps:
    """Steps of the paper's preset, ViT-B/32 at 224 pixels."""
    method, config = ours(study, preset="paper")
    part = study.part(study.rows, config.image_size)
    step = Step(method, 1000)
    batches = _endless(lambda: part.batches(BATCH, np.random.default_rng(0)))

    def steps(count: int) -> None:
        for _ in range(count):
            step(next(batches))

    return steps


class Pictures(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Images through a PIL transform, one by one, and 77 tokens."""

    def __init__(self, study: Study, size: int) -> None:
        self._study = study
        self._transform = open_clip.image_transform(size, is_train=True)

    def __len__(self) -> int:
        return len(self._study.rows)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        from PIL import Image

        row = self._study.rows[place]
        image = Image.fromarray(np.asarray(self._study.dataset.pixels[row]))
        return self._transform(image), open_clip.tokenize(self._study.captions[row])[0]


def obvious(study: Study, model: nn.Module, size: int, optimiser: torch.optim.Optimizer) -> Steps:
    """The loop that a paper's repository has."""
    loader = torch.utils.data.DataLoader(
        Pictures(study, size), batch_size=BATCH, shuffle=True, drop_last=True
    )
    batches = _endless(lambda: iter(loader))

    def steps(count: int) -> None:
        model.train()
        for _ in range(count):
            images, tokens = next(batches)
            optimiser.zero_grad()
            image, text, scale = model(images, tokens)
            logits = scale * image @ text.T
            target = torch.arange(len(logits))
            loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
            loss.backward()
            optimiser.step()
            loss.item()

    return steps


def small_open_clip(image_tower: nn.Module | None = None) -> nn.Module:
    """open_clip at 128 x 4 layers on both sides, patches of 8; or with another image tower."""
    model: Any = open_clip.model.CLIP(
        embed_dim=128,
        vision_cfg={"layers": 4, "width": 128, "patch_size": 8, "image_size": 64, "head_width": 64},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 4},
    )
    if image_tower is not None:
        model.visual = image_tower
    return model


def grey_tower() -> nn.Module:
    """Our image tower, given the three equal colours of the obvious loop."""
    from methods._clip import tiny_image_tower

    tower: Any = tiny_image_tower()
    tower.conv1 = nn.Conv2d(3, 16, 5, stride=2, padding=2, bias=False)
    return tower


class OurTowers(nn.Module):
    """The very towers of the tiny preset in the obvious loop: all 77 tokens of every caption."""

    def __init__(self) -> None:
        super().__init__()
        from methods._clip import ClipTowers

        self.towers = ClipTowers("tiny")
        self.towers.clip.visual = grey_tower()

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image = F.normalize(self.towers.image_features(images), dim=-1)
        return image, self.towers.encode_text(tokens), self.towers.logit_scale.exp()


def plain(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-3)


def compared(title: str, our: Steps, their: Steps, steps: int, rounds: int) -> None:
    """Prints milliseconds a step and their ratio."""
    for party in (our, their):
        party(1)
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        times.append((_cost(our, steps), _cost(their, steps)))
    ratios = [theirs / mine for mine, theirs in times]
    mine, theirs = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"{title}: ours {mine:.1f} ms a step, obvious {theirs:.1f}; "
        f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


def tiny() -> None:
    study = Study("phantom:n=1600")
    size = study.dataset.size
    print(f"tiny preset, {size} pixels, batch {BATCH}, one thread")
    rivals: list[tuple[str, nn.Module]] = [
        ("open_clip, ViT 128 x 4 and text 128 x 4", small_open_clip()),
        ("open_clip with our image tower, text 128 x 4", small_open_clip(grey_tower())),
        ("our two towers in the obvious loop", OurTowers()),
    ]
    for title, model in rivals:
        their = obvious(study, model, size, plain(model))
        compared(f"  {title}", our_trainer(study), their, steps=20, rounds=5)


def vit() -> None:
    study = Study("phantom:n=400,size=224")
    lengths = [len(ids.nonzero()) for ids in open_clip.tokenize(list(study.captions))]
    rng = np.random.default_rng(0)
    longest = np.mean([rng.choice(lengths, BATCH).max() for _ in range(200)])
    print(
        f"ViT-B/32, 224 pixels, batch {BATCH}, one thread; captions of {np.mean(lengths):.1f} "
        f"tokens on average, the longest of a batch {longest:.1f}"
    )
    model = open_clip.create_model("ViT-B-32-quickgelu")
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6, foreach=True)
    their = obvious(study, model, 224, optimiser)
    compared("  77 tokens, foreach AdamW", our_steps(study), their, steps=1, rounds=3)


def score() -> None:
    """128 images of ViT-B/32 under every policy: in one pass, and in a pass each."""
    from bench.protocol.prompts import prompts_for
    from bench.runs.scoring import score as in_one_pass

    study = Study("phantom:n=400,size=224")
    method, config = ours(study, preset="paper")
    part, classes = study.part(study.rows[:128], config.image_size), study.dataset.classes
    method.model.eval()

    @torch.no_grad()
    def in_a_pass_each(count: int) -> None:
        for policy in method.policies:
            for images in part.images():
                method.score(images, prompts_for(policy, classes))

    def one(count: int) -> None:
        in_one_pass(method, part, classes)

    print(f"scores of 128 images and {len(classes)} classes, policies {', '.join(method.policies)}")
    compared("  one pass", one, in_a_pass_each, steps=1, rounds=1)


_START = """
import time, torch
from dataclasses import replace
a = time.process_time()
from bench.runs.perform import perform
from bench.protocol.method import find_method
cls = find_method("chexzero").cls
b = time.process_time()
def build():
    method = cls(replace(cls.Config.tiny(), text="meta"))
    method.build(("Edema", "Normal"), ("edema is present",), torch.device("cpu"))
    return time.process_time()
c = build(); d = build()
print(f"torch {a:.1f} s, the rest of the harness {b - a:.1f} s, the first model {c - b:.1f} s, "
      f"every later one {d - c:.3f} s")
"""


def start() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _START], capture_output=True, text=True, check=True
    )
    print(f"start of a worker, processor time: {done.stdout.strip()}")


def profile() -> None:
    for title, steps, count in (
        ("tiny", our_trainer(Study("phantom:n=1600")), 20),
        ("ViT-B/32", our_steps(Study("phantom:n=400,size=224")), 1),
    ):
        steps(2)
        with torch.profiler.profile() as seen:
            steps(count)
        events = sorted(seen.key_averages(), key=lambda e: -e.self_cpu_time_total)
        total = sum(event.self_cpu_time_total for event in events)
        print(f"{title}: where the time of a step goes")
        for event in events[:10]:
            share = event.self_cpu_time_total / total
            print(f"  {share:6.1%}  {event.count / count:7.1f} a step  {event.key}")


def _endless(start: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    while True:
        yield from start()


def _cost(steps: Steps, count: int) -> float:
    """Processor seconds a step."""
    begun = time.process_time()
    steps(count)
    return (time.process_time() - begun) / count


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    parts = {"tiny": tiny, "vit": vit, "score": score, "start": start, "profile": profile}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
