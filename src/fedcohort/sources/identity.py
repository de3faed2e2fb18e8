"""Under which pseudonyms a site's database holds its patients: one key and one way of dates for all of it.

Two keys in one database would make two patients of one, and a plain identifier beside its
pseudonym would give both away; so an import under another is refused before it begins.
"""

from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, select

from fedcohort.errors import StoreError

IDENTIFIERS_KEPT = "identifiers kept"

_identity = Table(
    "fedcohort_identity",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("identity", String(256), nullable=False),
)


def bind(connection: Connection, name: str, identity: str, *, filled: bool) -> None:
    """Write down how patients are known, the first time; refuse another way ever after.

    Args:
        name: the database's, for messages.
        identity: such as `Deidentifier.identity`, or IDENTIFIERS_KEPT.
        filled: whether there are tables of patients; without a note of how, their identifiers were kept.
    Raises:
        StoreError: the database knows its patients in another way.
    """
    _identity.create(connection, checkfirst=True)
    stored = connection.execute(select(_identity.c.identity)).scalar() or IDENTIFIERS_KEPT
    if filled and stored != identity:
        raise StoreError(
            f"{name}: holds patients with {stored}, and this import has {identity}; they would not be the "
            "same patients: import as before, or into a new database"
        )
    connection.execute(_identity.delete())
    connection.execute(_identity.insert(), {"id": 1, "identity": identity})


def forget(connection: Connection) -> None:
    """No patient is left: the next import may know them in another way."""
    _identity.create(connection, checkfirst=True)
    connection.execute(_identity.delete())
