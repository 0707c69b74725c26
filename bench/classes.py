"""The 40 classes of CXR-LT 2024 task 1, in file order, with their declared groups.

Groups are a list, not a rule: recomputing "rare" from the counts of a subset would move classes
such as Fibrosis across the line. Common, medium and rare are ranks 1-11, 12-28 and 29-40 of the
training counts, which is the paper's 11 / 17 / 12 (its Table 1); base is common plus medium.
Counts are training images of CXR-LT 2024 (258,871 images), lateral views included.
"""

from __future__ import annotations

_TABLE: tuple[tuple[str, int, str], ...] = (
    # class, training images, group
    ("Adenopathy", 3_409, "medium"),
    ("Atelectasis", 65_376, "common"),
    ("Azygos Lobe", 199, "rare"),
    ("Calcification of the Aorta", 4_239, "medium"),
    ("Cardiomegaly", 74_738, "common"),
    ("Clavicle Fracture", 168, "rare"),
    ("Consolidation", 15_371, "common"),
    ("Edema", 37_256, "common"),
    ("Emphysema", 3_661, "medium"),
    ("Enlarged Cardiomediastinum", 29_628, "common"),
    ("Fibrosis", 1_169, "rare"),
    ("Fissure", 2_803, "medium"),
    ("Fracture", 11_568, "medium"),
    ("Granuloma", 2_965, "medium"),
    ("Hernia", 3_986, "medium"),
    ("Hydropneumothorax", 646, "rare"),
    ("Infarction", 727, "rare"),
    ("Infiltration", 10_087, "medium"),
    ("Kyphosis", 778, "rare"),
    ("Lobar Atelectasis", 129, "rare"),
    ("Lung Lesion", 2_338, "medium"),
    ("Lung Opacity", 77_482, "common"),
    ("Mass", 5_288, "medium"),
    ("Nodule", 7_531, "medium"),
    ("Normal", 34_292, "common"),
    ("Pleural Effusion", 66_401, "common"),
    ("Pleural Other", 616, "rare"),
    ("Pleural Thickening", 3_272, "medium"),
    ("Pneumomediastinum", 704, "rare"),
    ("Pneumonia", 46_660, "common"),
    ("Pneumoperitoneum", 516, "rare"),
    ("Pneumothorax", 13_858, "common"),
    ("Pulmonary Embolism", 1_631, "medium"),
    ("Pulmonary Hypertension", 903, "rare"),
    ("Rib Fracture", 8_919, "medium"),
    ("Round(ed) Atelectasis", 172, "rare"),
    ("Subcutaneous Emphysema", 2_046, "medium"),
    ("Support Devices", 86_079, "common"),
    ("Tortuous Aorta", 3_336, "medium"),
    ("Tuberculosis", 2_078, "medium"),
)

CLASSES: tuple[str, ...] = tuple(name for name, _, _ in _TABLE)
TRAIN_COUNTS: dict[str, int] = {name: count for name, count, _ in _TABLE}
COMMON: tuple[str, ...] = tuple(name for name, _, group in _TABLE if group == "common")
MEDIUM: tuple[str, ...] = tuple(name for name, _, group in _TABLE if group == "medium")
RARE: tuple[str, ...] = tuple(name for name, _, group in _TABLE if group == "rare")
BASE: tuple[str, ...] = tuple(name for name, _, group in _TABLE if group != "rare")
NORMAL = "Normal"

# The other rule in use (CXR-LT 2024 overview), by share of the training images: head is above
# 10 %, tail below 1 %.
TRAIN_IMAGES = 258_871
HEAD: tuple[str, ...] = tuple(n for n, count, _ in _TABLE if count > TRAIN_IMAGES / 10)
TAIL: tuple[str, ...] = tuple(n for n, count, _ in _TABLE if count < TRAIN_IMAGES / 100)
BETWEEN: tuple[str, ...] = tuple(n for n in CLASSES if n not in HEAD + TAIL)

# How a class is written in prompts and captions where lower-casing its name is not enough:
# the literal parentheses would become tokens of their own.
_SPELLING: dict[str, str] = {"Round(ed) Atelectasis": "rounded atelectasis"}


def spelled(name: str) -> str:
    """The class as it is written in prompts and captions.

    >>> spelled("Round(ed) Atelectasis"), spelled("Pleural Effusion")
    ('rounded atelectasis', 'pleural effusion')
    """
    return _SPELLING.get(name, name.lower())
