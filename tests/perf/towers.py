"""Which small image tower learns most per CPU second: the choice of the `tiny` preset.

    python -m tests.perf.towers                      # on the phantom, some ten minutes on two cores
    python -m tests.perf.towers --data csv:PATH --seconds 90
    python -m tests.perf.towers --only ViT --lr 1e-3     # the preset's rate may not suit a tower

Every tower replaces the image half of the same CLIP pair (InfoNCE on meta captions) and trains for
the same seconds of one core on the same folds: the number of epochs is what fits. Read the AUC at
equal cost, not at equal epochs.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np

PARTS = (0, 1, 2)
TRIED_STEPS = 12


def towers(size: int) -> dict[str, Callable[[], object]]:
    """Towers of (N, 1, size, size) to (N, 128), by name."""
    import timm

    from methods._clip import tiny_image_tower

    def make(model: str, **settings: object) -> Callable[[], object]:
        return lambda: timm.create_model(model, in_chans=1, num_classes=128, **settings)

    vit = {"img_size": size, "num_heads": 2}
    return {
        "ours: ResNet 16-128, 5x5": tiny_image_tower,
        "ResNet 16-128, three 3x3": make("resnet10t", channels=(16, 32, 64, 128), stem_width=8),
        "ResNet 12-96, three 3x3": make("resnet10t", channels=(12, 24, 48, 96), stem_width=8),
        "ResNet 24-192, three 3x3": make("resnet10t", channels=(24, 48, 96, 192), stem_width=12),
        "ConvNeXt 16-128": make("convnext_atto", dims=(16, 32, 64, 128), depths=(1, 1, 1, 1)),
        "MobileNetV3 small": make("mobilenetv3_small_050"),
        "ViT 128 x 4, patch 16": make(
            "vit_tiny_patch16_224", patch_size=16, embed_dim=128, depth=4, **vit
        ),
        "ViT 64 x 4, patch 8": make(
            "vit_tiny_patch16_224", patch_size=8, embed_dim=64, depth=4, **vit
        ),
        "ResNet stem + ViT 128 x 2": make("vit_tiny_r_s16_p8_224", embed_dim=128, depth=2, **vit),
        "LeViT 64-128": make(
            "levit_128s",
            img_size=size,
            embed_dim=(64, 96, 128),
            key_dim=16,
            num_heads=(2, 3, 4),
            depth=(1, 1, 1),
        ),
    }


def trial(
    data: str, name: str, fold: int, seconds: float, lr: float | None
) -> tuple[float, float, float, int]:
    """Stratified macro AUC under both prompt policies, milliseconds a step, and epochs."""
    import torch

    torch.set_num_threads(1)
    import methods._clip as clip
    from bench.data import load_dataset
    from bench.protocol.batches import Split
    from bench.protocol.captions import meta_captions
    from bench.protocol.folds import patient_folds
    from bench.protocol.prompts import POLICIES, prompts_for
    from bench.protocol.trainer import train
    from bench.stats.metrics import macro, stratified_auroc
    from methods._torchvision import make_torchvision_importable
    from methods.chexzero import CheXzero

    make_torchvision_importable()
    dataset = load_dataset(data)
    captions = meta_captions(dataset.labels, dataset.mask, dataset.classes)
    table = patient_folds(
        dataset.labels, dataset.patients, n_folds=5, seed=(0, 0), mask=dataset.mask
    )
    fit, held, test = table.train_valid_test(fold)
    some = np.array([bool(text) for text in captions])
    device = torch.device("cpu")
    config = replace(CheXzero.Config.tiny(), text="meta")
    if lr is not None:
        config = replace(config, lr=lr)
    parts = [
        Split(dataset, rows, captions, captions, config.image_size, device)
        for rows in (fit[some[fit]], held[some[held]], test)
    ]
    clip.tiny_image_tower = towers(min(dataset.size, config.image_size))[name]  # type: ignore[assignment]
    texts = tuple(captions[row] for row in (*fit, *held))

    def training(epochs: int, part: Split) -> tuple[CheXzero, float]:
        torch.manual_seed(fold)
        method = CheXzero(replace(config, epochs=epochs))
        method.model = method.build(dataset.classes, texts, device)
        started = time.perf_counter()
        train(method, part, parts[1], (0, 0, fold), lambda entry: None)
        return method, time.perf_counter() - started

    few = Split(
        dataset, parts[0].rows[: 32 * TRIED_STEPS], captions, captions, config.image_size, device
    )
    training(1, few)
    epoch = training(1, few)[1] * len(parts[0]) / len(few)
    epochs = max(1, round(seconds / epoch))
    method, took = training(epochs, parts[0])
    method.model.eval()
    values = []
    with torch.no_grad():
        for policy in POLICIES:
            prompts = prompts_for(policy, dataset.classes)
            scores = torch.cat([method.score(images, prompts) for images in parts[2].images()])
            auc = [
                stratified_auroc(
                    scores[:, c].numpy(),
                    dataset.labels[test, c],
                    dataset.sources[test],
                    dataset.mask[test, c],
                )
                for c in range(len(dataset.classes))
            ]
            values.append(macro(auc).value or np.nan)
    return values[0], values[1], 1e3 * took / epochs / (len(parts[0]) / 32), epochs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="phantom")
    parser.add_argument("--seconds", type=float, default=16, help="of training, a fold")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--only", help="part of a tower's name")
    options = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    from methods._torchvision import make_torchvision_importable

    make_torchvision_importable()
    names = [name for name in towers(64) if options.only is None or options.only in name]
    print(f"{options.data}, {options.seconds:g} s of one core a fold, folds {PARTS}")
    print("tower                      AUC pair  positive  epochs  ms/step")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        told = {
            name: [
                pool.submit(trial, options.data, name, fold, options.seconds, options.lr)
                for fold in PARTS
            ]
            for name in names
        }
        for name, waiting in told.items():
            pair, positive, step, epochs = np.mean([w.result() for w in waiting], axis=0)
            print(
                f"{name:26s} {pair:8.3f}  {positive:8.3f}  {epochs:6.1f}  {step:7.1f}", flush=True
            )


if __name__ == "__main__":
    main()
