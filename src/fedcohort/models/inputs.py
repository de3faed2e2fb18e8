"""The inputs of a model from a site's rows: the record, and images that are read when they are needed.

The record is all ordinary columns as one vector; every image column is an input of its own. An
image enters the graph as bytes, and is scaled to 0 to 1 there, by its declared range and not by data.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import StudyError
from fedcohort.models.augment import augmented
from fedcohort.models.start import start_tensorflow
from fedcohort.pixels import Pixels

RECORD = "record"
PIECE_BYTES = 32 * 2**20
"""Of images in memory at once; one more piece is read while a graph works on another."""

PIECE_ALIGNMENT = 32
"""Vector instructions take up to 16 numbers, the last ones singly: with whole vectors a patient's
bits are the same wherever in a piece the patient stands."""

Floats = NDArray[np.float32]
Data = NDArray[np.floating[Any]] | Pixels | NDArray[np.uint8]
Tensor = Any


@dataclass(frozen=True)
class InputPart:
    """One input: its name, and what a row of it is.

    Attributes:
        name: `record`, or the image column's.
        shape: of a row: (d,), or (height, width, channels).
        pixels: bytes, 255 meaning 1.
        columns: of the record: name, first feature, and how many there are.
    """

    name: str
    shape: tuple[int, ...]
    pixels: bool = False
    columns: tuple[tuple[str, int, int], ...] = ()


InputShape = tuple[int, ...] | tuple[InputPart, ...]
"""Of one row: of the only input, or every input with its name."""


def parts_of(input_shape: InputShape) -> tuple[InputPart, ...]:
    """The inputs with their names."""
    parts = tuple(part for part in input_shape if isinstance(part, InputPart))
    sizes = tuple(int(size) for size in input_shape if not isinstance(size, InputPart))
    return parts or (InputPart(RECORD, sizes),)


@dataclass(frozen=True)
class Inputs:
    """Rows by input, all of one length; images stay where they are until rows are taken."""

    parts: Mapping[str, Data]

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def __getitem__(self, rows: NDArray[Any] | slice) -> "Inputs":
        return Inputs({name: data[rows] for name, data in self.parts.items()})

    def moved(self, column: str, part: slice | None, rows: NDArray[np.int64]) -> "Inputs":
        """The same rows, but one column's values are those of other rows.

        Args:
            part: of the record; None for an image column.
        """
        if part is None:
            return Inputs({**self.parts, column: self.parts[column][rows]})
        record = np.array(self.parts[RECORD])
        record[:, part] = record[rows, part]
        return Inputs({**self.parts, RECORD: record})

    def hidden(self, column: str, part: slice | None) -> "Inputs":
        """The same rows without one column: zeros in the record, or black images."""
        data = self.parts[column] if part is None else None
        if isinstance(data, Pixels):
            black = np.broadcast_to(np.uint8(0), (len(data), *data.store.shape))
            return Inputs({**self.parts, column: black})
        record = np.array(self.parts[RECORD])
        record[:, part] = 0.0
        return Inputs({**self.parts, RECORD: record})

    def augmented(self, kinds: Collection[str], generator: np.random.Generator) -> "Inputs":
        """The same rows with every image mirrored or shifted at random; without kinds unchanged."""
        if not kinds:
            return self
        images = {name: data for name, data in self.parts.items() if isinstance(data, Pixels)}
        seen = {name: augmented(data, kinds, generator) for name, data in images.items()}
        return Inputs({**self.parts, **seen})

    def take(self, rows: NDArray[Any] | slice = slice(None)) -> tuple[NDArray[Any], ...]:
        """These rows of every input, in memory."""
        return tuple(
            data.take(rows) if isinstance(data, Pixels) else data[rows] for data in self.parts.values()
        )

    @property
    def image_bytes(self) -> int:
        """Of one row's images."""
        images = (data for data in self.parts.values() if isinstance(data, Pixels))
        return sum(prod(data.store.shape) for data in images)

    @property
    def fits(self) -> bool:
        """Whether all rows may be in memory at once."""
        return len(self) * self.image_bytes <= PIECE_BYTES


Rows = Floats | Inputs


def as_inputs(x: Rows) -> Inputs:
    """Rows as Inputs; an array of features is the record."""
    return x if isinstance(x, Inputs) else Inputs({RECORD: x})


def signature(parts: Sequence[InputPart]) -> tuple[Any, ...]:
    """The TensorFlow signature of rows by input."""
    tf = start_tensorflow()
    return tuple(
        tf.TensorSpec((None, *part.shape), tf.uint8 if part.pixels else tf.float32) for part in parts
    )


@dataclass(frozen=True)
class Feed:
    """The source of one of a model's inputs.

    Attributes:
        name: of the input in messages and in what `LocalModel.arranged` gives.
        part: its place among the parts.
        features: of the record, where the input is of one column; None: the whole part.
        is_index: the place of the level (an integer, the last one for a missing value), as an Embedding takes
            it, and not one feature a level.
    """

    name: str
    part: int
    features: slice | None = None
    is_index: bool = False

    def of(self, rows: Sequence[Tensor]) -> Tensor:
        """The input's tensor, from the rows of all parts."""
        tf = start_tensorflow()
        tensor = tf.convert_to_tensor(rows[self.part])
        if tensor.dtype == tf.uint8:
            return tf.cast(tensor, tf.float32) / 255.0
        if self.features is None:
            return tensor
        own = tensor[:, self.features]
        return tf.argmax(own, 1, tf.int32)[:, None] if self.is_index else own


def caller(model: Any, parts: Sequence[InputPart]) -> Callable[[Sequence[Tensor], bool], Tensor]:
    """The model as a function of rows by input, as `Inputs.take` gives them, and of whether it trains.

    Raises:
        StudyError: the model's inputs are others than the cohort's.
    """
    feeds = matched(model, parts)

    def call(rows: Sequence[Tensor], training: bool) -> Tensor:
        return model(packed(model, [feed.of(rows) for feed in feeds]), training=training)

    return call


def packed(model: Any, tensors: Sequence[Tensor]) -> Any:
    """One tensor an input, in the structure of the model's `input`: a tensor, a list or a mapping."""
    import keras

    return tensors[0] if len(tensors) == 1 else keras.tree.pack_sequence_as(model.input, list(tensors))


def matched(model: Any, parts: Sequence[InputPart]) -> list[Feed]:
    """Which part each of the model's inputs takes: the one of its shape, and of its name if several are.

    A model may take the record column by column instead: one input for each, of the column's name.

    Raises:
        StudyError: an input fits none or several, or a part of the cohort fits no input.
    """
    takes = [(str(tensor.name), tuple(tensor.shape[1:])) for tensor in model.inputs]
    if len(takes) == len(parts) == 1 and takes[0][1] == parts[0].shape:
        return [Feed(parts[0].name, 0)]
    by_column = _by_column(model, parts)
    if by_column is not None:
        return by_column
    order: list[int] = []
    for name, shape in takes:
        fitting = [at for at, part in enumerate(parts) if part.shape == shape and at not in order]
        named = [at for at in fitting if parts[at].name == name]
        if len(named or fitting) != 1:
            raise _unmatched([shape for _, shape in takes], parts)
        order.append((named or fitting)[0])
    if len(order) != len(parts):
        raise _unmatched([shape for _, shape in takes], parts)
    return [Feed(parts[at].name, at) for at in order]


def _by_column(model: Any, parts: Sequence[InputPart]) -> list[Feed] | None:
    """An input for each column of the record and each image, by its name; None where they are not so named.

    Raises:
        StudyError: an input has neither its column's width nor, as an integer, one place.
    """
    record = next((at for at, part in enumerate(parts) if part.columns), None)
    if record is None:
        return None
    columns = {name: (start, width) for name, start, width in parts[record].columns}
    images = {part.name: at for at, part in enumerate(parts) if part.pixels}
    names = [str(tensor.name) for tensor in model.inputs]
    if sorted(names) != sorted([*columns, *images]):
        return None
    return [
        Feed(name, images[name]) if name in images else _column_feed(tensor, name, record, *columns[name])
        for tensor, name in zip(model.inputs, names, strict=True)
    ]


def _column_feed(tensor: Any, name: str, record: int, start: int, width: int) -> Feed:
    shape, is_index = tuple(tensor.shape[1:]), str(tensor.dtype).startswith("int")
    levels = is_index and width > 1
    if shape != ((1,) if levels else (width,)) or is_index != levels:
        options = [f"keras.Input(({width},), name={name!r})"]
        options += [f'for an Embedding keras.Input((1,), dtype="int32", name={name!r})'] * (width > 1)
        raise StudyError(
            "analysis.model: input {name!r} is of shape {shape} and type {dtype}; the column has {count} "
            "features: give {given}",
            name=name,
            shape=shape,
            dtype=tensor.dtype,
            count=width,
            given=", or ".join(options),
        )
    return Feed(name, record, slice(start, start + width), levels)


def _unmatched(takes: list[tuple[int, ...]], parts: Sequence[InputPart]) -> StudyError:
    if len(parts) == 1:
        by_column = (
            ", or an input for each column, of its name" if parts[0].columns and len(takes) > 1 else ""
        )
        return StudyError(
            "analysis.model: takes {takes}, and the cohort's features have the shape {shape}{by_column}",
            takes=takes,
            shape=parts[0].shape,
            by_column=by_column,
        )
    needed = ", ".join(f"{part.name} {part.shape}" for part in parts)
    return StudyError(
        "analysis.model: takes {takes}, and the cohort has {needed}; give the model one keras.Input of each "
        "shape, named so if two have one shape",
        takes=takes,
        needed=needed,
    )


def read_ahead(
    pieces: Callable[[], Iterator[Any]], parts: Sequence[InputPart], *others: Any
) -> Iterator[tuple[Any, ...]]:
    """Pieces of rows as tensors, the next one being read while one is worked on (tf.data).

    Args:
        pieces: gives tuples of rows, as `Inputs.take` gives them, and of what `others` say.
    """
    tf = start_tensorflow()
    dataset = tf.data.Dataset.from_generator(pieces, output_signature=(signature(parts), *others))
    return iter(dataset.prefetch(1))
