"""CXR-CML as a library: Student-t mixtures, pseudo-labels, and the triplet loss on them."""

from cxrcml.mixture import StudentTMixture
from cxrcml.pseudo_labels import PseudoLabelConfig, PseudoLabeller, PseudoLabels, class_purity
from cxrcml.sampler import cluster_order
from cxrcml.soft_pairs import SoftPairResult, positive_pairs, soft_labels, soft_pair_loss
from cxrcml.triplet import TripletResult, triplet_loss, triplet_result

__all__ = [
    "PseudoLabelConfig",
    "PseudoLabeller",
    "PseudoLabels",
    "SoftPairResult",
    "StudentTMixture",
    "TripletResult",
    "class_purity",
    "cluster_order",
    "positive_pairs",
    "soft_labels",
    "soft_pair_loss",
    "triplet_loss",
    "triplet_result",
]
