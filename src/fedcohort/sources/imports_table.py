"""The table of what was imported and how far, in the database that it was imported into."""

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    or_,
    select,
    update,
)

from fedcohort.sources.schema import OURS

IMPORTS = f"{OURS}imports"
imports = Table(
    IMPORTS,
    MetaData(),
    Column("part", String(64), primary_key=True),
    Column("name", Text, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("context", String(64), nullable=False),
    Column("read", BigInteger, nullable=False),
    Column("written", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("done", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
)

# Built once: for a small part, building them costs more than running them.
KNOWN = select(imports).where(
    imports.c.context == bindparam("in_context"),
    or_(imports.c.digest == bindparam("of_digest"), imports.c.name == bindparam("of_name")),
)
ADVANCE = (
    update(imports)
    .where(imports.c.part == bindparam("key"), imports.c.read == bindparam("before"))
    .values(
        read=bindparam("now"),
        written=imports.c.written + bindparam("more"),
        refused=imports.c.refused + bindparam("out"),
    )
)
DONE = update(imports).where(imports.c.part == bindparam("key")).values(done=1)
