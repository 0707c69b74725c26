"""Can every sign of the phantom be seen? A probe trained with supervision, scored class by class.

    python -m tests.perf.phantom_probe                  # four minutes of one core
    python -m tests.perf.phantom_probe --only Nodule    # a probe that is taught one class
    python -m tests.perf.phantom_probe --sheet docs/phantom_signs.png

One small network with a logit a class learns from drawings whose labels it is told, then ranks
drawings of other patients: as many with the class as without it, alike in everything else. It is
asked twice:

*Alone.* The sign on a chest that has nothing else, against chests that have nothing at all.

*Among others.* The other findings of a study of the phantom's default cohort on both sides, the
same sets of them. What keeps company with the class in the cohort cannot give it away.

Normal excludes all others, so it stands against one other finding, and against such a study.
Grades are drawn as the phantom draws them; "subtle" leaves, of the images with the class, those
of a grade below 0.5. Nothing is read from disk: every image is a function of the seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from bench.classes import CLASSES, NORMAL
from bench.data.phantom import draw_shot, make_cohort
from bench.data.phantom.cohort import Shot
from bench.data.phantom.traits import sign_rng, trait
from bench.data.sheet import contact_sheet
from bench.stats.bootstrap import cluster_bootstrap

SIZE, SHEET_SIZE = 64, 128
TRAINED, EPOCHS, BATCH, RATE = 40_000, 6, 64, 4e-3
SIDE = 100  # test images with the class, and as many without it, of each class and question
SUBTLE, REACHED = 0.5, 0.8
# Every image has a patient of its own; these ranges keep the parts apart.
_TRAINING, _TEST, _SHEET = 0, 1_000_000, 2_000_000
_NORMAL, _DEVICES = CLASSES.index(NORMAL), CLASSES.index("Support Devices")

Findings = tuple[int, ...]


class Auc(NamedTuple):
    """An AUC with its 95 % interval; None where one of the sides is empty."""

    value: float | None
    interval: tuple[float, float] | None


class Answer(NamedTuple):
    """What the probe made of one question: all images, and with only the subtle positives."""

    all: Auc
    subtle: Auc


def companies(labels: np.ndarray) -> list[Findings]:
    """The sets of findings of a cohort's (n, 40) labels, in their proportions; only of the ill,
    who have something else than Normal and devices."""
    ill = np.delete(labels, [_NORMAL, _DEVICES], axis=1).any(axis=1)
    return [tuple(np.flatnonzero(row).tolist()) for row in labels[ill]]


def sides(index: int, company: Findings) -> tuple[Findings, Findings]:
    """The findings of an image with class number `index` and of one without it."""
    if index == _NORMAL:
        return (_NORMAL,), company
    without = tuple(other for other in company if other != index)
    return tuple(sorted((*without, index))), without


def question(
    seed: int, index: int, group: Sequence[Findings], first: int, rng: np.random.Generator
) -> list[Shot]:
    """2 x SIDE shots of patients from number `first` on: SIDE with the class, then SIDE without.

    Both sides have the same companies, taken at random from the group.
    """
    pairs = [sides(index, group[int(i)]) for i in rng.integers(len(group), size=SIDE)]
    findings = [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
    return shots(seed, findings, first, rng)


def shots(
    seed: int, findings: Sequence[Findings], first: int, rng: np.random.Generator
) -> list[Shot]:
    """One shot a set of findings, of patients from number `first` on; half of them portable."""
    return [
        Shot(seed, first + i, 0, 0, bool(rng.random() < 0.5), present)
        for i, present in enumerate(findings)
    ]


def lessons(
    seed: int,
    count: int,
    taught: Sequence[int],
    studies: Sequence[Findings],
    rng: np.random.Generator,
) -> list[Shot]:
    """Training shots: one of the `taught` classes at a time, four in five with it, half of them
    in company."""
    findings = []
    for place in rng.integers(len(taught), size=count):
        company = studies[int(rng.integers(len(studies)))] if rng.random() < 0.5 else ()
        findings.append(sides(taught[int(place)], company)[int(rng.random() < 0.2)])
    return shots(seed, findings, _TRAINING, rng)


def pixels_of(drawn: Sequence[Shot], size: int = SIZE) -> torch.Tensor:
    """(n, 1, size, size) uint8."""
    out = np.empty((len(drawn), 1, size, size), np.uint8)
    for image, shot in zip(out, drawn, strict=True):
        image[0] = draw_shot(shot, size, [])[0]
    return torch.from_numpy(out)


def labels_of(drawn: Sequence[Shot]) -> torch.Tensor:
    """(n, 40) float32, 0 or 1."""
    out = torch.zeros(len(drawn), len(CLASSES))
    for row, shot in zip(out, drawn, strict=True):
        row[list(shot.present)] = 1.0
    return out


def grades_of(index: int, drawn: Sequence[Shot]) -> np.ndarray:
    """(n,) grade of class number `index`; NaN where it is absent, and for Normal without grades."""
    out = np.full(len(drawn), np.nan)
    for i, shot in enumerate(drawn):
        if index in shot.present and index != _NORMAL:
            out[i] = trait(sign_rng(shot.seed, shot.patient, shot.visit, index)).grade
    return out


class Probe(nn.Module):
    """The image tower of the `tiny` preset, from scratch, and a logit for every class."""

    def __init__(self, outputs: int):
        super().__init__()
        from methods._torchvision import make_torchvision_importable

        make_torchvision_importable()
        from methods._clip import TINY_WIDTH, tiny_image_tower

        self.tower = tiny_image_tower()
        self.head = nn.Linear(TINY_WIDTH, outputs)
        self.to(memory_format=torch.channels_last)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, 1, S, S) uint8 to (n, outputs) logits."""
        return self.head(self.tower((pixels.float() - 128.0) / 64.0))


def fit(
    pixels: torch.Tensor, labels: torch.Tensor, epochs: int, generator: torch.Generator
) -> Probe:
    """A probe trained by binary cross-entropy, AdamW and one cycle of the learning rate.

    `generator` orders the images; initial weights come from torch's default generator.
    """
    probe = Probe(labels.shape[1])
    optimizer = torch.optim.AdamW(probe.parameters(), lr=RATE, weight_decay=0.05)
    steps = epochs * -(-len(pixels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    probe.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(pixels), generator=generator).split(BATCH):
            optimizer.zero_grad()
            logits = probe(pixels[rows])
            nn.functional.binary_cross_entropy_with_logits(logits, labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return probe.eval()


@torch.no_grad()
def scores_of(probe: Probe, pixels: torch.Tensor) -> np.ndarray:
    """(n, outputs) float64 logits."""
    return torch.cat([probe(block) for block in pixels.split(256)]).double().numpy()


def auc(scores: np.ndarray, labels: np.ndarray, seed: int) -> Auc:
    """The AUC of (n,) scores with the BCa interval over draws of images, each its own patient."""
    if len(np.unique(labels)) < 2:
        return Auc(None, None)
    estimate = cluster_bootstrap(
        scores[:, None], labels[:, None], np.arange(len(labels)), seed=seed
    ).groups["total"]
    return Auc(estimate.value, estimate.bca)


def answer(scores: np.ndarray, labels: np.ndarray, grades: np.ndarray, seed: int) -> Answer:
    """One question's AUCs from (n,) scores, 0/1 labels and grades (NaN: no grade)."""
    subtle = (labels == 0) | (grades < SUBTLE)
    return Answer(auc(scores, labels, seed), auc(scores[subtle], labels[subtle], seed))


def ask(probe: Probe, index: int, drawn: Sequence[Shot]) -> Answer:
    """Draws one question's images and lets the probe rank them by its logit of the class."""
    labels = np.array([int(index in shot.present) for shot in drawn])
    scores = scores_of(probe, pixels_of(drawn))[:, index]
    return answer(scores, labels, grades_of(index, drawn), seed=index)


def table(answers: dict[str, tuple[Answer, Answer]]) -> str:
    """Markdown: a row a class, the hardest among others first, then what they come to."""
    lines = ["| class | alone | alone, subtle | among others | among others, subtle |"]
    lines.append("|---|---|---|---|---|")
    for name in sorted(answers, key=lambda name: answers[name][1].all.value or 0.0):
        cells = [_cell(found) for pair in answers[name] for found in pair]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("")
    for title, place in (("Alone", 0), ("Among others", 1)):
        values = {name: pair[place].all.value or 0.0 for name, pair in answers.items()}
        short = [name for name, value in values.items() if value <= REACHED]
        lines.append(
            f"{title}: mean {np.mean(list(values.values())):.3f}, lowest "
            f"{min(values.values()):.3f}; {len(values) - len(short)} of {len(values)} classes "
            f"above {REACHED:g}" + (f", not {', '.join(short)}." if short else ".")
        )
    return "\n".join(lines)


def _cell(found: Auc) -> str:
    if found.value is None:
        return "–"
    if found.interval is None:
        return f"{found.value:.3f}"
    return f"{found.value:.3f} [{found.interval[0]:.3f}, {found.interval[1]:.3f}]"


def sheet(path: Path, seed: int) -> None:
    """Every class alone on a chest of its own, at a grade between 0.4 and 0.5."""
    drawn = []
    for index in range(len(CLASSES)):
        patient = _SHEET
        while not 0.4 < trait(sign_rng(seed, patient, 0, index)).grade < SUBTLE:
            patient += 1
        drawn.append(Shot(seed, patient, 0, 0, False, (index,)))
    contact_sheet(pixels_of(drawn, SHEET_SIZE)[:, 0].numpy(), CLASSES, path, columns=8)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="write a PNG of the 40 signs and do no more")
    parser.add_argument("--only", choices=CLASSES, help="spend all training on this class")
    options = parser.parse_args()
    if options.sheet:
        sheet(options.sheet, options.seed)
        return
    torch.set_num_threads(1)
    began = time.process_time()
    rng = np.random.default_rng((options.seed, 7))
    studies = companies(make_cohort(seed=options.seed).labels)
    taught = [CLASSES.index(options.only)] if options.only else range(len(CLASSES))
    drawn = lessons(options.seed, TRAINED, taught, studies, rng)
    pixels, labels = pixels_of(drawn), labels_of(drawn)
    torch.manual_seed(options.seed)
    probe = fit(pixels, labels, EPOCHS, torch.Generator().manual_seed(options.seed))
    answers = {}
    for index in taught:
        one = [(other,) for other in range(len(CLASSES)) if other != index]
        groups = one if index == _NORMAL else [()], studies
        found = []
        for place, group in enumerate(groups):
            first = _TEST + 2 * SIDE * (2 * index + place)
            found.append(ask(probe, index, question(options.seed, index, group, first, rng)))
        answers[CLASSES[index]] = found[0], found[1]
    print(f"synthetic; {SIZE} pixels, {TRAINED:,} training images, {SIDE} + {SIDE} test images\n")
    print(table(answers))
    print(f"\n{time.process_time() - began:.0f} s of one core")


if __name__ == "__main__":
    main()
