"""The event log tells when an entry was changed, removed or inserted."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, MetaData, create_engine, delete, insert, select, update

from fedcohort.audit.chain import events_table, newest_query, next_entry, verify_events
from fedcohort.errors import StoreError

METADATA = MetaData()
EVENTS = events_table(METADATA)


def append(connection: Connection, kind: str) -> None:
    row = connection.execute(newest_query(EVENTS)).one_or_none()
    last = None if row is None else (row.sequence, row.hash)
    connection.execute(insert(EVENTS).values(next_entry(last, kind, "ab" * 32, {"bytes": 7})))


@pytest.fixture
def log() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.connect() as connection:
        for kind in ("proposed", "approved", "contributed", "finished"):
            append(connection, kind)
        yield connection
    engine.dispose()


def test_an_untouched_log_verifies_and_tells_its_length(log: Connection) -> None:
    assert verify_events(EVENTS, log) == 4
    append(log, "proposed")
    assert verify_events(EVENTS, log) == 5


def test_an_empty_log_verifies() -> None:
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.connect() as connection:
        assert verify_events(EVENTS, connection) == 0
    engine.dispose()


@pytest.mark.parametrize(
    "change",
    [{"kind": "refused"}, {"at_ms": 1}, {"study_hash": "cd" * 32}, {"detail": "{}"}, {"hash": b"x" * 32}],
)
def test_a_changed_entry_is_found(log: Connection, change: dict[str, object]) -> None:
    log.execute(update(EVENTS).where(EVENTS.c.sequence == 2).values(change))
    with pytest.raises(StoreError, match="altered at entry 2"):
        verify_events(EVENTS, log)


@pytest.mark.parametrize("sequence", [1, 2, 3])
def test_a_removed_entry_is_found_also_when_the_rest_is_renumbered(log: Connection, sequence: int) -> None:
    log.execute(delete(EVENTS).where(EVENTS.c.sequence == sequence))
    with pytest.raises(StoreError, match=f"altered at entry {sequence}"):
        verify_events(EVENTS, log)
    for later in range(sequence + 1, 5):
        log.execute(update(EVENTS).where(EVENTS.c.sequence == later).values(sequence=later - 1))
    with pytest.raises(StoreError, match=f"altered at entry {sequence}"):
        verify_events(EVENTS, log)


def test_an_inserted_entry_is_found(log: Connection) -> None:
    for later in (4, 3):
        log.execute(update(EVENTS).where(EVENTS.c.sequence == later).values(sequence=later + 1))
    second = log.execute(select(EVENTS.c.hash).where(EVENTS.c.sequence == 2)).scalar_one()
    log.execute(insert(EVENTS).values(next_entry((2, second), "approved", "ab" * 32, None)))
    with pytest.raises(StoreError, match="altered at entry 4"):
        verify_events(EVENTS, log)
