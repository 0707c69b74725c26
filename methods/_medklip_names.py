"""MedKLIP's 75 entities, which of them answers for which class, and words for the other classes.

Names and order are facts of MediaBrain-SJTU/MedKLIP@8e60b03; the definitions are our own.
"""

from __future__ import annotations

# fmt: off
ENTITIES: tuple[str, ...] = (
    "normal", "clear", "sharp", "sharply", "unremarkable", "intact", "stable", "free", "effusion",
    "opacity", "pneumothorax", "edema", "atelectasis", "tube", "consolidation", "process",
    "abnormality", "enlarge", "tip", "low", "pneumonia", "line", "congestion", "catheter",
    "cardiomegaly", "fracture", "air", "tortuous", "lead", "disease", "calcification", "prominence",
    "device", "engorgement", "picc", "clip", "elevation", "expand", "nodule", "wire", "fluid",
    "degenerative", "pacemaker", "thicken", "marking", "scar", "hyperinflate", "blunt", "loss",
    "widen", "collapse", "density", "emphysema", "aerate", "mass", "crowd", "infiltrate", "obscure",
    "deformity", "hernia", "drainage", "distention", "shift", "stent", "pressure", "lesion",
    "finding", "borderline", "hardware", "dilation", "chf", "redistribution", "aspiration",
    "tail_abnorm_obs", "excluded_obs",
)
# fmt: on

ENTITY_OF: dict[str, str] = {
    "Atelectasis": "atelectasis",
    "Calcification of the Aorta": "calcification",
    "Cardiomegaly": "cardiomegaly",
    "Clavicle Fracture": "fracture",
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Emphysema": "emphysema",
    "Enlarged Cardiomediastinum": "enlarge",
    "Fibrosis": "tail_abnorm_obs",  # upstream's choice: rare in its training reports
    "Fracture": "fracture",
    "Hernia": "hernia",
    "Hydropneumothorax": "pneumothorax",
    "Infiltration": "infiltrate",
    "Lobar Atelectasis": "atelectasis",
    "Lung Lesion": "lesion",
    "Lung Opacity": "opacity",
    "Mass": "mass",
    "Nodule": "nodule",
    "Normal": "normal",
    "Pleural Effusion": "effusion",
    "Pleural Thickening": "thicken",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Rib Fracture": "fracture",
    "Round(ed) Atelectasis": "atelectasis",
    "Subcutaneous Emphysema": "emphysema",
    "Support Devices": "device",
    "Tortuous Aorta": "tortuous",
}
"""The class map of the released weights. Several classes share an entity and hence a score, so
their AUCs are not independent."""

DEFINITIONS: dict[str, str] = {
    "Adenopathy": "Enlarged lymph nodes, seen as lobulated fullness of the hila or mediastinum.",
    "Azygos Lobe": "A part of the right upper lobe set apart by a thin curved line that ends in "
    "the azygos vein, a harmless variant.",
    "Fissure": "A thickened or displaced line between two lobes of the lung, often with fluid in "
    "it.",
    "Granuloma": "A small, dense and often calcified nodule left in the lung by a healed "
    "infection.",
    "Infarction": "Lung tissue that has died for want of blood, a wedge of opacity against the "
    "pleura.",
    "Kyphosis": "A thoracic spine that is bent forward more than normal.",
    "Pleural Other": "A disease of the pleura other than effusion or thickening, such as plaques "
    "or scars.",
    "Pneumomediastinum": "Air in the mediastinum, dark streaks along the heart and the great "
    "vessels.",
    "Pneumoperitoneum": "Free air in the abdomen, a dark crescent below the diaphragm.",
    "Pulmonary Embolism": "A clot in the arteries of the lung, with too few vessels beyond it.",
    "Pulmonary Hypertension": "High pressure in the arteries of the lung, whose central branches "
    "are wide.",
    "Tuberculosis": "An infection with mycobacteria, with cavities, nodules or scars in the upper "
    "lobes.",
}
"""What is asked for a class that no entity answers for."""
