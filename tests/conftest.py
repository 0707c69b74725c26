"""Shared by all tests: a cache and a working folder of their own, and small data to run on."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is read from or left in the user's cache."""
    os.environ["CXR_BENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def openreal() -> Path:
    folder = SHARED / "data" / "openreal"
    if not folder.is_dir():
        pytest.skip("the real X-rays of ../shared/data/openreal are not here")
    return folder


class CsvFolder:
    """A folder of small images with a labels.csv that a test may spoil."""

    def __init__(self, root: Path, patients: int = 12) -> None:
        self.root = root
        (root / "images").mkdir(parents=True)
        rng = np.random.default_rng(3)
        self.rows: list[dict[str, str]] = []
        for patient in range(patients):
            for image in range(2):
                name = f"images/p{patient}_{image}.png"
                present = patient % 3 == 0
                pixels = rng.integers(0, 90, (40, 50)).astype(np.uint8)
                pixels[10:25, 10:25] += 120 * present
                Image.fromarray(pixels).save(root / name)
                self.rows.append(
                    {
                        "image": name,
                        "patient_id": f"p{patient}",
                        "view": "PA" if image == 0 else "LATERAL",
                        "report_impression": "Hernia." if present else "Clear lungs.",
                        "Hernia": str(int(present)),
                        "Edema": "" if patient % 4 == 1 else str(patient % 2),
                        "Normal": str(int(not present)),
                    }
                )
        self.write()

    def write(self) -> None:
        with (self.root / "labels.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)

    @property
    def spec(self) -> str:
        return f"csv:{self.root}"


@pytest.fixture
def csv_folder(tmp_path: Path) -> CsvFolder:
    return CsvFolder(tmp_path / "scans")
