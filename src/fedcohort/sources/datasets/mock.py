"""`fedcohort data mock`: patients of nobody, made up from declared facts alone, to try a study on.

Nothing here can read a patient: it is given a cohort's words (kinds, ranges, levels, `where`)
and writes a new SQLite file. A number is drawn evenly from its declared range (0 to 100
without one; whole where both bounds are), a level evenly from its list, an image is noise.
So that training has something to learn, the label is drawn from the mean of the columns, each
scaled to -1 to 1: a rule of no disease. Rows that `where` does not select are drawn again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Column, Integer, MetaData, String, Table, inspect
from sqlglot import exp

from fedcohort.columns import Binary, Categorical, Classes, Image, Level, Number, Numeric, Survival
from fedcohort.errors import CohortError, ConfigError, StoreError
from fedcohort.sources.catalogue.schema import Declared, Kind, sql_type
from fedcohort.sources.catalogue.stored_images import encode_image
from fedcohort.sources.cohort.explicit import check_explicit
from fedcohort.sources.cohort.frame import selected_rows
from fedcohort.sources.cohort.resolve import kinds_of_label
from fedcohort.sources.cohort.where.parse import columns_asked, parse_where
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import ImportReport
from fedcohort.sources.importer.writer import write_table
from fedcohort.storage.database import writing
from fedcohort.study import Cohort

MAX_PATIENTS = 1_000_000
BATCH, TRIES = 10_000, 50
UNBOUNDED = (0.0, 100.0)
STEEPNESS = 4.0
SPLIT = Categorical(("train", "test", "valid"))

Values = NDArray[Any]


def make_mock(path: Path, cohort: Cohort, patients: int, missing: float, seed: int) -> ImportReport:
    """Write a simulated twin of a cohort, a row a patient, all of whom the cohort selects.

    Args:
        path: a SQLite file that is not there yet.
        cohort: explicit.
        missing: the share of values left out of each column, 0 to 0.95; labels are whole.
    Raises:
        StudyError: a column or the label has no kind.
        ConfigError: a number is out of range.
        CohortError: the made-up values hardly ever satisfy `where`.
        StoreError: the file is there already, or cannot be written.
    """
    check_explicit(cohort)
    if not 1 <= patients <= MAX_PATIENTS or not 0 <= missing <= 0.95 or seed < 0:
        raise ConfigError(f"mock: patients from 1 to {MAX_PATIENTS:,}, missing from 0 to 0.95, seed from 0")
    if path.exists():
        raise StoreError(f"{path}: is there already; name a new file")
    kinds = _kinds(cohort)
    draw = np.random.default_rng(seed)
    drawn = _selected(cohort, kinds, patients, missing, draw) | _images(kinds, patients, draw)
    digests = (hashlib.sha256(f"{seed}/{row}".encode()).hexdigest()[:12] for row in range(patients))
    named: dict[str, list[object]] = {cohort.patient_id: [f"mock-{digest}" for digest in digests], **drawn}
    columns = {name: Declared(kind) for name, kind in kinds.items()}
    table = Table(
        cohort.table,
        MetaData(),
        *([Column("id", Integer, primary_key=True)] if "id" not in named else []),
        Column(cohort.patient_id, String(128), nullable=False, index=True),
        *(Column(name, sql_type(declaration.kind)) for name, declaration in columns.items()),
    )
    with writing(path) as connection:
        if inspect(connection).get_table_names():
            raise StoreError(f"{path}: is there already; name a new file")
        write_table(connection, table, columns, named, MADE_UP)
    return ImportReport(str(path), cohort.table, patients, patients, patients)


def _images(kinds: Mapping[str, Kind], n: int, draw: np.random.Generator) -> dict[str, list[object]]:
    """Noise of the declared size."""
    return {
        name: [encode_image(draw.integers(0, 256, kind.shape, dtype=np.uint8)) for _ in range(n)]
        for name, kind in kinds.items()
        if isinstance(kind, Image)
    }


def _kinds(cohort: Cohort) -> dict[str, Kind]:
    """Every column that the study reads, and those that only its `where` asks about."""
    split: dict[str, Kind] = {cohort.split: SPLIT} if isinstance(cohort.split, str) else {}
    kinds = {**cohort.schema_, **kinds_of_label(cohort.label), **split}
    if cohort.where is None:
        return kinds
    read = {name.casefold() for name in kinds}
    asked = [name for name in columns_asked(cohort.where) if name.casefold() not in read]
    tree = parse_where(cohort.where, cohort.table, {*kinds, *asked})
    return {**kinds, **{name: _kind_asked(tree, name) for name in asked}}


def _kind_asked(tree: exp.Expr, name: str) -> Numeric | Categorical:
    """What a column is that only `where` names: the texts or the numbers that it is compared with."""
    texts: set[str] = set()
    numbers: set[float] = set()
    for column in tree.find_all(exp.Column):
        predicate = column.find_ancestor(exp.Predicate) if column.name == name else None
        for literal in predicate.find_all(exp.Literal) if predicate is not None else ():
            if literal.is_string:
                texts.add(str(literal.this).replace("%", "").replace("_", "x"))
            else:
                numbers.add(float(literal.this))
    if texts:
        return Categorical(sorted(texts | {"other"}) if len(texts | {"other"}) > 1 else ("other", "another"))
    return Numeric(min(numbers) - 1, max(numbers) + 1) if numbers else Numeric(*UNBOUNDED)


def _selected(
    cohort: Cohort, kinds: Mapping[str, Kind], patients: int, missing: float, draw: np.random.Generator
) -> dict[str, list[object]]:
    """Columns of so many rows that `where` selects."""
    selected: dict[str, list[object]] = {name: [] for name in kinds}
    count = 0
    for _ in range(TRIES):
        columns = _drawn(cohort, kinds, max(BATCH, patients), missing, draw)
        rows = selected_rows(pd.DataFrame(columns), cohort)[: patients - count]
        for name, values in columns.items():
            selected[name] += values[rows].tolist()
        count += len(rows)
        if count == patients:
            return selected
    raise CohortError(
        "where: made-up patients hardly ever satisfy it; widen it, or give the columns the range it asks for"
    )


def _drawn(
    cohort: Cohort, kinds: Mapping[str, Kind], n: int, missing: float, draw: np.random.Generator
) -> dict[str, Values]:
    """One batch: object arrays with None where missing."""
    scaled = {name: _scaled(kind, n, draw) for name, kind in kinds.items()}
    spread = sum(scaled[name] for name in cohort.schema_) / np.sqrt(len(cohort.schema_) / 3)
    columns = {name: _value(kind, scaled[name]) for name, kind in kinds.items()}
    columns |= _label(cohort, np.asarray(spread), draw)
    images = {name for name, kind in kinds.items() if isinstance(kind, Image)}
    whole = {*cohort.label_columns, cohort.split, *images}
    for name in columns.keys() - whole:
        columns[name][draw.random(n) < missing] = None
    return columns


def _scaled(kind: Kind, n: int, draw: np.random.Generator) -> NDArray[np.float64]:
    """Evenly from -1 to 1, on the steps that the kind has."""
    if isinstance(kind, Image):  # pixels come last: until then it is only there
        return np.zeros(n)
    if isinstance(kind, Categorical):
        return draw.integers(0, len(kind.levels), n) / (len(kind.levels) - 1) * 2 - 1
    low, high = kind.bounds or UNBOUNDED
    if low.is_integer() and high.is_integer():
        return draw.integers(0, int(high - low), n, endpoint=True) / (high - low) * 2 - 1
    return draw.uniform(-1, 1, n)


def _value(kind: Kind, scaled: NDArray[np.float64]) -> Values:
    share = (scaled + 1) / 2
    if isinstance(kind, Categorical):
        return _levels(kind.levels, np.rint(share * (len(kind.levels) - 1)).astype(np.int64))
    low, high = (kind.bounds if isinstance(kind, Numeric) else None) or UNBOUNDED
    values = low + share * (high - low)
    if low.is_integer() and high.is_integer():
        values = np.rint(values)
    return np.clip(values, low, high).astype(object)


def _levels(levels: Sequence[Level], indices: NDArray[np.int64]) -> Values:
    return np.array(levels, dtype=object)[indices]


def _label(cohort: Cohort, spread: NDArray[np.float64], draw: np.random.Generator) -> dict[str, Values]:
    """The label of each row, likelier high where the columns are."""
    n, chance = len(spread), 1 / (1 + np.exp(-STEEPNESS * spread))
    match cohort.typed_label:
        case Binary(column=column, positive=positive, negative=negative):
            return {column: _levels((negative, positive), (draw.random(n) < chance).astype(np.int64))}
        case Classes(column=column, levels=levels):
            noisy = np.clip((chance + draw.normal(0, 0.1, n)) * len(levels), 0, len(levels) - 1)
            return {column: _levels(levels, noisy.astype(np.int64))}
        case Number(column=column, low=low, high=high):
            return {column: (low + (high - low) * chance).astype(object)}
        case Survival(time=time, event=event, events=events):
            days = np.rint(draw.exponential(365 * (1.5 - chance), n))
            return {time: days.astype(object), event: _levels(events, draw.integers(0, len(events), n))}
        case _:
            return {}
