"""The import of events beside other imports: each part once, appended records alone, rows taken back."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedcohort.sources.events.change import Change, Record
from fedcohort.sources.events.feed import EventFeed, EventPart
from fedcohort.sources.events.pipeline import import_events
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import IdentifiersKept
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.undo import imports_of, undo
from tests.sources.events.feeds import RULES, bring, part, records, result, stored

KEPT = IdentifiersKept("a test of made-up patients", "nobody")


def appended(changes: Sequence[Change], read: list[int]) -> EventPart:
    """A file to which records are appended, each as long as any other; `read` notes where reading began."""

    def after(done: int) -> Iterator[Record]:
        read.append(done)
        yield from records(changes)[done:]

    def digest(count: int) -> str:
        return hashlib.sha256(repr(changes[:count]).encode()).hexdigest()

    return EventPart("log", lambda: digest(len(changes)), after, lambda: len(changes), digest)


def test_a_part_that_was_imported_is_not_read_again(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    change = result("O", 1.0, "P", 1.0)
    assert bring(database, change).written.total() == 1
    again = bring(database, change)
    assert (again.parts, again.unchanged, again.read, again.empty) == (0, 1, 0, False)


def test_records_that_are_appended_are_read_alone(tmp_path: Path) -> None:
    database, read = tmp_path / "s.db", list[int]()
    changes = [result(f"O{number}", 1.0, "P", float(number)) for number in range(4)]
    for count in (2, 4):
        import_events(EventFeed("adt", [appended(changes[:count], read)]), database, RULES)
    assert read == [0, 2]
    assert len(stored(database, "observations")) == 4


def test_rows_of_a_csv_file_are_taken_back_beside_events(tmp_path: Path) -> None:
    database, file = tmp_path / "s.db", tmp_path / "a.csv"
    file.write_text("patient_id,age\nP,60\n", encoding="utf-8")
    import_events(EventFeed("adt", [part("a", [result("O", 1.0, "P", 1.0)])]), database, KEPT)
    import_source(csv_source(file, "records", None), database, KEPT)
    assert [sorted(past.tables) for past in imports_of(database)] == [["records"]]
    undo(database, 1)
    assert imports_of(database) == []
    assert [row["patient_id"] for row in stored(database, "observations")] == ["P"]
    import_source(csv_source(file, "records", None), database, KEPT)


def test_kept_identifiers_stay_as_they_come_and_times_do_not_move(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    report = import_events(EventFeed("adt", [part("a", [result("O", 1.5, "P", 1.0)])]), database, KEPT)
    [row] = stored(database, "observations")
    assert (row["patient_id"], row["order_id"], row["time"], row["as_of"]) == ("P", "O", 18_000.0, 1.5)
    assert "NOT de-identified" in report.deidentification
