"""Four of PostgreSQL's doubles in one value, so that a driver has a quarter of the values to take apart.

Each value of a row is sent with its length before it, and reading that costs a driver more than the server
needs to send it. `lseg`, a line segment of two points, is the built-in type of the most doubles: it is sent
as four of them, bit by bit as each would be (https://www.postgresql.org/docs/current/datatype-geometric.html).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import types as sql
from sqlalchemy.types import TypeEngine
from sqlglot import exp

from fedcohort.sources.cohort.dialects import column_of, select_of

Arrow = Any
"""pyarrow has no types."""
Four = tuple[str, str, str, str]
_NAN = exp.Literal.string("NaN")


@dataclass(frozen=True)
class Segments:
    """A SELECT of segments and then of the other columns.

    Attributes:
        fours: the columns of each segment; a missing value is NaN in it.
        rest: the other columns, the patient's first.
    """

    sql: str
    fours: tuple[Four, ...]
    rest: tuple[str, ...]


def segments_of(
    table: str, types: Mapping[str, TypeEngine[object]], narrower: exp.Expr | None
) -> Segments | None:
    """The SELECT of columns of these types, the patient's first; None where there are no four doubles.

    Args:
        narrower: as for `select_sql`.
    """
    patient, *others = types
    doubles = [name for name in others if isinstance(types[name], sql.Double)]
    fours = [(a, b, c, d) for a, b, c, d in zip(*(doubles[place::4] for place in range(4)), strict=False)]
    if not fours:
        return None
    packed = {name for four in fours for name in four}
    rest = [patient, *(name for name in others if name not in packed)]
    text = select_of("postgresql", table, [*map(_segment, fours), *map(column_of, rest)], narrower)
    return Segments(text, tuple(fours), tuple(rest))


def _segment(four: Four) -> exp.Expr:
    a, b, c, d = (exp.Coalesce(this=column_of(name), expressions=[_NAN.copy()]) for name in four)
    points = [exp.Anonymous(this="point", expressions=pair) for pair in ([a, b], [c, d])]
    return exp.Anonymous(this="lseg", expressions=points)


def doubles_of(arrays: Sequence[Arrow], segments: Segments) -> dict[str, NDArray[np.float64]]:
    """The columns of a batch's segments.

    Raises:
        ValueError: they are no segments.
    """
    columns: dict[str, NDArray[np.float64]] = {}
    for array, four in zip(arrays, segments.fours, strict=True):
        _, ends, data = getattr(array, "storage", array).buffers()  # lseg is opaque to Arrow: plain bytes
        offsets = np.frombuffer(ends, np.int32)
        begin, end = (int(offsets[array.offset + place]) for place in (0, len(array)))
        numbers = np.frombuffer(data or b"", np.uint8)[begin:end].view(">f8").reshape(len(array), 4)
        columns |= {name: numbers[:, place].astype(np.float64) for place, name in enumerate(four)}
    return columns
