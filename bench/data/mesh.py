"""The human MeSH coding of Open-i reports, as labels of the classes of CXR-LT.

A coder gave every report phrases such as "Opacity/lung/base/left/mild": a heading and qualifiers,
or the one phrase "normal". `RULES` says which phrases mean which class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bench.classes import CLASSES, NORMAL
from bench.data.listing import UNLABELLED

# HEADING|HEADING + QUALIFIER|QUALIFIER - UNWANTED|UNWANTED, in small letters. The heading is one
# of those named ("*": any), a part of each "+" group is there and none of the "-" group is.
RULES: Mapping[str, tuple[str, ...]] = {
    "Adenopathy": (
        "* + lymph nodes + enlarged|prominent - calcinosis",
        "lymph nodes + enlarged|prominent",
    ),
    "Atelectasis": ("pulmonary atelectasis",),
    "Azygos Lobe": ("* + azygos lobe",),
    "Calcification of the Aorta": (
        "calcinosis|atherosclerosis + aorta|aorta, thoracic - lymph nodes",
    ),
    "Cardiomegaly": ("cardiomegaly", "cardiac shadow + enlarged|borderline"),
    "Clavicle Fracture": ("fractures, bone + clavicle",),
    "Consolidation": ("consolidation",),
    "Edema": ("pulmonary edema",),
    "Emphysema": ("emphysema|pulmonary emphysema|bullous emphysema",),
    "Enlarged Cardiomediastinum": ("mediastinum + prominent|enlarged - lymph nodes",),
    "Fibrosis": ("fibrosis|pulmonary fibrosis",),
    "Fracture": ("fractures, bone",),
    "Granuloma": ("granuloma|calcified granuloma|granulomatous disease",),
    "Hernia": ("hernia, hiatal|hernia, diaphragmatic",),
    "Hydropneumothorax": ("hydropneumothorax|hemopneumothorax",),
    "Infarction": ("pulmonary infarction",),
    "Infiltration": ("infiltrate",),
    "Kyphosis": ("kyphosis",),
    "Lung Lesion": (
        "mass|nodule - breast|heart",
        "cavitation",
        "cysts + lung",
        "opacity|density + lung + round",
    ),
    "Lung Opacity": (
        "opacity - ribs",
        "airspace disease|infiltrate",
        "density + lung|retrocardiac",
    ),
    "Mass": ("mass - breast|heart",),
    "Nodule": ("nodule - breast|heart",),
    "Pleural Effusion": ("pleural effusion",),
    "Pleural Other": (
        "cicatrix|calcinosis|deformity|density|nodule + pleura",
        "pleura",
        "hemothorax",
    ),
    "Pleural Thickening": ("thickening + pleura",),
    "Pneumomediastinum": ("mediastinal emphysema|pneumomediastinum",),
    "Pneumonia": ("pneumonia",),
    "Pneumoperitoneum": ("pneumoperitoneum",),
    "Pneumothorax": ("pneumothorax|hydropneumothorax|hemopneumothorax",),
    "Pulmonary Embolism": ("pulmonary embolism",),
    "Pulmonary Hypertension": ("hypertension, pulmonary",),
    "Rib Fracture": ("fractures, bone + ribs",),
    "Subcutaneous Emphysema": ("subcutaneous emphysema",),
    "Support Devices": (
        "catheters, indwelling|tube, inserted|medical device|implanted medical device|stents",
    ),
    "Tortuous Aorta": ("aorta|aorta, thoracic + tortuous",),
    "Tuberculosis": ("tuberculosis",),
}
"""Class -> phrases. Fissure, Lobar and Round(ed) Atelectasis have none and are not labelled."""

NORMAL_PHRASE = "normal"
NOT_CODED = "no indexing"
UNCERTAIN = "borderline"
QUALITY = "technical quality of image unsatisfactory"
CODED: tuple[str, ...] = tuple(name for name in CLASSES if name in RULES or name == NORMAL)
"""The classes that the coding speaks of, in the order of CXR-LT."""


def mesh_labels(phrases: Iterable[str]) -> np.ndarray:
    """(C,) uint8 labels of a report's phrases, in the order of `CODED`.

    A report that was not coded is masked, as is one of which only the poor quality of the picture
    is said. A class that only "borderline" phrases mean is masked too. Normal is a report whose
    one phrase is "normal".
    """
    parts = [_parts(phrase) for phrase in phrases if phrase.strip()]
    parts = [phrase for phrase in parts if phrase != [QUALITY]]
    labels = np.full(len(CODED), UNLABELLED, np.uint8)
    if not parts or [NOT_CODED] in parts:
        return labels
    for index, name in enumerate(CODED):
        if name == NORMAL:
            labels[index] = parts == [[NORMAL_PHRASE]]
            continue
        meant = [phrase for phrase in parts if any(matches(r, phrase) for r in RULES[name])]
        certain = any(UNCERTAIN not in phrase for phrase in meant)
        labels[index] = 1 if certain else (UNLABELLED if meant else 0)
    return labels


def matches(rule: str, parts: Sequence[str]) -> bool:
    """Whether a phrase, as its heading and qualifiers, is what a rule of `RULES` describes.

    >>> matches("density + lung|retrocardiac", ["density", "retrocardiac"])
    True
    """
    wanted, _, unwanted = rule.partition(" - ")
    heading, *groups = (set(group.split("|")) for group in wanted.split(" + "))
    return (
        (heading == {"*"} or parts[0] in heading)
        and all(group.intersection(parts) for group in groups)
        and not set(unwanted.split("|")).intersection(parts)
    )


def _parts(phrase: str) -> list[str]:
    return [" ".join(part.split()).lower() for part in phrase.split("/")]
