from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.errors import UsageError
from bench.protocol.batches import Split
from bench.protocol.conformance import planted_dataset
from cxrcml import triplet_loss
from methods.cxrcml import CxrCml, CxrCmlConfig

DATA = planted_dataset()


def _built(**settings: object) -> tuple[CxrCml, Split]:
    method = CxrCml(replace(CxrCmlConfig.tiny(), n_clusters=5, **settings))  # type: ignore[arg-type]
    torch.manual_seed(0)
    method.model = method.build(DATA.classes, DATA.reports, torch.device("cpu"))
    rows = np.arange(0, 80)
    return method, Split(DATA, rows, DATA.reports, DATA.reports, 64, torch.device("cpu"))


def test_the_loss_is_the_sum_of_contrast_and_metric_loss() -> None:
    method, train = _built()
    method.start_epoch(0, train)
    method.model.eval()
    batch = train.batch(np.arange(32))
    with torch.no_grad():
        embedded = method.model.encode_image(batch.images)
        labels = method._labels[batch.rows]
        expected = method.contrast(embedded, batch.texts) + triplet_loss(embedded, labels)
        torch.testing.assert_close(method.loss(batch), expected)
        assert triplet_loss(embedded, labels) > 0


def test_images_outside_the_training_part_have_no_pseudo_label() -> None:
    method, train = _built()
    method.start_epoch(0, train)
    assert (method._labels[:80] >= 0).all()
    assert (method._labels[80:] == -1).all()


def test_the_mixture_is_refitted_as_often_as_asked() -> None:
    method, train = _built(refit_every=2)
    for epoch in range(4):
        method.start_epoch(epoch, train)
    fits = [fit["epoch"] for fit in method.diagnostics()["clusterings"]]
    assert fits == [0, 2]


def test_responsibilities_weigh_the_triplets_when_soft() -> None:
    (hard, train), (soft, _) = _built(), _built(soft=True)
    batch = train.batch(np.arange(32))
    values = []
    for method in (hard, soft):
        method.start_epoch(0, train)
        method.model.eval()
        with torch.no_grad():
            values.append(float(method.loss(batch)))
    assert values[0] != values[1]
    assert np.isfinite(values).all()


def test_diagnostics_explain_the_metric_loss() -> None:
    method, train = _built()
    method.start_epoch(0, train)
    method.loss(train.batch(np.arange(32)))
    told = method.diagnostics()
    assert sum(told["clusterings"][0]["occupancy"]) == 80
    assert 0 < told["last_epoch"]["active_triplets"] <= 1
    assert 0 < told["last_epoch"]["anchors_with_positive"] <= 1


@pytest.mark.parametrize("mining", ["all", "batch_hard", "random"])
def test_every_way_of_mining_gives_a_loss_with_a_gradient(mining: str) -> None:
    method, train = _built(mining=mining)
    method.start_epoch(0, train)
    method.loss(train.batch(np.arange(32))).backward()
    gradients = [p.grad for p in method.model.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(g.isfinite().all()) for g in gradients)


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="soft=true"):
        CxrCmlConfig.tiny().with_settings({"soft": "true", "mining": "random"})
    with pytest.raises(UsageError, match="n_clusters is at least 1"):
        CxrCmlConfig.tiny().with_settings({"n_clusters": "0"})


def test_a_small_cohort_gets_fewer_clusters() -> None:
    assert CxrCmlConfig().pseudo_labels(5).n_components == 2
    assert CxrCmlConfig().pseudo_labels(10_000).n_components == 40
