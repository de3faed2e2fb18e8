"""DICOM images as rows: one picture of a declared size a row, beside declared columns and nothing else.

A `Source` over a file, a folder or a DICOMDIR. Every file is a part of its own, so that a folder
to which images are added is imported again at the cost of the new ones. patient_id comes out
as the file has it: the import's de-identification makes it a pseudonym before anything is written.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from fedcohort.columns import Image
from fedcohort.errors import ConfigError, DicomError
from fedcohort.sources.catalogue.normal_form import level_key
from fedcohort.sources.catalogue.schema import PATIENT_ID, Declared
from fedcohort.sources.catalogue.stored_images import encode_image
from fedcohort.sources.dicom.burned_in import check_burned_in
from fedcohort.sources.dicom.codec import FrameReader, installed_codecs
from fedcohort.sources.dicom.columns import PATIENT_ID_TAG, ColumnReader, column_reader
from fedcohort.sources.dicom.file import parse, read_bytes
from fedcohort.sources.dicom.folder import FoundFile, find
from fedcohort.sources.dicom.grey import read_groups
from fedcohort.sources.dicom.layout import read_layout
from fedcohort.sources.dicom.options import DicomOptions
from fedcohort.sources.dicom.pixels import frame_numbers, render
from fedcohort.sources.dicom.values import DataSet
from fedcohort.sources.importer.batch import Batch, Part, Refusal, Source

IMAGE, IMAGE_ID = "image", "image_id"
"""image_id is SOPInstanceUID and the frame's number: the key by which an image replaces its earlier self."""
_SOP_INSTANCE = 0x00080018
AHEAD_BYTES = 2**24
"""Of a file that is read while another is rendered; a larger one waits for its turn."""
BATCH_IMAGES = 64
"""Rows of a batch, where one file has so many frames."""


def import_context(options: DicomOptions) -> str:
    """What else decides the outcome: under other options, or with another codec, a file is read anew."""
    return f"{options.model_dump_json()}|{'|'.join(installed_codecs())}"


def dicom_source(path: Path, options: DicomOptions) -> Source:
    """Read a file, a folder or a DICOMDIR.

    Raises:
        ConfigError: there is no such path, or a column cannot be read from images.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder; give images by --from")
    taken = {PATIENT_ID, IMAGE, IMAGE_ID, "id"} & options.columns.keys()
    if taken:
        raise ConfigError(f"columns.{min(taken)}: the table has that column already; give another name")
    readers = {name: column_reader(name, column) for name, column in options.columns.items()}
    rendering = options.rendering
    kinds = {name: reader.declared for name, reader in readers.items()}
    kinds[IMAGE] = Declared(Image(rendering.height, rendering.width, rendering.channels))
    return Source({options.table: kinds}, _parts(find(path), options, readers))


def _parts(
    files: Iterator[FoundFile], options: DicomOptions, readers: Mapping[str, ColumnReader]
) -> Iterator[Part]:
    """A part a file; a small one is read and digested while the one before it is rendered."""
    with ThreadPoolExecutor(1, "dicom-reader") as ahead:
        waiting: deque[Part] = deque()
        for file in files:
            content = _Content(file)
            digest = ahead.submit(content.digest).result if content.is_small() else content.digest
            batches = partial(_batches, content, options, readers)
            waiting.append(Part(file.name, options.table, digest, batches))
            if len(waiting) > 1:
                yield waiting.popleft()
        yield from waiting


@dataclass
class _Content:
    """A file's bytes from its digest to its batches: what was digested is what is imported."""

    file: FoundFile
    held: bytes | DicomError | None = None

    def is_small(self) -> bool:
        """Whether it costs little to hold it beside another."""
        try:
            return self.file.path.lstat().st_size <= AHEAD_BYTES
        except OSError:
            return False

    def read(self) -> bytes:
        """The bytes, read once.

        Raises:
            DicomError: they cannot be read.
        """
        if self.held is None:
            try:
                self.held = read_bytes(self.file.path)
            except DicomError as error:
                self.held = error
        if isinstance(self.held, DicomError):
            raise self.held
        return self.held

    def digest(self) -> str:
        """SHA-256 of the bytes, or of why there are none."""
        try:
            return hashlib.sha256(self.read()).hexdigest()
        except DicomError as error:
            return hashlib.sha256(f"{self.file.name} unread: {error.reason}".encode()).hexdigest()


Row = dict[str, object]


def _batches(
    content: _Content, options: DicomOptions, readers: Mapping[str, ColumnReader], done: int
) -> Iterator[Batch]:
    """A file's rows after the first `done`, at most BATCH_IMAGES at a time."""
    rows = islice(_rows(content, options, readers, done), None)
    read = done
    while chunk := list(islice(rows, BATCH_IMAGES)):
        read += len(chunk)
        images = [row for row in chunk if isinstance(row, dict)]
        refusals = tuple(row for row in chunk if isinstance(row, Refusal))
        names = (PATIENT_ID, IMAGE_ID, *readers, IMAGE)
        yield Batch(options.table, {name: [row[name] for row in images] for name in names}, read, refusals)


def _rows(
    content: _Content, options: DicomOptions, readers: Mapping[str, ColumnReader], done: int
) -> Iterator[Row | Refusal]:
    try:
        image = parse(content.read())
        check_burned_in(image, bool(options.rendering.masks), options.vouched)
        patient, image_id = _required(image, PATIENT_ID_TAG), _required(image, _SOP_INSTANCE)
        layout, groups = read_layout(image), read_groups(image)
        frames = FrameReader(image, layout)
    except DicomError as error:
        if done == 0:
            yield _refusal(content, error, "")
        return
    for index in frame_numbers(layout, options.rendering)[done:]:
        try:
            row: Row = {PATIENT_ID: patient, IMAGE_ID: f"{image_id} {index + 1}"}
            row |= {name: reader.read(groups, index) for name, reader in readers.items()}
            picture = render(groups, layout, frames.decode(index), index, options.rendering)
            row[IMAGE] = encode_image(picture)
        except DicomError as error:
            yield _refusal(content, error, f", frame {index + 1}" if layout.frames > 1 else "")
        else:
            yield row


def _required(image: DataSet, tag: int) -> str:
    text = image.text(tag)
    if text is None or level_key(text) is None:
        raise image.refusal(tag, "is missing; an image without it is of no use here")
    return text


def _refusal(content: _Content, error: DicomError, where: str) -> Refusal:
    return Refusal(content.file.name, f"byte {error.position:,}{where}", error.field, error.reason)
