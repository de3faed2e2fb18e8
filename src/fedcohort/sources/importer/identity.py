"""Under which names a database holds its patients: one key, one way of dates and one form for all of it.

Two keys in one database would make two patients of one, a plain identifier beside its pseudonym would
give both away, and two forms of one identifier (`normal`) would be two patients; so an import under
another is refused before it begins. A database keeps the form under which it was imported first,
until its data are imported again into a new one.
"""

import re
import time
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    select,
    text,
)

from fedcohort.errors import StoreError
from fedcohort.sources.catalogue.normal_form import FORM
from fedcohort.sources.catalogue.schema import OURS
from fedcohort.sources.importer.checkpoint import IMPORTS
from fedcohort.sources.importer.deidentification import IDENTIFIERS_KEPT, IdentifiersKept
from fedcohort.storage.database import IMPORTED_INTO, database_url, reading

_identity = Table(
    f"{OURS}identity",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("identity", String(256), nullable=False),
)
_permissions = Table(
    f"{OURS}identifiers_kept",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("because", Text, nullable=False),
    Column("allowed_by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)
"""Why a database holds identifiers, and who allowed it, for whoever is responsible for data protection."""
_IN_FORM = re.compile(r"(.*), identifiers of form ([0-9]{1,9})", re.DOTALL)


def bind(connection: Connection, name: str, identity: str, form: int, *, filled: bool) -> None:
    """Write down how patients are known, the first time; refuse another way ever after.

    Args:
        name: the database's, for messages.
        identity: such as `Deidentifier.identity`, or IDENTIFIERS_KEPT.
        form: of the identifiers, as they are stored or as pseudonyms are made of them.
        filled: whether there are tables of patients; without a note of how, their identifiers were kept.
    Raises:
        StoreError: the database knows its patients in another way.
    """
    _identity.create(connection, checkfirst=True)
    stored = connection.execute(select(_identity.c.identity)).scalar() or IDENTIFIERS_KEPT
    asked = identity if form == 1 else f"{identity}, identifiers of form {form}"
    if filled and stored != asked:
        raise StoreError(
            f"{name}: holds patients with {stored}, and this import has {asked}; they would not be the "
            "same patients: import as before, or into a new database"
        )
    connection.execute(_identity.delete())
    connection.execute(_identity.insert(), {"id": 1, "identity": asked})


def note_permission(connection: Connection, permission: IdentifiersKept) -> None:
    """Write down once why identifiers are kept, and who allows it."""
    _permissions.create(connection, checkfirst=True)
    given = {"because": permission.because, "allowed_by": permission.allowed_by}
    same = (_permissions.c[name] == value for name, value in given.items())
    if connection.execute(select(_permissions.c.id).where(*same).limit(1)).first() is None:
        connection.execute(_permissions.insert(), {**given, "at": int(time.time())})


def forget(connection: Connection) -> None:
    """No patient is left: the next import may know them in another way."""
    for table in (_identity, _permissions):
        table.create(connection, checkfirst=True)
        connection.execute(table.delete())


def form_in(connection: Connection, name: str) -> int:
    """The form of a database's identifiers: that of this program, unless an earlier one imported into it.

    Args:
        name: the database's, for messages.
    Raises:
        StoreError: a later version imported into it, or this account cannot see how.
    """
    inspector = inspect(connection)
    tables = inspector.get_table_names()
    if _identity.name not in tables:
        return 1 if IMPORTS in tables else FORM
    if connection.dialect.name == "postgresql":
        asked = text("SELECT has_table_privilege(quote_ident(:name), 'SELECT')")
        if not connection.execute(asked, {"name": _identity.name}).scalar():
            raise StoreError(
                f"{name}: this account cannot read {_identity.name}; grant it SELECT on that table"
            )
    stored = connection.execute(select(_identity.c.identity)).scalar()
    if stored is None:
        return FORM
    match = _IN_FORM.fullmatch(stored)
    form = int(match[2]) if match else 1
    if form > FORM:
        raise StoreError(f"{name}: was imported by a later version of fedcohort; install that version here")
    return FORM if all(table.startswith(OURS) for table in tables) else form


def form_of(database: str | Path) -> int:
    """The form in which an import into this database gives patients their names.

    Raises:
        StoreError: as of `form_in`, or it cannot be opened.
    """
    url = database_url(database)
    if url.get_backend_name() not in IMPORTED_INTO:  # which the import refuses in its own words
        return FORM
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return FORM
    with reading(database) as connection:
        return form_in(connection, str(url.database))
