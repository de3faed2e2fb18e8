"""What stands in a site's database: the table `records`, and what each import declared about columns.

`records` keeps a patient's features as one JSON vector; an ordinary wide table has a
database column for each. Either way `fedcohort_columns` holds the declared bounds and
levels: facts about the instrument or the code list, written when data are imported
and never computed from the patients.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    String,
    Table,
    delete,
    inspect,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fedcohort.columns import Categorical, Image, Numeric
from fedcohort.errors import SchemaError, StudyError
from fedcohort.sources.catalogue.units import MAX_UNIT

RECORDS = "records"
FEATURES = "features"
PATIENT_ID = "patient_id"
LONGEST_ID = 128
"""Characters of an identifier."""
OURS = "fedcohort_"
"""How the tables begin that hold no patients, and that no study can ask for."""
DECLARATIONS = f"{OURS}columns"
DAYS_SINCE_1970 = "days since 1970-01-01"
"""The unit of a date as a number: differences are days, and de-identification moves it as a date."""
DAY_0 = datetime.date(1970, 1, 1).toordinal()

Kind = Numeric | Categorical | Image


class Base(DeclarativeBase):
    """The tables that fedcohort makes."""


class Record(Base):
    """A patient of the table `records`: features as a JSON vector, null where missing."""

    __tablename__ = RECORDS

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_id: Mapped[str] = mapped_column(String(LONGEST_ID), index=True)
    diagnosis: Mapped[str | None] = mapped_column(String(64))
    features: Mapped[list[float | None]] = mapped_column(JSON)
    label: Mapped[float | None]


class ColumnDeclaration(Base):
    """What an import declared about one column; `position` is its index in the JSON vector."""

    __tablename__ = DECLARATIONS

    table_name: Mapped[str] = mapped_column(String(128), primary_key=True)
    column_name: Mapped[str] = mapped_column(String(128), primary_key=True)
    position: Mapped[int | None]
    kind: Mapped[str] = mapped_column(String(16))
    low: Mapped[float | None]
    high: Mapped[float | None]
    levels: Mapped[list[int | str] | None] = mapped_column(JSON(none_as_null=True))
    unit: Mapped[str | None] = mapped_column(String(MAX_UNIT))


@dataclass(frozen=True)
class Declared:
    """A column's kind with its declared bounds or levels.

    Attributes:
        kind: Numeric in the column's own unit, Categorical, or Image: PNG bytes as `images.py` writes them.
        unit: as a clinician writes it; None where there is none.
        position: index in the JSON vector `features`; None for an ordinary column.
    """

    kind: Kind
    unit: str | None = None
    position: int | None = None


def wide_table(name: str, columns: Mapping[str, Declared]) -> Table:
    """An ordinary table: id, patient_id and one database column for each declared column."""
    types = {column: sql_type(declared.kind) for column, declared in columns.items()}
    return Table(
        name,
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column(PATIENT_ID, String(LONGEST_ID), nullable=False, index=True),
        *(Column(column, sql_type) for column, sql_type in types.items()),
    )


def sql_type(kind: Kind) -> Float[float] | Integer | String | LargeBinary:
    """The database's type of a declared column."""
    if isinstance(kind, Numeric):
        return Float()
    if isinstance(kind, Image):
        return LargeBinary()
    return Integer() if all(isinstance(level, int) for level in kind.levels) else String(256)


def write_declarations(connection: Connection, table: str, columns: Mapping[str, Declared]) -> None:
    """Replace what is declared about a table's columns (for an import, or a data engineer's own table)."""
    ColumnDeclaration.metadata.tables[DECLARATIONS].create(connection, checkfirst=True)
    connection.execute(delete(ColumnDeclaration).where(ColumnDeclaration.table_name == table))
    rows = [_declaration_row(table, name, declared) for name, declared in columns.items()]
    if rows:
        connection.execute(ColumnDeclaration.metadata.tables[DECLARATIONS].insert(), rows)


def _declaration_row(table: str, name: str, declared: Declared) -> dict[str, object]:
    kind = declared.kind
    return {
        "table_name": table,
        "column_name": name,
        "position": declared.position,
        "kind": type(kind).__name__.lower(),
        "low": kind.low if isinstance(kind, Numeric) else None,
        "high": kind.high if isinstance(kind, Numeric) else None,
        "levels": _levels(kind),
        "unit": declared.unit,
    }


def _levels(kind: Kind) -> list[int | str] | None:
    """A category's levels; an image's height, width and channels stand in the same place."""
    match kind:
        case Categorical(levels=levels):
            return list(levels)
        case Image(shape=shape):
            return list(shape)
        case _:
            return None


def read_declarations(connection: Connection, table: str) -> dict[str, Declared]:
    """What the database declares about a table's columns; empty when nobody declared anything.

    Raises:
        SchemaError: a declaration cannot be read; names the column.
    """
    if not inspect(connection).has_table(DECLARATIONS):
        return {}
    metadata = ColumnDeclaration.metadata.tables[DECLARATIONS]
    query = select(metadata).where(metadata.c.table_name == table).order_by(metadata.c.column_name)
    try:
        rows = connection.execute(query).mappings().all()
    except ValueError:
        raise SchemaError(
            f"{DECLARATIONS}: what is declared about {table} is damaged; import again into a new database"
        ) from None
    return {str(row["column_name"]): _declared(table, row) for row in rows}


def _declared(table: str, row: RowMapping) -> Declared:
    position, unit, levels = row["position"], row["unit"], row["levels"]
    kind: Kind
    try:
        if row["kind"] == "numeric":
            kind = Numeric.model_validate({"low": row["low"], "high": row["high"]})
        elif row["kind"] == "image":
            kind = Image.model_validate(dict(zip(("height", "width", "channels"), levels, strict=True)))
        else:
            kind = Categorical.model_validate({"levels": levels})
    except (StudyError, ValidationError, TypeError, ValueError):
        raise SchemaError(
            f"{DECLARATIONS}: what is declared about {table}.{row['column_name']} cannot be read; "
            "import again into a new database"
        ) from None
    return Declared(
        kind, None if unit is None else str(unit), position if isinstance(position, int) else None
    )
