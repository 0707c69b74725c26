"""DICOM as VinDr-CXR brings it: deep greys, both polarities, windows, and files that are not it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.decode import read_square
from bench.errors import DataError, UsageError

pydicom = pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
RAMP = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (64, 1))


def write(path: Path, values: np.ndarray, **tags: Any) -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID,
    )  # fmt: skip
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored = 1, 16, 12
    dataset.HighBit, dataset.PixelRepresentation = 11, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    dataset.PixelData = values.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_deep_greys_fill_the_range(tmp_path: Path) -> None:
    square, box = read_square(write(tmp_path / "a.dicom", RAMP), 64)
    assert box == (0, 0, 64, 64)
    assert (square == np.round(np.arange(64) * 255 / 63).astype(np.uint8)).all()


def test_monochrome1_is_inverted_and_said(tmp_path: Path) -> None:
    notes: list[str] = []
    path = write(tmp_path / "no-suffix", RAMP, PhotometricInterpretation="MONOCHROME1")
    square, _ = read_square(path, 64, notes)
    assert square[0, 0] == 255
    assert square[0, -1] == 0
    assert notes == ["MONOCHROME1, inverted"]


def test_a_window_is_applied(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP, WindowCenter="1024", WindowWidth="1024")
    square, _ = read_square(path, 64)
    assert (square[0, :8] == 0).all()
    assert (square[0, 25:] == 255).all()
    assert 100 < square[0, 16] < 155


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "not in shades of grey"),
        ({"NumberOfFrames": "2"}, "of 2 frames"),
        ({"Rows": 30_000, "Columns": 30_000}, "absurdly large"),
    ],
)
def test_another_kind_of_image_is_refused(tmp_path: Path, tags: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_square(write(tmp_path / "a.dcm", np.stack([RAMP, RAMP]), **tags), 64)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DataError, match="not a readable image"):
        read_square(path, 64)


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEG2000Lossless", "RLELossless"])
def test_what_is_compressed_without_loss_reads_as_what_is_not(tmp_path: Path, syntax: str) -> None:
    """Three of the forms in which archives keep radiographs."""
    gdcm = pytest.importorskip("gdcm", reason="the extra 'dicom' is not installed")
    plain = write(tmp_path / "plain.dcm", RAMP)
    packed = tmp_path / "packed.dcm"
    reader = gdcm.ImageReader()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(packed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(packed).file_meta.TransferSyntaxUID.is_compressed
    assert (read_square(packed, 64)[0] == read_square(plain, 64)[0]).all()


def test_without_pydicom_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.dcm", RAMP)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(UsageError, match=r"pip install 'cxr-bench\[dicom\]'"):
        read_square(path, 64)
