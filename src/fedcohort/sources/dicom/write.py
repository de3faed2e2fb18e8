"""De-identified copies of images as DICOM files: rules for attributes, new pixels, one file at a time.

Pixels are decoded and written plainly (Explicit VR Little Endian), so that nothing stays in a
codestream's comments, in unused bits or behind the last pixel; preamble and meta information are new.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedcohort.errors import ConfigError, DicomError, StoreError
from fedcohort.sources.deidentify.pseudonym import masked_file_name, pseudonym
from fedcohort.sources.dicom.burned_in import check_burned_in
from fedcohort.sources.dicom.codec import FrameReader
from fedcohort.sources.dicom.deidentify import DicomPrivacy, new_uid, patient_of, without_patient
from fedcohort.sources.dicom.file import MAX_FILE_BYTES, parse, read_bytes
from fedcohort.sources.dicom.folder import DICOMDIR, FoundFile, find
from fedcohort.sources.dicom.layout import Layout, Stored, read_layout
from fedcohort.sources.dicom.palette import PLAIN, palette
from fedcohort.sources.dicom.pixels import Mask, painted
from fedcohort.sources.dicom.values import DataSet
from fedcohort.sources.importer.batch import Refusal
from fedcohort.storage.files import write_whole

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SOP_CLASS, _SOP_INSTANCE, _STUDY = 0x00080016, 0x00080018, 0x0020000D


@dataclass(frozen=True)
class Written:
    """One file's copy; `new` is False when it stood there already."""

    source: str
    path: Path
    new: bool


def deidentify_files(
    path: Path, into: Path, privacy: DicomPrivacy, masks: tuple[Mask, ...] = (), vouched: bool = False
) -> Iterator[Written | Refusal]:
    """Write a de-identified copy of every image below a path.

    A copy stands at PSEUDONYM/STUDY/IMAGE.dcm, all of them new names; a run that was interrupted is
    simply run again.

    Args:
        path: a file, a folder or a DICOMDIR.
        masks: painted black in every image.
        vouched: somebody at the site answers that these images have no texts drawn into them.
    Returns:
        what became of each file, in the order of their names; one that was found in a folder or a DICOMDIR
        under its stand-in.
    Raises:
        ConfigError: there is no such path, or `into` lies within it.
        StoreError: a file cannot be written.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder; give images by --from")
    if path.is_dir() and into.resolve().is_relative_to(path.resolve()):
        raise ConfigError(f"{into}: lies within {path}; write the copies elsewhere")
    named = path.is_file() and path.name.upper() != DICOMDIR
    for file in find(path):
        # A file that nobody named one by one may be called after its patient.
        named_file = file if named else file._replace(name=masked_file_name(privacy.key, file.name))
        try:
            image = parse(read_bytes(named_file.path))
            check_burned_in(image, bool(masks), vouched)
            data = deidentified_file(image, privacy, masks)
            target = into / _name(image, privacy)
        except DicomError as error:
            yield Refusal(named_file.name, f"byte {error.position:,}", error.field, error.reason)
        else:
            yield _written(named_file, target, data)


def deidentified_file(image: DataSet, privacy: DicomPrivacy, masks: tuple[Mask, ...] = ()) -> bytes:
    """A DICOM file's bytes, without the patient; the same for the same image, key and options.

    Raises:
        DicomError: there is no patient, no image, or one that cannot be decoded.
    """
    from pydicom import dcmwrite
    from pydicom.config import disable_value_validation
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    for tag in (_SOP_CLASS, _SOP_INSTANCE, _STUDY):
        if image.text(tag) is None:
            raise image.refusal(tag, "is missing; a DICOM file must have it")
    layout = read_layout(image)
    with disable_value_validation():
        made = without_patient(image, privacy, bool(masks))
        _add_pixels(made, image, layout, masks)
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = io.BytesIO()
        dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


def _name(image: DataSet, privacy: DicomPrivacy) -> Path:
    study, instance = (new_uid(privacy.key, image.text(tag) or "") for tag in (_STUDY, _SOP_INSTANCE))
    return Path(pseudonym(privacy.key, patient_of(image))) / study / f"{instance}.dcm"


def _add_pixels(made: "Dataset", image: DataSet, layout: Layout, masks: tuple[Mask, ...]) -> None:
    frames = FrameReader(image, layout)
    if layout.samples * layout.rows * layout.columns * layout.frames * layout.allocated // 8 > MAX_FILE_BYTES:
        raise image.refusal(
            0x00280008, f"times the frames' size is more than {MAX_FILE_BYTES:,} bytes; split it"
        )
    pixels: Stored = np.stack(
        [painted(image, frames.decode(index), masks, _black(layout)) for index in range(layout.frames)]
    )
    bits = 1 if layout.allocated == 1 else pixels.dtype.itemsize * 8
    data = _packed(pixels) if bits == 1 else pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    made.PhotometricInterpretation = "RGB" if layout.samples == 3 else layout.photometric
    made.SamplesPerPixel = layout.samples
    if layout.samples == 3:
        made.PlanarConfiguration = 0
    made.Rows, made.Columns = layout.rows, layout.columns
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, layout.stored, layout.stored - 1
    made.PixelRepresentation = int(layout.signed)
    for colours in palette(image) if layout.photometric == "PALETTE COLOR" else []:
        described = [len(colours.values) % 2**16, colours.first, colours.bits]
        made.add_new(colours.descriptor, "SS" if colours.first < 0 else "US", described)
        made.add_new(colours.descriptor + PLAIN, "OW", colours.values.astype("<u2").tobytes())
    made.add_new(0x7FE00010, "OB" if bits <= 8 else "OW", data + b"\0" * (len(data) % 2))


def _packed(pixels: Stored) -> bytes:
    return np.packbits(pixels.astype(np.uint8).ravel(), bitorder="little").tobytes()


def _black(layout: Layout) -> int:
    """The stored value that shows as black; of a palette any that it has."""
    low = -(1 << layout.stored - 1) if layout.signed else 0
    if layout.photometric == "MONOCHROME1":
        return low + (1 << layout.stored) - 1
    return 0 if layout.photometric == "PALETTE COLOR" else low


def _written(file: FoundFile, target: Path, data: bytes) -> Written | Refusal:
    """Put a file where it belongs, whole or not at all."""
    try:
        if target.exists():
            if target.read_bytes() == data:
                return Written(file.name, target, False)
            return Refusal(
                file.name,
                "byte 0",
                "(0008,0018) SOPInstanceUID",
                "is that of another image written already, or of this one under other options",
            )
        write_whole(target, data, folder_mode=0o777)
    except OSError as error:
        raise StoreError(
            f"{target.parent}: {error.strerror}; make room, or make the folder writable"
        ) from error
    return Written(file.name, target, True)
