from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bench.errors import UsageError
from bench.protocol.batches import Split
from bench.protocol.planted import planted_dataset
from bench.protocol.trainer import train as train_method
from cxrcml import positive_pairs, soft_labels, soft_pair_loss, triplet_loss
from methods.cxrcml import CxrCml, CxrCmlConfig

DATA = planted_dataset()


def _built(**settings: Any) -> tuple[CxrCml, Split]:
    few = {} if "recipe" in settings else {"n_clusters": 5}
    method = CxrCml(replace(CxrCmlConfig.tiny(), **few, **settings))
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
    assert [entry["epoch"] for entry in told["metric_loss"]] == [0]
    assert 0 < told["metric_loss"][0]["active"] <= 1
    assert 0 < told["metric_loss"][0]["with_positive"] <= 1


@pytest.mark.parametrize("mining", ["all", "batch_hard", "random"])
def test_every_way_of_mining_gives_a_loss_with_a_gradient(mining: str) -> None:
    method, train = _built(mining=mining)
    method.start_epoch(0, train)
    method.loss(train.batch(np.arange(32))).backward()
    gradients = [p.grad for p in method.model.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(g.isfinite().all()) for g in gradients)


def test_without_an_interval_the_mixture_is_fitted_once() -> None:
    method, train = _built(refit_every=None)
    for epoch in range(3):
        method.start_epoch(epoch, train)
    assert [fit["epoch"] for fit in method.diagnostics()["clusterings"]] == [0]


def test_a_warm_up_is_the_contrastive_loss_alone() -> None:
    method, train = _built(warm_up=1)
    batch = train.batch(np.arange(32))
    for epoch, apart in ((0, False), (1, True)):
        method.start_epoch(epoch, train)
        method.model.eval()
        with torch.no_grad():
            images = method.model.encode_image(batch.images)
            assert (method.loss(batch) != method.contrast(images, batch.texts)) == apart
    assert [fit["epoch"] for fit in method.diagnostics()["clusterings"]] == [1]


def test_triplets_may_be_of_an_image_and_two_texts() -> None:
    method, train = _built(distance="image-text")
    method.start_epoch(0, train)
    method.model.eval()
    batch = train.batch(np.arange(32))
    with torch.no_grad():
        images, texts = method.model.encode_image(batch.images), method.encode_each(batch.texts)
        metric = triplet_loss(images, method._labels[batch.rows], others=texts)
        expected = method.contrast(images, batch.texts) + metric
        torch.testing.assert_close(method.loss(batch), expected)


def test_a_mixture_of_each_batch_needs_none_of_the_epoch() -> None:
    method, train = _built(clustering="batch")
    method.start_epoch(0, train)
    assert method.diagnostics()["clusterings"] == []
    method.loss(train.batch(np.arange(32))).backward()
    assert 0 < method.diagnostics()["metric_loss"][0]["with_positive"] <= 1


@pytest.mark.parametrize("settings", [{"clustering": "batch"}, {"recipe": "authors-2025-02"}])
def test_the_validation_loss_is_the_contrastive_one(settings: dict[str, Any]) -> None:
    method, train = _built(**settings)
    method.start_epoch(0, train)
    method.model.eval()
    batch = train.batch(np.arange(32))
    texts = list(map(method._written, batch.texts))
    with torch.no_grad():
        expected = method.contrast(method.model.encode_image(batch.images), texts)
        torch.testing.assert_close(method.loss(batch), expected)


def test_batches_hold_images_of_a_cluster_when_asked() -> None:
    method, train = _built(images_per_cluster=4)
    assert method.order(np.random.default_rng(0)) is None
    method.start_epoch(0, train)
    order = method.order(np.random.default_rng(0))
    assert order is not None
    assert sorted(order) == list(range(80))
    labels = method._labels[:80].numpy()[order]
    assert (labels[:-1] == labels[1:]).mean() > 0.6
    # The trainer reads the training part in this order.
    batches = train.batches(16, np.random.default_rng(1), order=order)
    assert torch.cat([batch.rows for batch in batches]).tolist() == order.tolist()


@pytest.mark.parametrize("groups", ["label_sets", "coarse_sets", "rarest_class", "nearest_class"])
def test_triplets_may_be_made_of_the_true_labels(groups: str) -> None:
    method, train = _built(groups=groups)
    method.start_epoch(0, train)
    assert (method._labels[80:] == -1).all()
    method.loss(train.batch(np.arange(32))).backward()
    (told,) = method.diagnostics()["clusterings"]
    assert sum(told["occupancy"]) <= 80
    assert "nmi" not in told


def test_the_authors_recipe_adds_their_soft_pair_loss() -> None:
    method, train = _built(recipe="authors-2025-02")
    with torch.no_grad():
        # A temperature at which the hinge is open.
        method.model.logit_scale.fill_(-4.0)
    method.start_epoch(0, train)
    batch = train.batch(np.arange(32))
    torch.manual_seed(5)
    loss = method.loss(batch)
    torch.manual_seed(5)
    images = method.model.encode_image(batch.images)
    texts = method.encode_each([method._written(text) for text in batch.texts])
    labels = soft_labels(images.detach().double().numpy(), int(torch.randint(2**31, ())))
    metric = soft_pair_loss(
        images, texts, torch.from_numpy(positive_pairs(labels)), method.temperature()
    )
    assert metric.loss.item() > 0
    expected = method.contrast_pairs(images, texts) + metric.loss
    torch.testing.assert_close(loss, expected)
    assert method.diagnostics()["metric_loss"][0]["active"] == 1.0


def test_the_authors_write_sentences() -> None:
    method, _ = _built(recipe="authors-2025-02")
    assert method._written("edema is present, mass is present") == (
        "edema is present. mass is present."
    )
    assert _built()[0]._written("edema is present") == "edema is present"


def test_the_authors_recipe_in_full_is_a_preset() -> None:
    config = CxrCmlConfig.upstream()
    assert (config.recipe, config.batch_size, config.epochs) == ("authors-2025-02", 64, 10)
    assert (config.lr, config.weight_decay, config.plateau_patience) == (1e-6, 1e-4, 3)


def test_new_settings_leave_the_identity_of_older_trials_alone() -> None:
    told = CxrCmlConfig.tiny().as_dict()
    assert not {"recipe", "clustering", "distance", "warm_up", "groups"} & set(told)
    assert CxrCmlConfig.from_dict(told) == CxrCmlConfig.tiny()


def test_every_setting_trains() -> None:
    settings = {"warm_up": 1, "images_per_cluster": 2, "distance": "image-text", "epochs": 2}
    method, part = _built(**settings, batch_size=16)
    outcome = train_method(method, part, part, (0,), lambda entry: None)
    assert outcome.epochs == 2
    shares = [entry["active"] for entry in method.diagnostics()["metric_loss"]]
    assert shares[0] is None
    assert shares[1] is not None


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="soft=true"):
        CxrCmlConfig.tiny().with_settings({"soft": "true", "mining": "random"})
    with pytest.raises(UsageError, match="no mixture"):
        CxrCmlConfig.tiny().with_settings({"groups": "label_sets", "clustering": "batch"})
    with pytest.raises(UsageError, match="before there are batches"):
        CxrCmlConfig.tiny().with_settings({"images_per_cluster": "4", "clustering": "batch"})
    with pytest.raises(UsageError, match="does not read nu, margin"):
        CxrCmlConfig.tiny().with_settings(
            {"recipe": "authors-2025-02", "nu": "2", "margin": "0.3", "warm_up": "1"}
        )
    with pytest.raises(UsageError, match="n_clusters is at least 1"):
        CxrCmlConfig.tiny().with_settings({"n_clusters": "0"})


def test_a_small_cohort_gets_fewer_clusters() -> None:
    assert CxrCmlConfig().pseudo_labels(5).n_components == 2
    assert CxrCmlConfig().pseudo_labels(10_000).n_components == 40
