"""How much of the classes is in the embeddings, in numbers that no projection bends.

neighbours   of an image with a class, the share of its nearest images of other patients that
             have it too; chance is the share among all images of other patients
purity       of k-means clusters, the share of images whose class is the commonest of their
             cluster; nmi is the normalised mutual information of clusters and classes; chance
             of both is with the classes of the images shuffled
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench.report.figures.kept import Embedded

NEIGHBOURS, CLUSTERS, SHUFFLES = 10, 40, 20
_BLOCK = 512  # query images at a time: 47,000 similarities each


class Measured(NamedTuple):
    """A number of some images with what chance would give; None where undefined."""

    measure: str
    over: str
    """A class, or the key of a group."""
    images: int
    value: float | None
    chance: float | None


def measured(
    embedded: Embedded,
    when: str,
    places: np.ndarray,
    shown: np.ndarray,
    classes: Sequence[str],
    groups: Mapping[str, np.ndarray],
) -> list[Measured]:
    """All three numbers of the drawn images, by class and by group.

    Args:
        places: of the drawn images. Neighbours are looked for among all images.
        shown: (N,) the class an image counts for in clusters, -1 for none.
        groups: (C,) bool by key.
    """
    share, chance = neighbour_shares(embedded, when, places)
    positive = (embedded.labels.astype(bool) & embedded.mask)[places]
    found = [
        Measured("neighbours", name, int(n), _defined(share[c]), _defined(chance[c]))
        for c, (name, n) in enumerate(zip(classes, positive.sum(axis=0), strict=True))
    ]
    known = ~np.isnan(share)
    for key, members in groups.items():
        here = members & known
        value = (share[here].mean(), chance[here].mean()) if here.any() else (np.nan, np.nan)
        images = int(positive[:, here].any(axis=1).sum())
        found.append(Measured("neighbours", key, images, *map(_defined, value)))
    cluster = _clusters(embedded.vectors[when][places])
    for key, members in groups.items():
        counted = np.isin(shown[places], np.flatnonzero(members))
        found += _of_clusters(key, cluster[counted], shown[places][counted])
    return found


def neighbour_shares(
    embedded: Embedded, when: str, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(C,) mean share of same-class neighbours and (C,) that of chance; NaN without an image.

    Neighbours are the `NEIGHBOURS` of largest cosine among images of other patients: those of the
    same patient look alike whatever they show. Images whose label is unknown do not count.
    """
    vectors, patients = embedded.vectors[when], embedded.patients
    known, positive = embedded.mask, embedded.labels.astype(bool) & embedded.mask
    _, code, images_of = np.unique(patients, return_inverse=True, return_counts=True)
    k = min(NEIGHBOURS, len(patients) - int(images_of.max()))
    if k < 1:
        return np.full(known.shape[1], np.nan), np.full(known.shape[1], np.nan)
    share = np.full((len(places), known.shape[1]), np.nan)
    for start in range(0, len(places), _BLOCK):
        block = places[start : start + _BLOCK]
        cosine = vectors[block] @ vectors.T
        cosine[patients[block][:, None] == patients[None, :]] = -np.inf
        nearest = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        share[start : start + len(block)] = _ratio(
            positive[nearest].sum(axis=1), known[nearest].sum(axis=1)
        )
    of_patient = np.zeros((2, len(images_of), known.shape[1]))
    for counts, labels in zip(of_patient, (positive, known), strict=True):
        np.add.at(counts, code, labels)
    others = [counts.sum(axis=0) - counts[code[places]] for counts in of_patient]
    chance = _ratio(others[0], others[1])
    chosen = positive[places] & ~np.isnan(share)
    return _mean_where(share, chosen), _mean_where(chance, chosen)


def _clusters(vectors: np.ndarray) -> np.ndarray:
    """(n,) cluster of each image, by k-means with a fixed seed."""
    from sklearn.cluster import KMeans

    distinct = len(np.unique(vectors, axis=0))
    means = KMeans(min(CLUSTERS, distinct), n_init=4, random_state=0)
    cluster: np.ndarray = means.fit_predict(vectors)
    return cluster


def _of_clusters(key: str, cluster: np.ndarray, shown: np.ndarray) -> list[Measured]:
    from sklearn.metrics import normalized_mutual_info_score

    n = len(shown)
    if len(np.unique(shown)) < 2:
        return [Measured(name, key, n, None, None) for name in ("purity", "nmi")]
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(shown) for _ in range(SHUFFLES)]
    found = []
    for name, of in (("purity", _purity), ("nmi", normalized_mutual_info_score)):
        chance = float(np.mean([of(classes, cluster) for classes in shuffled]))
        found.append(Measured(name, key, n, float(of(shown, cluster)), chance))
    return found


def _purity(shown: np.ndarray, cluster: np.ndarray) -> float:
    counts = np.zeros((cluster.max() + 1, shown.max() + 1), dtype=np.int64)
    np.add.at(counts, (cluster, shown), 1)
    return float(counts.max(axis=1).sum() / len(shown))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part of whole, NaN where the whole is 0."""
    out: np.ndarray = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return out


def _mean_where(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(C,) mean of each column over the chosen lines, NaN without any."""
    return _ratio(np.where(chosen, values, 0.0).sum(axis=0), chosen.sum(axis=0))


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
