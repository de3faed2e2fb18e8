"""DICOM images as rows: one picture of a declared size a row, beside declared columns and nothing else.

A `Source` over a file, a folder or a DICOMDIR. Every file is a part of its own, so that a folder
to which images are added is imported again at the cost of the new ones. patient_id comes out
as the file has it: the road's de-identification makes it a pseudonym before anything is written.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

from pydantic import Field

from fedcohort.columns import Frozen, Identifier, Image
from fedcohort.errors import ConfigError, DicomError
from fedcohort.sources.batch import Batch, Part, Refusal, Source
from fedcohort.sources.dicom_burned_in import check_burned_in
from fedcohort.sources.dicom_codec import FrameReader
from fedcohort.sources.dicom_columns import (
    PATIENT_ID_TAG,
    ColumnReader,
    DicomColumn,
    column_reader,
    known_columns,
)
from fedcohort.sources.dicom_file import parse, read_bytes
from fedcohort.sources.dicom_folder import Found, find
from fedcohort.sources.dicom_grey import read_groups
from fedcohort.sources.dicom_layout import read_layout
from fedcohort.sources.dicom_pixels import Rendering, frame_numbers, render
from fedcohort.sources.images import encode_image
from fedcohort.sources.schema import PATIENT_ID, Declared

IMAGE = "image"
BATCH_IMAGES = 64
"""Rows of a batch, where one file has so many frames."""


class DicomOptions(Frozen):
    """What becomes of a folder of images.

    Attributes:
        columns: name to attribute; besides patient_id and image.
        vouched: somebody at the site answers that these images have no texts drawn into them.
    """

    table: Identifier = "images"
    rendering: Rendering
    columns: dict[Identifier, DicomColumn] = Field(default_factory=dict, max_length=200)
    vouched: Annotated[bool, Field(strict=True)] = False


def columns_of(keywords: tuple[str, ...], declared: Mapping[str, DicomColumn]) -> dict[str, DicomColumn]:
    """Columns from keywords that need no words, and from a site's own declarations.

    Raises:
        ConfigError: a keyword is not known, or a column is named twice.
    """
    columns: dict[str, DicomColumn] = dict(declared)
    for keyword in keywords:
        for name, column in known_columns(keyword).items():
            if name in columns:
                raise ConfigError(f"columns: {name} is declared twice")
            columns[name] = column
    return columns


def dicom_source(path: Path, options: DicomOptions) -> Source:
    """Read a file, a folder or a DICOMDIR.

    Raises:
        ConfigError: there is no such path, or a column cannot be read from images.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder; give images by --from")
    taken = {PATIENT_ID, IMAGE, "id"} & options.columns.keys()
    if taken:
        raise ConfigError(f"columns.{min(taken)}: the table has that column already; give another name")
    readers = {name: column_reader(name, column) for name, column in options.columns.items()}
    rendering = options.rendering
    kinds = {name: reader.declared for name, reader in readers.items()}
    kinds[IMAGE] = Declared(Image(rendering.height, rendering.width, rendering.channels))
    return Source({options.table: kinds}, (_part(found, options, readers) for found in find(path)))


@dataclass
class _Content:
    """A file's bytes from its digest to its batches: what was digested is what is imported."""

    found: Found
    held: bytes | DicomError | None = None

    def read(self) -> bytes:
        """The bytes, read once.

        Raises:
            DicomError: they cannot be read.
        """
        if self.held is None:
            try:
                self.held = read_bytes(self.found.path)
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
            return hashlib.sha256(f"unread: {error.reason}".encode()).hexdigest()


def _part(found: Found, options: DicomOptions, readers: Mapping[str, ColumnReader]) -> Part:
    content = _Content(found)
    return Part(found.name, content.digest, partial(_batches, content, options, readers))


Row = dict[str, object]


def _batches(
    content: _Content, options: DicomOptions, readers: Mapping[str, ColumnReader], done: int
) -> Iterator[Batch]:
    """A file's rows after the first `done`, at most BATCH_IMAGES at a time."""
    rows = islice(_rows(content, options, readers, done), None)
    read = done
    while chunk := list(islice(rows, BATCH_IMAGES)):
        read += len(chunk)
        kept = [row for row in chunk if isinstance(row, dict)]
        refusals = tuple(row for row in chunk if isinstance(row, Refusal))
        names = (PATIENT_ID, *readers, IMAGE)
        yield Batch(options.table, {name: [row[name] for row in kept] for name in names}, read, refusals)


def _rows(
    content: _Content, options: DicomOptions, readers: Mapping[str, ColumnReader], done: int
) -> Iterator[Row | Refusal]:
    try:
        image = parse(content.read())
        check_burned_in(image, bool(options.rendering.masks), options.vouched)
        patient = image.text(PATIENT_ID_TAG)
        if patient is None:
            raise image.refusal(PATIENT_ID_TAG, "is missing; an image without a patient is of no use here")
        layout, groups = read_layout(image), read_groups(image)
        frames = FrameReader(image, layout)
    except DicomError as error:
        if done == 0:
            yield _refusal(content, error, "")
        return
    for index in frame_numbers(layout, options.rendering)[done:]:
        try:
            row: Row = {PATIENT_ID: patient}
            row |= {name: reader.read(groups, index) for name, reader in readers.items()}
            picture = render(groups, layout, frames.decode(index), index, options.rendering)
            row[IMAGE] = encode_image(picture)
        except DicomError as error:
            yield _refusal(content, error, f", frame {index + 1}" if layout.frames > 1 else "")
        else:
            yield row


def _refusal(content: _Content, error: DicomError, where: str) -> Refusal:
    return Refusal(content.found.name, f"byte {error.position:,}{where}", error.field, error.reason)
