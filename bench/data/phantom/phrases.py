"""What radiology reports say about each class: data only.

`{side}` becomes left or right; `{size}`, `{grade}` and `{degree}` become an adjective of extent, an
adjective of severity and an adverb. A sentence that starts with one is capitalised when written.
`nouns` fit after "possible" and before "cannot be excluded".
"""

from __future__ import annotations

from typing import NamedTuple


class Wording(NamedTuple):
    """Sentences that affirm a class, and noun phrases for impressions and hedges."""

    sentences: tuple[str, ...]
    nouns: tuple[str, ...]


WORDING: dict[str, Wording] = {
    "Adenopathy": Wording(
        ("Lobulated enlargement of both hila is in keeping with adenopathy.",
         "Bulky hilar and mediastinal lymph nodes are noted.",
         "The hila are enlarged by lymphadenopathy."),
        ("hilar adenopathy", "mediastinal and hilar lymphadenopathy"),
    ),
    "Atelectasis": Wording(
        ("Linear {side} basilar atelectasis is present.",
         "There is {grade} plate-like atelectasis at the {side} base.",
         "Low lung volumes with {side} lower lung atelectasis.",
         "Band-like opacities at the {side} base reflect atelectasis."),
        ("{side} basilar atelectasis", "subsegmental atelectasis"),
    ),
    "Azygos Lobe": Wording(
        ("An azygos lobe is incidentally noted.",
         "A curvilinear line at the right apex is due to an azygos fissure.",
         "Azygos lobe, a normal variant."),
        ("azygos lobe", "azygos fissure"),
    ),
    "Calcification of the Aorta": Wording(
        ("The aortic knob is calcified.",
         "There are atherosclerotic calcifications of the aortic arch.",
         "{grade} calcification of the thoracic aorta is present."),
        ("aortic calcification", "calcified thoracic aorta"),
    ),
    "Cardiomegaly": Wording(
        ("The heart is enlarged.",
         "{grade} cardiomegaly is present.",
         "The cardiac silhouette is {degree} enlarged.",
         "Heart size is increased."),
        ("{grade} cardiomegaly", "cardiomegaly", "enlarged heart"),
    ),
    "Clavicle Fracture": Wording(
        ("There is a displaced fracture of the {side} clavicle.",
         "A {side} mid clavicular fracture is noted.",
         "Deformity of the {side} clavicle is consistent with fracture."),
        ("{side} clavicle fracture", "fracture of the {side} clavicle"),
    ),
    "Consolidation": Wording(
        ("There is dense consolidation of the {side} lung with air bronchograms.",
         "Focal {side} consolidation is seen.",
         "The {side} lobe is consolidated."),
        ("{side} consolidation", "focal consolidation"),
    ),
    "Edema": Wording(
        ("There is {grade} pulmonary edema.",
         "Perihilar haze and Kerley lines indicate interstitial edema.",
         "{grade} pulmonary vascular congestion and edema are noted."),
        ("{grade} pulmonary edema", "pulmonary edema", "congestive failure with edema"),
    ),
    "Emphysema": Wording(
        ("The lungs are hyperinflated with flattened diaphragms, in keeping with emphysema.",
         "Emphysematous changes are most marked in the upper lungs.",
         "{grade} emphysema is present."),
        ("emphysema", "emphysematous changes"),
    ),
    "Enlarged Cardiomediastinum": Wording(
        ("The cardiomediastinal silhouette is widened.",
         "There is {grade} widening of the mediastinum.",
         "The mediastinal contour is prominent."),
        ("widened mediastinum", "enlarged cardiomediastinal silhouette"),
    ),
    "Fibrosis": Wording(
        ("Coarse reticular opacities at the bases are in keeping with fibrosis.",
         "There is {grade} basilar fibrosis with honeycombing.",
         "Chronic fibrotic changes are present."),
        ("pulmonary fibrosis", "chronic fibrotic changes"),
    ),
    "Fissure": Wording(
        ("The {side} fissure is thickened.",
         "Fluid is seen tracking along the {side} fissure.",
         "There is prominence of the {side} interlobar fissure."),
        ("thickening of the {side} fissure", "fluid in the fissure"),
    ),
    "Fracture": Wording(
        ("A fracture of the {side} shoulder girdle is seen.",
         "There is a fracture of indeterminate age on the {side}.",
         "An old healed fracture is noted on the {side}."),
        ("fracture", "fracture of indeterminate age"),
    ),
    "Granuloma": Wording(
        ("A calcified granuloma is seen in the {side} lung.",
         "Small dense {side} granuloma, unchanged.",
         "Calcified granulomas reflect old granulomatous disease."),
        ("calcified granuloma", "old granulomatous disease"),
    ),
    "Hernia": Wording(
        ("A {size} hiatal hernia projects behind the heart.",
         "Retrocardiac air-fluid level is due to a hiatal hernia.",
         "There is a hiatal hernia."),
        ("hiatal hernia", "{size} hiatal hernia"),
    ),
    "Hydropneumothorax": Wording(
        ("There is a {side} hydropneumothorax with an air-fluid level.",
         "A {size} {side} hydropneumothorax is present.",
         "An air-fluid level in the {side} pleural space indicates hydropneumothorax."),
        ("{side} hydropneumothorax", "hydropneumothorax"),
    ),
    "Infarction": Wording(
        ("A pleural based wedge-shaped opacity at the {side} base is due to infarction.",
         "Peripheral {side} opacity with a rounded apex reflects a pulmonary infarct.",
         "Evolving {side} pulmonary infarction is noted."),
        ("pulmonary infarction", "{side} pulmonary infarct"),
    ),
    "Infiltration": Wording(
        ("There is a {side} lung infiltrate.",
         "Ill-defined {side} infiltration is seen.",
         "Fine interstitial infiltrates are present on the {side}."),
        ("{side} infiltrate", "interstitial infiltration"),
    ),
    "Kyphosis": Wording(
        ("There is exaggerated thoracic kyphosis.",
         "Marked kyphosis limits the evaluation of the apices.",
         "The patient is kyphotic."),
        ("thoracic kyphosis", "kyphosis"),
    ),
    "Lobar Atelectasis": Wording(
        ("There is complete collapse of a {side} lobe.",
         "Lobar atelectasis is seen on the {side} with volume loss.",
         "Wedge of increased density on the {side} is due to lobar collapse."),
        ("{side} lobar atelectasis", "{side} lobar collapse"),
    ),
    "Lung Lesion": Wording(
        ("A thick-walled lesion is seen in the {side} lung.",
         "There is a {size} cavitary lesion on the {side}.",
         "An indeterminate {side} lung lesion is noted."),
        ("{side} lung lesion", "indeterminate lung lesion"),
    ),
    "Lung Opacity": Wording(
        ("There is a hazy {side} lung opacity.",
         "A {size} opacity projects over the {side} lung.",
         "{side} pulmonary opacity is seen.",
         "Increased opacity is present on the {side}."),
        ("{side} lung opacity", "nonspecific opacity on the {side}"),
    ),
    "Mass": Wording(
        ("There is a {size} mass in the {side} lung.",
         "A rounded {side} pulmonary mass is seen.",
         "{side} lung mass with lobulated margins."),
        ("{side} lung mass", "pulmonary mass"),
    ),
    "Nodule": Wording(
        ("A pulmonary nodule projects over the {side} lung.",
         "There is a {size} nodule in the {side} lung.",
         "{side} lung nodule is noted."),
        ("{side} pulmonary nodule", "lung nodule"),
    ),
    "Normal": Wording(
        ("The lungs are clear and well expanded.",
         "Normal chest radiograph.",
         "The lungs are clear.",
         "Heart, lungs, mediastinum and pleura are within normal limits."),
        ("no acute cardiopulmonary process", "normal chest radiograph",
         "no acute cardiopulmonary abnormality", "no evidence of acute disease"),
    ),
    "Pleural Effusion": Wording(
        ("There is a {size} {side} pleural effusion.",
         "Blunting of the {side} costophrenic angle is due to a pleural effusion.",
         "{size} pleural effusion is present on the {side}.",
         "A {side} effusion layers at the base."),
        ("{size} {side} pleural effusion", "{side} pleural effusion"),
    ),
    "Pleural Other": Wording(
        ("Calcified pleural plaques are present.",
         "There are {side} pleural plaques with calcification.",
         "Pleural calcification is seen along the {side} chest wall and diaphragm."),
        ("calcified pleural plaques", "{side} pleural calcification"),
    ),
    "Pleural Thickening": Wording(
        ("There is {side} pleural thickening.",
         "{grade} pleural thickening runs along the {side} lateral chest wall.",
         "{side} apical pleural thickening is noted."),
        ("{side} pleural thickening", "apical pleural thickening"),
    ),
    "Pneumomediastinum": Wording(
        ("Lucent streaks outline the mediastinum, in keeping with pneumomediastinum.",
         "There is {grade} pneumomediastinum.",
         "Mediastinal air tracks along the heart border."),
        ("pneumomediastinum", "mediastinal air"),
    ),
    "Pneumonia": Wording(
        ("Patchy {side} opacities are consistent with pneumonia.",
         "There is {side} lower lobe pneumonia.",
         "Multifocal airspace disease represents pneumonia."),
        ("{side} pneumonia", "pneumonia", "multifocal pneumonia"),
    ),
    "Pneumoperitoneum": Wording(
        ("There is free air under the diaphragm.",
         "A lucent crescent under the {side} hemidiaphragm indicates pneumoperitoneum.",
         "{size} pneumoperitoneum is noted."),
        ("pneumoperitoneum", "free intraperitoneal air"),
    ),
    "Pneumothorax": Wording(
        ("There is a {size} {side} apical pneumothorax.",
         "A {side} visceral pleural line indicates pneumothorax.",
         "{size} {side} pneumothorax is present."),
        ("{size} {side} pneumothorax", "{side} pneumothorax"),
    ),
    "Pulmonary Embolism": Wording(
        ("Regional oligemia in the {side} lung reflects pulmonary embolism.",
         "An enlarged {side} pulmonary artery with abrupt cut-off is due to pulmonary embolism.",
         "Known {side} pulmonary embolism."),
        ("pulmonary embolism", "{side} pulmonary embolus"),
    ),
    "Pulmonary Hypertension": Wording(
        ("Enlarged central pulmonary arteries indicate pulmonary hypertension.",
         "The main pulmonary artery is prominent, in keeping with pulmonary hypertension.",
         "Pulmonary arterial hypertension with peripheral pruning."),
        ("pulmonary hypertension", "pulmonary arterial hypertension"),
    ),
    "Rib Fracture": Wording(
        ("There are {side} rib fractures.",
         "Displaced fractures of several {side} ribs are seen.",
         "Healing {side} lateral rib fractures are noted."),
        ("{side} rib fractures", "healing rib fractures"),
    ),
    "Round(ed) Atelectasis": Wording(
        ("A pleural based round opacity with a comet tail reflects rounded atelectasis.",
         "There is rounded atelectasis at the {side} base.",
         "{side} rounded atelectasis is noted."),
        ("{side} rounded atelectasis", "rounded atelectasis"),
    ),
    "Subcutaneous Emphysema": Wording(
        ("There is {grade} subcutaneous emphysema.",
         "Subcutaneous air tracks in the {side} chest wall and neck.",
         "Soft tissue gas is seen along the {side} chest wall."),
        ("subcutaneous emphysema", "{side} chest wall emphysema"),
    ),
    "Support Devices": Wording(
        ("Lines and tubes are in standard position.",
         "Support devices are unchanged.",
         "A central venous catheter is in place.",
         "Monitoring and support devices are again seen."),
        ("support devices in standard position", "stable lines and tubes"),
    ),
    "Tortuous Aorta": Wording(
        ("The thoracic aorta is tortuous.",
         "There is a {degree} tortuous and unfolded aorta.",
         "The aorta is elongated and tortuous."),
        ("tortuous aorta", "unfolded thoracic aorta"),
    ),
    "Tuberculosis": Wording(
        ("Fibrocavitary {side} upper lobe disease is consistent with tuberculosis.",
         "{side} apical scarring and cavitation reflect tuberculosis.",
         "Sequelae of tuberculosis are present at the apices."),
        ("{side} upper lobe tuberculosis", "sequelae of tuberculosis"),
    ),
}  # fmt: skip

# Sentences of denial and what they deny; used only when all of it is absent.
DENIALS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "No pleural effusion or pneumothorax is seen.",
        ("Pleural Effusion", "Pneumothorax", "Hydropneumothorax"),
    ),
    (
        "There is no pleural effusion or pneumothorax.",
        ("Pleural Effusion", "Pneumothorax", "Hydropneumothorax"),
    ),
    ("There is no pneumothorax.", ("Pneumothorax", "Hydropneumothorax")),
    ("No pneumothorax.", ("Pneumothorax", "Hydropneumothorax")),
    ("No pleural effusion.", ("Pleural Effusion", "Hydropneumothorax")),
    ("No large effusion is identified.", ("Pleural Effusion", "Hydropneumothorax")),
    ("There is no focal consolidation.", ("Consolidation",)),
    (
        "No focal consolidation, effusion or pneumothorax.",
        ("Consolidation", "Pleural Effusion", "Pneumothorax", "Hydropneumothorax"),
    ),
    ("No evidence of pneumonia.", ("Pneumonia",)),
    ("The heart is not enlarged.", ("Cardiomegaly",)),
    (
        "The cardiomediastinal silhouette is within normal limits.",
        ("Cardiomegaly", "Enlarged Cardiomediastinum"),
    ),
    ("No pulmonary edema.", ("Edema",)),
    ("There is no overt pulmonary edema.", ("Edema",)),
    ("No acute osseous abnormality is seen.", ("Fracture", "Rib Fracture", "Clavicle Fracture")),
    ("There is no free air below the diaphragm.", ("Pneumoperitoneum",)),
    ("No suspicious nodule or mass.", ("Nodule", "Mass", "Lung Lesion")),
)

# Words for a subtle, a middling and a gross finding.
SIZES: dict[str, tuple[tuple[str, ...], ...]] = {
    "size": (("small", "tiny"), ("moderate", "moderate-sized"), ("large", "sizeable")),
    "grade": (("mild", "minimal"), ("moderate", "mild to moderate"), ("severe", "marked")),
    "degree": (("mildly", "slightly"), ("moderately",), ("markedly", "severely")),
}

HEDGES: tuple[str, ...] = (
    "Possible {noun}.",
    "Findings may represent {noun}.",
    "{noun} cannot be excluded.",
    "Questionable {noun}.",
    "This could reflect {noun} in the appropriate clinical setting.",
    "Suspected {noun}, attention on follow-up.",
)

# Absent findings that radiologists mention all the same, with a hedge.
OFTEN_HEDGED: tuple[str, ...] = (
    "Pneumonia", "Atelectasis", "Edema", "Pleural Effusion", "Consolidation", "Cardiomegaly",
    "Nodule", "Lung Opacity", "Infiltration", "Rib Fracture", "Adenopathy",
)  # fmt: skip

TECHNIQUE: dict[str, tuple[str, ...]] = {
    "AP": (
        "Portable AP view of the chest.",
        "Single portable frontal view.",
        "AP upright view was obtained.",
    ),
    "PA": (
        "Frontal view of the chest.",
        "PA view of the chest.",
        "PA radiograph of the chest was obtained.",
    ),
}
