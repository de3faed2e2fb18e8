"""Turns at writing: whole, shared by small ones, and kept when something else fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from fedcohort.sources.importer import transactions as batcher
from fedcohort.sources.importer.transactions import TransactionBatcher


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
    yield made
    made.dispose()


def rows(engine: Engine) -> list[int]:
    """What another connection sees."""
    with engine.connect() as connection:
        return [int(row[0]) for row in connection.execute(text("SELECT x FROM t ORDER BY x"))]


def write(writing: TransactionBatcher, value: int, weight: int = 1) -> None:
    with writing.turn() as connection:
        connection.execute(text("INSERT INTO t VALUES (:x)"), {"x": value})
        writing.weight += weight


def test_small_turns_share_a_transaction_and_a_large_one_ends_it(engine: Engine) -> None:
    with TransactionBatcher(engine) as writing:
        write(writing, 1)
        assert rows(engine) == []
        write(writing, 2, weight=batcher.ROWS)
        assert rows(engine) == [1, 2]
        write(writing, 3)
    assert rows(engine) == [1, 2, 3]


def test_a_transaction_ends_after_a_while(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "SECONDS", 0.0)
    with TransactionBatcher(engine) as writing:
        write(writing, 1)
        assert rows(engine) == [1]


def fail(writing: TransactionBatcher, value: int, *, within: bool) -> None:
    with writing:
        write(writing, value)
        if within:
            with writing.turn() as connection:
                connection.execute(text("INSERT INTO t VALUES (9)"))
                raise KeyError
        raise KeyError


def test_what_fails_between_turns_loses_none_and_within_one_what_is_not_yet_kept(engine: Engine) -> None:
    with pytest.raises(KeyError):
        fail(TransactionBatcher(engine), 1, within=False)
    assert rows(engine) == [1]
    with pytest.raises(KeyError):
        fail(TransactionBatcher(engine), 2, within=True)
    assert rows(engine) == [1]
