"""DICOM files for tests: small ones written here, real ones that come with pydicom and pydicom-data."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.config import disable_value_validation
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PIXELS = np.array([[0, 255], [128, 64]], np.uint8)


def sample(name: str) -> Path:
    """A real file that comes with the packages; skips where its package is not installed."""
    found = get_testdata_file(name, download=False)
    if not isinstance(found, str):
        pytest.skip(f"{name} comes with pydicom-data, which is not installed")
    return Path(found)


def image(pixels: NDArray[np.generic], **attributes: object) -> Dataset:
    """A CT image of these pixels: (rows, columns), (rows, columns, 3), or (frames, rows, columns)."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CT, "1.2.3.4"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    made.PatientID, made.PatientName, made.Modality, made.BurnedInAnnotation = "P1", "Doe^Jane", "CT", "NO"
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    if pixels.ndim == 3 and not colour:
        made.NumberOfFrames = pixels.shape[0]
    made.Rows, made.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    made.BitsAllocated = made.BitsStored = pixels.dtype.itemsize * 8
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = pixels.tobytes()
    made.add_new(0x7FE00010, "OB" if pixels.dtype.itemsize == 1 else "OW", data + b"\0" * (len(data) % 2))
    with disable_value_validation():
        for keyword, value in attributes.items():
            if value is None:
                delattr(made, keyword)
            else:
                setattr(made, keyword, value)
    return made


def encoded(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The file's bytes."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    file = io.BytesIO()
    with disable_value_validation():
        dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def write(path: Path, dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write it, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(dataset, syntax))
    return path


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One element in explicit VR little endian, with a length of its own choice."""
    size = len(value) if length is None else length
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + b"\0\0" + size.to_bytes(4, "little") + value
    return head + size.to_bytes(2, "little") + value


def raw(*elements: bytes, syntax: bytes = b"1.2.840.10008.1.2.1\0") -> bytes:
    """A file of these bytes after its meta information."""
    return bytes(128) + b"DICM" + element(0x00020010, b"UI", syntax) + b"".join(elements)
