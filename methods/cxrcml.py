"""CXR-CML (Madhipati et al., MICCAI 2025): CLIP plus a metric loss on mixture pseudo-labels.

At the start of an epoch a Gaussian mixture refined by Student-t (Eqs. 1-2) is fitted to the
embeddings of all training images; its assignments are the labels of a triplet loss L_m (Eq. 3) that
is added to CheXzero's contrastive loss, L = L_c + L_m (Eq. 4). What the paper leaves open is a
setting here; docs/reproduction.md has the reasons for the defaults and what each costs.
`recipe=authors-2025-02` puts the metric loss of the authors' public code in the place of the
paper's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.protocol.batches import Batch, Split
from bench.protocol.config import added
from bench.protocol.method import Card
from cxrcml import (
    PseudoLabelConfig,
    PseudoLabeller,
    class_purity,
    cluster_order,
    positive_pairs,
    soft_labels,
    soft_pair_loss,
    triplet_result,
)
from methods._class_groups import label_groups
from methods._clip import ClipMethod
from methods._clip_config import ClipConfig

_OF_BOTH_RECIPES = {"recipe", "metric_weight", "warm_up"}


@dataclass(frozen=True)
class CxrCmlConfig(ClipConfig):
    """The paper's values where it gives them: nu, n_clusters, metric_weight."""

    n_clusters: int = 40
    nu: float = 4.0
    """Degrees of freedom (Eq. 2); inf keeps the Gaussian mixture."""
    refit_every: int | None = 1
    """Epochs between two fits of the mixture; None = one fit, before the first."""
    normalise: bool = True
    pca: int | None = 64
    covariance: Literal["auto", "full", "diag", "tied", "spherical"] = "auto"
    gmm_init: Literal["k-means++", "kmeans"] = "k-means++"
    gmm_iters: int = 100
    t_iters: int = 10
    tol: float = 1e-3
    shrinkage: float = 0.1
    ridge: float = 1e-6
    warm_start: bool = True
    soft: bool = False
    """Weight triplets by responsibilities instead of using the assignments alone."""
    margin: float = 0.2
    """The paper's alpha."""
    reduction: Literal["mean_active", "mean", "sum"] = "mean_active"
    mining: Literal["all", "batch_hard", "random"] = "all"
    metric_weight: float = 1.0

    recipe: Literal["paper", "authors-2025-02"] = added("paper")
    """Whose metric loss; the authors' has no setting but metric_weight and warm_up."""
    clustering: Literal["epoch", "batch"] = added("epoch")
    """What a mixture is fitted to: all training images, or the images of each batch."""
    distance: Literal["image-image", "image-text"] = added("image-image")
    """What a triplet's distances are between: images, or an image and two texts."""
    warm_up: int = added(0)
    """Epochs of L_c alone before the first fit and L_m."""
    images_per_cluster: int | None = added(None)
    """Batches are made of runs of so many images of a cluster (P x K); None = at random."""
    groups: Literal["mixture", "label_sets", "coarse_sets", "rarest_class", "nearest_class"] = (
        added("mixture")
    )
    """Whose groups the triplets are made of; all but `mixture` are made of the true labels."""

    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        **ClipConfig.RANGES,
        "n_clusters": (1, math.inf),
        "nu": (1e-3, math.inf),
        "refit_every": (1, math.inf),
        "pca": (1, math.inf),
        "gmm_iters": (0, math.inf),
        "t_iters": (0, math.inf),
        "tol": (0, math.inf),
        "shrinkage": (0, 1),
        "ridge": (0, math.inf),
        "margin": (0, math.inf),
        "metric_weight": (0, math.inf),
        "warm_up": (0, math.inf),
        "images_per_cluster": (1, math.inf),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.soft and self.mining != "all":
            raise UsageError(f"soft=true weighs all triplets; it cannot go with {self.mining}.")
        if self.groups != "mixture" and (self.soft or self.clustering == "batch"):
            raise UsageError(
                f"groups={self.groups} has no mixture to be soft or fitted to a batch."
            )
        if self.images_per_cluster is not None and self.clustering == "batch":
            raise UsageError("images_per_cluster needs clusters before there are batches.")
        if self.recipe != "paper":
            shared = {f.name for f in dataclasses.fields(ClipConfig)} | _OF_BOTH_RECIPES
            own = [f for f in dataclasses.fields(self) if f.name not in shared]
            unread = [f.name for f in own if getattr(self, f.name) != f.default]
            if unread:
                raise UsageError(f"recipe={self.recipe} does not read {', '.join(unread)}.")

    @classmethod
    def upstream(cls) -> Self:
        """The authors' public code of February 2025: its metric loss and its training recipe.

        The best epoch is chosen by the validation loss here; the snapshot chooses it by the AUC of
        the fold that it reports.
        """
        return dataclasses.replace(
            cls.paper(),
            preset="upstream",
            recipe="authors-2025-02",
            batch_size=64,
            epochs=10,
            weight_decay=1e-4,
            plateau_patience=3,
            early_stop=None,
        )

    def pseudo_labels(self, images: int) -> PseudoLabelConfig:
        """The mixture's part; a cohort too small for K clusters of two images gets fewer."""
        return PseudoLabelConfig(
            n_components=min(self.n_clusters, max(1, images // 2)),
            normalise=self.normalise,
            pca=self.pca,
            covariance=self.covariance,
            init=self.gmm_init,
            gmm_iters=self.gmm_iters,
            t_iters=self.t_iters,
            nu=self.nu,
            tol=self.tol,
            shrinkage=self.shrinkage,
            ridge=self.ridge,
            # The images of one batch are not those of the next.
            warm_start=self.warm_start and self.clustering == "epoch",
        )


class CxrCml(ClipMethod):
    """CheXzero's loss plus a triplet loss between mixture components."""

    card = Card(
        title="CXR-CML",
        citation="Madhipati et al., MICCAI 2025 (arXiv 2507.19398)",
        licence="paper's text; code here MIT",
    )
    Config = CxrCmlConfig
    loss_on_device = True

    def build(
        self, classes: tuple[str, ...], texts: tuple[str, ...], device: torch.device
    ) -> nn.Module:
        self._seed: int | None = None
        self._labels = self._responsibilities = torch.empty(0)
        self._groups: np.ndarray | None = None
        self._epochs: list[dict[str, Any]] = []
        self._counts: list[Tensor] = []
        self._on = False
        return super().build(classes, tuple(map(self._written, texts)), device)

    def start_epoch(self, epoch: int, train: Split) -> None:
        self._counts.append(torch.zeros(4, device=train.device))
        self._on = epoch >= self.config.warm_up
        if not self._on or self.config.recipe != "paper" or self.config.clustering == "batch":
            return
        since, every = epoch - self.config.warm_up, self.config.refit_every
        if since and (every is None or since % every):
            return
        positive = train.dataset.labels[train.rows] & train.dataset.mask[train.rows]
        told = (
            self._fit_mixture(train)
            if self.config.groups == "mixture"
            else self._group_by_labels(train, positive.astype(bool))
        )
        assert self._groups is not None
        purity = class_purity(self._groups, positive.astype(bool))
        told["class_purity"] = [None if math.isnan(share) else float(share) for share in purity]
        self._epochs.append({"epoch": epoch, **told})

    def _fit_mixture(self, train: Split) -> dict[str, Any]:
        """Labels of the training part from the mixture, and how it came out."""
        if self._seed is None:
            self._seed = int(torch.randint(2**31, ()))
        labeller = PseudoLabeller(self.config.pseudo_labels(len(train)), seed=self._seed)
        if self._groups is not None:
            labeller.load_state_dict({"labels": torch.from_numpy(self._groups)})
        found = labeller(train.embed(self), train.dataset.labels[train.rows])
        self._keep(train, found.labels)
        if self.config.soft:
            tau = found.responsibilities
            self._responsibilities = torch.zeros(len(train.dataset), tau.shape[1]).to(train.device)
            rows = torch.from_numpy(train.rows).to(train.device)
            self._responsibilities[rows] = tau.to(train.device)
        return {**found.diagnostics}

    def _group_by_labels(self, train: Split, positive: np.ndarray) -> dict[str, Any]:
        """Groups of the training part made of its labels, and how many."""
        embeddings = train.embed(self).cpu().numpy()
        groups = label_groups(self.config.groups, positive, train.dataset.classes, embeddings)
        self._keep(train, torch.from_numpy(groups))
        occupancy = np.unique(groups[groups >= 0], return_counts=True)[1]
        return {"occupancy": sorted(occupancy.tolist(), reverse=True)}

    def _keep(self, train: Split, labels: Tensor) -> None:
        """The label of each training image; any other keeps -1 and takes no part in L_m."""
        self._groups = labels.numpy()
        self._labels = torch.full((len(train.dataset),), -1, device=train.device)
        self._labels[torch.from_numpy(train.rows).to(train.device)] = labels.to(train.device)

    def order(self, rng: np.random.Generator) -> np.ndarray | None:
        if self.config.images_per_cluster is None or self._groups is None:
            return None
        return cluster_order(self._groups, self.config.images_per_cluster, rng)

    def inputs(self, batch: Batch) -> dict[str, Tensor] | None:
        # A mixture of a batch, the authors' one included, is fitted on the host.
        if self.config.clustering == "batch" or self.config.recipe != "paper":
            return None
        inputs = super().inputs(batch)
        if inputs is None or not self._on:
            return inputs
        inputs["labels"] = self._labels[batch.rows]
        if self.config.soft:
            inputs["responsibilities"] = self._responsibilities[batch.rows]
        return inputs

    def loss_of(self, inputs: dict[str, Tensor]) -> Tensor:
        images, texts = self._encoded(inputs)
        contrast = self.contrast_pairs(images, texts)
        if "labels" not in inputs:
            return contrast
        labels, tau = inputs["labels"], inputs.get("responsibilities")
        metric, counts = self._triplets(images, texts, labels, tau)
        self._counts[-1] += torch.stack(counts).to(torch.float32)
        return contrast + self.config.metric_weight * metric

    def loss(self, batch: Batch) -> Tensor:
        images = self.model.encode_image(batch.images)
        texts = self.encode_each(list(map(self._written, batch.texts)))
        contrast = self.contrast_pairs(images, texts)
        per_batch = self.config.clustering == "batch" or self.config.recipe != "paper"
        # Validation images have no label of the mixture; a loss that clusters its own batch is
        # left out for them too, so that the validation loss is L_c under every setting.
        if not self._on or (per_batch and not self.model.training):
            return contrast
        metric, counts = (
            self._soft_pairs(images, texts)
            if self.config.recipe != "paper"
            else self._triplets(images, texts, *self._groups_of(batch, images))
        )
        if self.model.training:
            self._counts[-1] += torch.stack(counts).to(torch.float32)
        return contrast + self.config.metric_weight * metric

    def _groups_of(self, batch: Batch, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B,) labels of a batch, and (B, K) responsibilities where they weigh triplets."""
        config = self.config
        if config.clustering == "batch":
            seed = int(torch.randint(2**31, ()))
            found = PseudoLabeller(config.pseudo_labels(len(images)), seed=seed)(images.detach())
            tau = found.responsibilities.to(images.device)
            return found.labels.to(images.device), tau if config.soft else None
        if not config.soft:
            return self._labels[batch.rows], None
        return self._labels[batch.rows], self._responsibilities[batch.rows]

    def _triplets(
        self, images: Tensor, texts: Tensor, labels: Tensor, responsibilities: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """L_m of the paper, and its counts."""
        config = self.config
        result = triplet_result(
            images,
            labels,
            margin=config.margin,
            reduction=config.reduction,
            mining=config.mining,
            responsibilities=responsibilities,
            others=texts if config.distance == "image-text" else None,
        )
        return result.loss, result[1:]

    def _soft_pairs(self, images: Tensor, texts: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """L_m of the authors' code; the counts are hinges and pairs instead of triplets."""
        seed = int(torch.randint(2**31, ()))
        labels = soft_labels(images.detach().double().cpu().numpy(), seed)
        positive = torch.from_numpy(positive_pairs(labels)).to(images.device)
        result = soft_pair_loss(images, texts, positive, self.temperature())
        one = torch.ones_like(result.is_active)
        return result.loss, (one, result.is_active, result.n_positive, one * positive.numel())

    def _written(self, text: str) -> str:
        """A training text as the recipe writes it: clauses in a row, or sentences."""
        if self.config.recipe == "paper" or self.config.text != "meta":
            return text
        return text.replace(", ", ". ") + "."

    def diagnostics(self) -> dict[str, Any]:
        told = []
        for epoch, counts in enumerate(self._counts):
            triplets, active, anchors, labelled = counts.tolist()
            told.append(
                {
                    "epoch": epoch,
                    "active": active / triplets if triplets else None,
                    "with_positive": anchors / labelled if labelled else None,
                }
            )
        return super().diagnostics() | {"clusterings": self._epochs, "metric_loss": told}
