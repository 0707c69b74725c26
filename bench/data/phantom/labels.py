"""Who has which finding: CXR-LT's long tail, compressed, from one Gaussian score per class.

Every study has a score per class: what its patient shares with other classes (heart, infection,
lesion, trauma, intensive care, age), what the patient keeps over time, and what is new today.
A class takes the highest scores until its share of the images is reached, so counts are exact,
while co-occurrence and persistence come from the scores. "Normal" is taken first and excludes
everything but devices; is-a edges leak upwards with a probability below one, as they do in CXR-LT.

Compressed: a class of prevalence p among the training images gets 0.0085 + 0.785 p^0.9, which
turns 33 % .. 0.05 % into 30 % .. 0.9 % and keeps the order. From `FULL_SIZE` images on it gets p.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.classes import CLASSES, NORMAL, RARE, TRAIN_COUNTS, TRAIN_IMAGES

FULL_SIZE = 100_000
"""From so many images on, nothing is compressed: counts are CXR-LT's, in proportion."""
_DEVICES = "Support Devices"

# Loadings on (heart, infection, lesion, trauma, intensive care, age): what goes with what.
_LOADINGS: dict[str, tuple[float, float, float, float, float, float]] = {
    "Adenopathy": (0.0, 0.0, 0.6, 0.0, 0.0, 0.0),
    "Atelectasis": (0.1, 0.1, 0.0, 0.1, 0.4, 0.1),
    "Azygos Lobe": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "Calcification of the Aorta": (0.2, 0.0, 0.0, 0.0, -0.2, 0.7),
    "Cardiomegaly": (0.7, 0.0, -0.1, 0.0, 0.1, 0.2),
    "Clavicle Fracture": (0.0, 0.0, 0.0, 0.6, 0.0, 0.0),
    "Consolidation": (0.0, 0.6, 0.0, 0.0, 0.3, 0.0),
    "Edema": (0.6, 0.1, -0.1, 0.0, 0.3, 0.0),
    "Emphysema": (-0.1, 0.1, 0.3, 0.0, 0.0, 0.3),
    "Enlarged Cardiomediastinum": (0.4, 0.0, 0.2, 0.1, 0.2, 0.1),
    "Fibrosis": (0.0, 0.1, 0.3, 0.0, 0.0, 0.2),
    "Fissure": (0.2, 0.0, 0.1, 0.0, 0.0, 0.0),
    "Fracture": (0.0, 0.0, 0.0, 0.7, 0.0, 0.2),
    "Granuloma": (0.0, 0.0, 0.5, 0.0, -0.1, 0.2),
    "Hernia": (0.0, 0.0, 0.1, 0.0, 0.0, 0.5),
    "Hydropneumothorax": (0.0, 0.1, 0.2, 0.4, 0.2, 0.0),
    "Infarction": (0.1, 0.2, 0.1, 0.0, 0.1, 0.0),
    "Infiltration": (0.0, 0.5, 0.1, 0.0, 0.1, 0.0),
    "Kyphosis": (0.0, 0.0, 0.0, 0.1, -0.1, 0.6),
    "Lobar Atelectasis": (0.0, 0.2, 0.3, 0.0, 0.3, 0.0),
    "Lung Lesion": (0.0, 0.0, 0.6, 0.0, 0.0, 0.1),
    "Lung Opacity": (0.1, 0.4, 0.2, 0.0, 0.3, 0.0),
    "Mass": (0.0, 0.0, 0.7, 0.0, 0.0, 0.1),
    "Nodule": (0.0, 0.0, 0.6, 0.0, -0.1, 0.1),
    "Normal": (-0.5, -0.3, -0.3, -0.2, -0.5, -0.3),
    "Pleural Effusion": (0.4, 0.1, 0.1, 0.1, 0.4, 0.1),
    "Pleural Other": (0.0, 0.0, 0.4, 0.1, 0.0, 0.3),
    "Pleural Thickening": (0.0, 0.0, 0.4, 0.2, 0.0, 0.2),
    "Pneumomediastinum": (0.0, 0.0, 0.0, 0.4, 0.3, -0.1),
    "Pneumonia": (0.0, 0.7, 0.0, 0.0, 0.2, 0.0),
    "Pneumoperitoneum": (0.0, 0.0, 0.0, 0.3, 0.3, 0.0),
    "Pneumothorax": (-0.1, 0.0, 0.2, 0.6, 0.2, -0.1),
    "Pulmonary Embolism": (0.2, 0.0, 0.2, 0.1, 0.1, 0.0),
    "Pulmonary Hypertension": (0.6, 0.0, 0.0, 0.0, 0.0, 0.1),
    "Rib Fracture": (0.0, 0.0, 0.0, 0.7, 0.0, 0.2),
    "Round(ed) Atelectasis": (0.0, 0.0, 0.4, 0.0, 0.0, 0.2),
    "Subcutaneous Emphysema": (0.0, 0.0, 0.1, 0.6, 0.3, 0.0),
    "Support Devices": (0.2, 0.1, 0.0, 0.1, 0.7, 0.0),
    "Tortuous Aorta": (0.2, 0.0, 0.0, 0.0, -0.2, 0.7),
    "Tuberculosis": (0.0, 0.4, 0.3, 0.0, -0.1, 0.0),
}

CHRONIC: frozenset[str] = frozenset(
    (
        "Azygos Lobe", "Calcification of the Aorta", "Cardiomegaly", "Emphysema",
        "Enlarged Cardiomediastinum", "Fibrosis", "Granuloma", "Hernia", "Kyphosis",
        "Pleural Other", "Pleural Thickening", "Pulmonary Hypertension",
        "Round(ed) Atelectasis", "Tortuous Aorta", "Tuberculosis",
    )
)  # fmt: skip

# (finding, what it is a kind of, how often a study labelled with the first has the second too).
IS_A: tuple[tuple[str, str, float], ...] = (
    ("Rib Fracture", "Fracture", 0.75),
    ("Clavicle Fracture", "Fracture", 0.7),
    ("Lobar Atelectasis", "Atelectasis", 0.7),
    ("Round(ed) Atelectasis", "Atelectasis", 0.6),
    ("Hydropneumothorax", "Pneumothorax", 0.5),
    ("Hydropneumothorax", "Pleural Effusion", 0.4),
    ("Granuloma", "Nodule", 0.25),
    ("Mass", "Lung Opacity", 0.35),
    ("Consolidation", "Lung Opacity", 0.5),
    ("Pneumonia", "Lung Opacity", 0.5),
    ("Edema", "Lung Opacity", 0.3),
    ("Fibrosis", "Lung Opacity", 0.3),
    ("Atelectasis", "Lung Opacity", 0.4),
)
_RARE_PATIENTS = 0.74  # patients per image that a filling rare class may be one patient short of
_TAIL_CROWDING = 0.3  # score a study loses per rare finding it already has: they seldom meet


@dataclass(frozen=True)
class Structure:
    """Studies of a cohort: their patient, place in the patient's course and number of images."""

    patient: np.ndarray
    visit: np.ndarray
    images: np.ndarray


def prevalence(name: str) -> float:
    """Share of images that carry the class in a cohort below `FULL_SIZE`, after compression."""
    return 0.0085 + 0.785 * (TRAIN_COUNTS[name] / TRAIN_IMAGES) ** 0.9


def target_images(name: str, n_images: int) -> int:
    """Images of the class in a cohort of `n_images`; at least one."""
    if n_images >= FULL_SIZE:
        return round(TRAIN_COUNTS[name] * n_images / TRAIN_IMAGES)
    return max(1, round(prevalence(name) * n_images))


def _scores(structure: Structure, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores (studies, classes) and each study's illness, both about unit variance."""
    n_patients = int(structure.patient.max()) + 1
    images = np.bincount(structure.patient, structure.images, minlength=n_patients)
    factors = rng.standard_normal((n_patients, 6))
    # Ill patients come back: intensive care and heart failure own the long courses.
    factors[:, [0, 4]] += 0.5 * (np.log(images) - np.log(images).mean())[:, None]
    today = factors[structure.patient] + 0.6 * rng.standard_normal((structure.patient.size, 6))
    loadings = np.array([_LOADINGS[name] for name in CLASSES])
    shared = today @ loadings.T
    own = np.maximum(1.0 - 1.36 * (loadings**2).sum(axis=1), 0.15)
    kept = np.array([0.85 if name in CHRONIC else 0.35 for name in CLASSES])
    lasting = rng.standard_normal((n_patients, len(CLASSES)))[structure.patient]
    fresh = rng.standard_normal((structure.patient.size, len(CLASSES)))
    scores = shared + np.sqrt(own * kept) * lasting + np.sqrt(own * (1.0 - kept)) * fresh
    return scores, today[:, 4] + 0.5 * today[:, 0] + 0.3 * today[:, 1]


def draw_labels(structure: Structure, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels (studies, 40) uint8 and the illness of each study, from the structure alone."""
    scores, illness = _scores(structure, rng)
    n_images = int(structure.images.sum())
    labels = np.zeros((structure.patient.size, len(CLASSES)), np.uint8)
    column = {name: i for i, name in enumerate(CLASSES)}
    children = {name: tuple(e for e in IS_A if e[0] == name) for name in CLASSES}
    normal = column[NORMAL]
    exact = n_images >= FULL_SIZE

    def fill(name: str) -> None:
        index, target = column[name], target_images(name, n_images)
        score = scores[:, index].copy()
        if name != _DEVICES and name != NORMAL:
            score[labels[:, normal] == 1] = -np.inf
        rare = name in RARE
        if rare:
            score -= _TAIL_CROWDING * labels[:, [column[r] for r in RARE]].sum(axis=1)
        have = int(structure.images[labels[:, index] == 1].sum())
        patients = set(structure.patient[labels[:, index] == 1].tolist())
        for study in np.argsort(-score, kind="stable"):
            if have >= target or score[study] == -np.inf:
                break
            if labels[study, index]:
                continue
            more, who = int(structure.images[study]), int(structure.patient[study])
            if exact and have + more > target:
                continue
            if rare and len(patients | {who}) + 1 < _RARE_PATIENTS * (have + more):
                continue
            labels[study, index] = 1
            have += more
            patients.add(who)

    fill(NORMAL)
    for name in sorted(CLASSES, key=lambda c: TRAIN_COUNTS[c]):
        if name == NORMAL:
            continue
        fill(name)
        positive = np.flatnonzero(labels[:, column[name]])
        for _, parent, share in children[name]:
            implied = positive[rng.random(positive.size) < share]
            labels[implied, column[parent]] = 1
    return labels, illness
