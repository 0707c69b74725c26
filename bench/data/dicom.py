"""DICOM file -> grey values as they are meant to be seen: window applied, MONOCHROME1 inverted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.errors import DataError, UsageError

_LARGEST = 89_478_485  # pixels; Pillow's own limit for other images
_INSTALL = "Install what it takes: pip install 'cxr-bench[dicom]'"


def read_dicom(path: Path, notes: list[str]) -> np.ndarray:
    """(H, W) float32 of a single-frame, one-channel radiograph, 0 as dark as it gets.

    Modality and VOI transforms are applied as the file states them (PS3.3 C.11.1 and C.11.2);
    without a window the values stay as they are.

    Raises:
        DataError: the file holds another kind of image.
        UsageError: pydicom, or what unpacks this file's compression, is not installed.
    """
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut, apply_voi_lut
    except ImportError as error:
        raise UsageError(f"DICOM files need pydicom 3. {_INSTALL}") from error
    dataset = pydicom.dcmread(path)
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise DataError(f"DICOM in {photometric or 'no stated'} colours, not in shades of grey")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise DataError(f"DICOM of {frames} frames, not of one")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows * columns > _LARGEST:
        raise DataError(f"absurdly large ({rows} x {columns} pixels)")
    try:
        stored = dataset.pixel_array
    except RuntimeError as error:
        if "missing dependencies" not in str(error):
            raise
        raise UsageError(
            f"{path.name} is compressed, and nothing here unpacks it. {_INSTALL}"
        ) from (error)
    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
    values = np.asarray(values, np.float32)
    if photometric == "MONOCHROME1":
        notes.append("MONOCHROME1, inverted")
        values = values.max() - values
    return values
