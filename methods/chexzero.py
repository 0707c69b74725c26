"""CheXzero (Tiu et al., Nat. Biomed. Eng. 2022): CLIP trained on chest X-ray reports.

The baseline. `text=reports` trains on the impression of each report, `text=meta` on captions made
from the labels, which is the paper's row "+ meta labels". Loss and scores are those of
rajpurkarlab/CheXzero@5c341db.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.protocol.method import Card, Weights
from methods._clip import ClipConfig, ClipMethod


@dataclass(frozen=True)
class CheXzeroConfig(ClipConfig):
    """CLIP's recipe on reports."""

    text: Literal["meta", "reports"] = "reports"


class CheXzero(ClipMethod):
    """CLIP towers, symmetric InfoNCE, and the pair score."""

    card = Card(
        title="CheXzero",
        citation="Tiu et al., Nature Biomedical Engineering 6, 1399-1406 (2022)",
        licence="code MIT; weights not stated",
        weights=(
            Weights(
                "best_64_5e-05_original_22000_0.864.pt",
                sha256="567a2efbabc6a02370de6e18178afd22ee72d7e6f29a789db1535e5c798d6ae8",
                where="the authors' Google Drive folder, linked from rajpurkarlab/CheXzero",
            ),
        ),
        seen=("MIMIC-CXR",),
    )
    Config = CheXzeroConfig
