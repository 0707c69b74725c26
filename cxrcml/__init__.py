"""CXR-CML as a library: Student-t mixtures, pseudo-labels, and the triplet loss on them."""

from cxrcml.mixture import StudentTMixture
from cxrcml.pseudo_labels import PseudoLabelConfig, PseudoLabeller, PseudoLabels
from cxrcml.triplet import TripletResult, triplet_loss, triplet_result

__all__ = [
    "PseudoLabelConfig",
    "PseudoLabeller",
    "PseudoLabels",
    "StudentTMixture",
    "TripletResult",
    "triplet_loss",
    "triplet_result",
]
