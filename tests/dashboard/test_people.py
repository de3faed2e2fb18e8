"""The file of people: one-time links, passwords, who is let in; and nothing in it that opens a door."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcohort.dashboard.login.passwords import Passwords, objection
from fedcohort.dashboard.login.people import FIRST, FIRST_LINK_SECONDS, LINK_SECONDS, People
from fedcohort.dashboard.login.people_tables import SCHEMA
from fedcohort.dashboard.login.sessions import (
    IDLE_SECONDS,
    LONGEST_SECONDS,
    MOST_SESSIONS,
    end_session,
    open_session,
    session_of,
)
from fedcohort.errors import ConfigError, KeyFileError, NotFoundError, StoreError
from fedcohort.node.store import SqlNodeStore

from .accounts import PASSWORD


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def people(tmp_path: Path, clock: Clock) -> People:
    return People(tmp_path / "people.db", clock)


def test_the_file_is_for_its_owner_alone_and_refused_when_others_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "people.db"
    People(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        People(path)


def test_a_link_sets_a_password_once(people: People) -> None:
    link = people.add("ada", "researcher")
    assert people.linked(link) == "ada"
    assert people.take_link(link, "", "hash-1")
    assert not people.take_link(link, "", "hash-2")
    assert people.linked(link) is None
    assert people.secret("ada").hash == "hash-1"


def test_a_link_is_good_for_a_day_and_a_newer_one_ends_it(people: People, clock: Clock) -> None:
    first = people.add("ada", "researcher")
    second = people.reset("ada")
    assert (people.linked(first), people.linked(second)) == (None, "ada")
    clock.seconds += LINK_SECONDS
    assert people.linked(second) is None


def test_the_first_operator_sets_name_and_password_by_a_link_of_an_hour(people: People, clock: Clock) -> None:
    late = people.first_link()
    assert late is not None
    clock.seconds += FIRST_LINK_SECONDS
    assert people.linked(late) is None
    link = people.first_link()
    assert link is not None
    assert people.linked(link) == FIRST
    with pytest.raises(ConfigError, match="name"):
        people.take_link(link, " ", "hash")
    assert people.take_link(link, "ops", "hash")
    (operator,) = people.all()
    assert (operator.name, operator.role, operator.state) == ("ops", "operator", "active")
    assert people.first_link() is None


def test_a_first_operators_link_is_worth_nothing_once_there_is_somebody(people: People) -> None:
    link = people.first_link()
    people.add("ada", "researcher")
    assert link is not None
    assert people.linked(link) is None
    assert not people.take_link(link, "intruder", "hash")
    assert [person.name for person in people.all()] == ["ada"]


def test_names_are_found_in_capitals_and_in_wide_letters_too(people: People) -> None:
    people.add("Ada", "researcher")
    for same in ("ada", "ADA", "Ａｄａ"):
        with pytest.raises(ConfigError, match="already"):
            people.add(same, "auditor")
        assert getattr(people.person(same), "name", None) == "Ada"


@pytest.mark.parametrize("name", ["", " ", "a" * 65, "a\nb", " ada", "\u202eada"])
def test_what_is_no_name_is_refused(people: People, name: str) -> None:
    with pytest.raises(ConfigError, match="printable"):
        people.add(name, "researcher")


def test_an_unknown_role_or_person_is_an_error_that_says_so(people: People) -> None:
    with pytest.raises(ConfigError, match="researcher, data-owner, auditor, operator"):
        people.add("ada", "root")
    for change in (people.reset, people.disable, people.enable):
        with pytest.raises(NotFoundError, match="nobody called"):
            change("ada")


def test_disabling_ends_sessions_links_and_log_in(people: People) -> None:
    people.take_link(people.add("ada", "researcher"), "", "hash")
    session = open_session(people, "ada")
    link = people.reset("ada")
    people.disable("ada")
    assert session_of(people, session) is None
    assert people.linked(link) is None
    assert people.secret("ada").hash is None
    with pytest.raises(ConfigError, match="disabled"):
        people.reset("ada")
    people.enable("ada")
    assert session_of(people, session) is None, "what has ended does not come back"


def test_a_session_ends_idle_after_an_hour_and_for_good_after_twelve(people: People, clock: Clock) -> None:
    people.add("ada", "researcher")
    session = open_session(people, "ada")
    for _ in range(LONGEST_SECONDS // (IDLE_SECONDS // 2) - 1):
        clock.seconds += IDLE_SECONDS // 2
        assert session_of(people, session) is not None
    clock.seconds += IDLE_SECONDS // 2
    assert session_of(people, session) is None
    idle = open_session(people, "ada")
    clock.seconds += IDLE_SECONDS - 1
    assert session_of(people, idle, use=False) is not None
    clock.seconds += 1
    assert session_of(people, idle) is None


def test_a_person_has_so_many_sessions_and_the_oldest_goes(people: People, clock: Clock) -> None:
    people.add("ada", "researcher")
    sessions = []
    for _ in range(MOST_SESSIONS + 1):
        clock.seconds += 1
        sessions.append(open_session(people, "ada"))
    alive = [session_of(people, session) is not None for session in sessions]
    assert alive == [False] + [True] * MOST_SESSIONS


def test_a_new_session_ends_the_one_that_the_browser_had(people: People) -> None:
    people.add("ada", "researcher")
    old = open_session(people, "ada")
    new = open_session(people, "ada", old)
    assert session_of(people, old) is None
    end_session(people, new)
    assert session_of(people, new) is None


def test_the_file_and_its_log_hold_neither_passwords_nor_tokens(people: People, tmp_path: Path) -> None:
    link = people.add("ada", "researcher")
    hash = Passwords().hash(PASSWORD)
    assert hash is not None
    people.take_link(link, "", hash)
    session = open_session(people, "ada")
    people.close()
    whole = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (link, session, PASSWORD):
        assert secret.encode() not in whole
    with sqlite3.connect(tmp_path / "people.db") as connection:
        kinds = [kind for (kind,) in connection.execute("SELECT kind FROM events ORDER BY sequence")]
    connection.close()
    assert kinds == ["person-added", "password-set", "logged-in"]


def test_passwords_are_argon2id_by_rfc_9106(people: People) -> None:
    passwords = Passwords()
    hash = passwords.hash(PASSWORD)
    assert hash is not None
    assert hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    people.take_link(people.add("Ada", "researcher"), "", hash)
    assert passwords.check(people, "ADA", PASSWORD) == "Ada"
    assert passwords.check(people, "ada", PASSWORD + " ") is None
    assert passwords.check(people, "ada", PASSWORD * 20) is None
    people.disable("ada")
    assert passwords.check(people, "ada", PASSWORD) is None


def test_a_name_that_nobody_has_costs_the_same_comparison(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords, compared = Passwords(), []
    verify = Passwords._verify

    def counted(self: Passwords, hash: str, password: str) -> bool:
        compared.append(hash.rpartition("$")[0].rpartition("$")[0])
        return verify(self, hash, password)

    monkeypatch.setattr(Passwords, "_verify", counted)
    hash = passwords.hash(PASSWORD)
    assert hash is not None
    people.take_link(people.add("ada", "researcher"), "", hash)
    people.add("invited", "researcher")
    for name in ("ada", "invited", "nobody"):
        assert passwords.check(people, name, "not the password") is None
    assert compared == ["$argon2id$v=19$m=65536,t=3,p=4"] * 3


def test_a_hash_of_older_parameters_is_renewed_at_log_in(people: People) -> None:
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    people.take_link(people.add("ada", "researcher"), "", weak)
    assert Passwords().check(people, "ada", PASSWORD) == "ada"
    assert str(people.secret("ada").hash).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_a_password_is_the_same_however_its_letters_are_composed(people: People) -> None:
    passwords = Passwords()
    hash = passwords.hash("Café crème à midi")
    assert hash is not None
    people.take_link(people.add("ada", "researcher"), "", hash)
    assert passwords.check(people, "ada", "Cafe\u0301 cre\u0300me a\u0300 midi") == "ada"


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("eleven char", "password.short"),
        ("x" * 257, "password.long"),
        ("aaaabbbbcccc", "password.guessed"),
        ("Password1234!", "password.guessed"),
        ("qwertyuiop12", "password.guessed"),
        ("123456789012", "password.guessed"),
        ("abcdefghijklm", "password.guessed"),
        ("hospitalhospital", "password.guessed"),
        ("marie-curie2026", "password.guessed"),
        ("marie-curie at the sea", None),
        (PASSWORD, None),
        ("胆固醇与血压都很高的病人", None),
    ],
)
def test_a_password_is_long_and_not_guessed_first_and_nothing_else_is_asked(
    password: str, said: str | None
) -> None:
    assert objection(password, "marie-curie") == said


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.text(max_size=70))
def test_any_text_may_be_tried_as_a_password_or_a_name(password: str, name: str) -> None:
    assert objection(password, name) in (None, "password.short", "password.long", "password.guessed")


def test_the_tables_name_the_newest_migration_and_a_newer_file_is_refused(tmp_path: Path) -> None:
    scripts = ScriptDirectory(str(SCHEMA.migrations), version_locations=[str(SCHEMA.migrations)])
    assert scripts.get_current_head() == SCHEMA.revision
    People(tmp_path / "people.db").close()
    with closing(sqlite3.connect(tmp_path / "people.db")) as connection, connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
            (SCHEMA.revision,)
        ]
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(StoreError, match="newer fedcohort"):
        People(tmp_path / "people.db", exclusive=True)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    SqlNodeStore(tmp_path / "node.db").close()
    (tmp_path / "node.db").chmod(0o600)
    with pytest.raises(StoreError, match="is not the database of a dashboard"):
        People(tmp_path / "node.db")
