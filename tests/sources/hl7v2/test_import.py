"""Messages on their way into a database: merged, ordered, de-identified, and taken out of the inbox."""

import asyncio
import gzip
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from fedcohort.errors import ConfigError, StoreError
from fedcohort.node.hl7 import _import
from fedcohort.sources.deidentify.pseudonym import alias
from fedcohort.sources.deidentify.rule_set import RuleSet
from fedcohort.sources.deidentify.rules import Rules
from fedcohort.sources.events.feed import EventFeed
from fedcohort.sources.events.pipeline import import_events
from fedcohort.sources.hl7v2.framing import messages
from fedcohort.sources.hl7v2.inbox import END, START, Inbox
from fedcohort.sources.hl7v2.reading import Hl7Options
from fedcohort.sources.hl7v2.source import context_of, hl7_feed, hl7_options, import_inbox
from fedcohort.sources.importer.batch import Refusal
from fedcohort.sources.importer.report import Imported
from fedcohort.storage.inbox_folder import InboxLimits
from tests.sources.events.feeds import stored

from .build import PID, PV1, message

KEY = b"k" * 32
RULES = RuleSet(Rules(), KEY)
LABORATORY = ("OBR|1|A1|F1|24331-1^Lipids^LN|||20260109", "OBX|1|NM|2093-3^Chol^LN||{}|mmol/L|||||F")


def result(value: str, at: str = "20260110", patient: str = PID, **parts: str) -> bytes:
    return message("ORU^R01", patient, *(part.format(value) for part in LABORATORY), at=at, **parts)


def bring(database: Path, *data: bytes, name: str = "a.hl7", told: list[Refusal] | None = None) -> Imported:
    """Import messages as one file."""
    path = database.parent / name
    path.write_bytes(b"".join(data))
    on_refusal = (told if told is not None else []).append
    return import_events(hl7_feed(path, Hl7Options()), database, RULES, on_refusal=on_refusal)


def only(database: Path, kind: str) -> Mapping[str, object]:
    (row,) = stored(database, kind)
    return row


def named(identifier: str) -> tuple[str, int]:
    """A patient's pseudonym, and by how many days its dates move."""
    return tuple(alias(KEY, identifier))  # type: ignore[return-value]


def test_a_file_becomes_rows_with_pseudonyms_and_moved_times(tmp_path: Path) -> None:
    database = tmp_path / "hospital.db"
    report = bring(database, message("ADT^A01", PID, PV1), result("5.2"))
    assert (report.read, report.refused.total()) == (2, 0)
    name, days = named("P1^HOSP")
    visit, value = only(database, "encounters"), only(database, "observations")
    assert {visit["patient_id"], value["patient_id"], only(database, "patients")["patient_id"]} == {name}
    assert visit["start"] == pytest.approx(20458 + 10.25 / 24 + days)
    assert (value["time"], value["value"], value["source"]) == (20462.0 + days, 5.2, "hl7v2")


def test_a_file_that_was_imported_changes_nothing_and_a_longer_one_is_read_anew(tmp_path: Path) -> None:
    database = tmp_path / "hospital.db"
    bring(database, result("5"))
    assert bring(database, result("5")).unchanged == 1
    bring(database, result("5"), result("6", at="20260111"))
    assert only(database, "observations")["value"] == 6.0


def test_a_late_older_message_does_not_win(tmp_path: Path) -> None:
    database = tmp_path / "hospital.db"
    new, old = (
        message("ADT^A08", PID.replace("|F", f"|{sex}"), at=at)
        for sex, at in (("M", "20260112"), ("F", "20260111"))
    )
    assert bring(database, new).older == 0
    assert bring(database, old, name="late.hl7").older == 1
    assert only(database, "patients")["sex"] == "male"


def test_an_empty_field_keeps_and_two_quotes_delete_what_is_stored(tmp_path: Path) -> None:
    database = tmp_path / "hospital.db"
    bring(database, message("ADT^A01", PID, PV1))
    bring(database, message("ADT^A08", 'PID|1||P1^^^HOSP^MR||||""|', at="20260111"), name="b.hl7")
    row = only(database, "patients")
    assert (row["birth_date"], row["sex"]) == (None, "female")


def test_a_result_after_a_cancelled_admission_does_not_bring_the_visit_back(tmp_path: Path) -> None:
    database = tmp_path / "hospital.db"
    bring(database, message("ADT^A01", PID, PV1), message("ADT^A11", PID, PV1, at="20260111"))
    bring(database, result("5", at="20260112", patient=PID + "\r" + PV1), name="b.hl7")
    assert stored(database, "encounters") == []
    assert only(database, "observations")["value"] == 5.0


def test_messages_of_one_control_number_with_other_contents_both_count(tmp_path: Path) -> None:
    database = tmp_path / "hospital.db"
    bring(database, result("5", control="7"), name="a.hl7")
    bring(database, result("6", control="7"), name="b.hl7")
    assert only(database, "observations")["value"] == 6.0
    assert bring(database, result("6", control="7"), name="c.hl7").unchanged == 1


def test_a_merge_gives_a_patient_s_rows_its_other_name_and_moves_their_dates(tmp_path: Path) -> None:
    database = tmp_path / "hospital.db"
    old = PID.replace("P1^", "OLD^")
    bring(database, result("5", patient=old), message("ADT^A01", old, PV1))
    (old_name, old_days), (name, days) = named("OLD^HOSP"), named("P1^HOSP")
    assert only(database, "observations")["patient_id"] == old_name
    assert old_days != days
    merge = message("ADT^A40", PID, "MRG|OLD^^^HOSP^MR", at="20260111")
    assert bring(database, merge, name="merge.hl7").merged == 1
    value, visit = only(database, "observations"), only(database, "encounters")
    assert (value["patient_id"], value["time"]) == (name, 20462.0 + days)
    assert (visit["patient_id"], visit["start"]) == (name, pytest.approx(20458 + 10.25 / 24 + days))
    # What still comes under the earlier number is the same patient's.
    bring(database, result("6", at="20260112", patient=old), name="late.hl7")
    value = only(database, "observations")
    assert (value["patient_id"], value["value"], value["time"]) == (name, 6.0, 20462.0 + days)


def test_batches_and_packed_files_are_read(tmp_path: Path) -> None:
    database, folder = tmp_path / "hospital.db", tmp_path / "files"
    folder.mkdir()
    batch = b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\r" + result("5") + b"BTS|1\rFTS|1\r"
    (folder / "batch.hl7.gz").write_bytes(gzip.compress(batch))
    (folder / "other.txt").write_bytes(message("ADT^A01", PID, PV1))
    (folder / "notes.pdf").write_bytes(b"x")
    assert import_events(hl7_feed(folder, Hl7Options()), database, RULES).read == 2
    with pytest.raises(ConfigError, match=r"no file ending in \.hl7"):
        hl7_feed(tmp_path / "nothing", Hl7Options())


def test_what_cannot_be_read_is_told_with_its_message_and_field(tmp_path: Path) -> None:
    told: list[Refusal] = []
    bad = b"hello\r" + result("five") + message("REF^I12", PID)
    bring(tmp_path / "hospital.db", bad, told=told)
    assert [(one.position, one.field) for one in told] == [
        ("message 1", ""),
        ("message 2", "OBX-5"),
        ("message 3", "MSH-9"),
    ]
    (tmp_path / "cut.hl7.gz").write_bytes(gzip.compress(result("5") * 1000)[:-200])
    feed = hl7_feed(tmp_path / "cut.hl7.gz", Hl7Options())
    report = import_events(feed, tmp_path / "other.db", RULES)
    assert any("cut off" in reason for reason in report.refused)


MARKS = ("MARKERNAME", "MARKERSTREET", "555-MARKER", "MARKERMRN", "MARKERVISIT", "MARKERTEXT", "MARKERORDER")


def test_a_marked_patient_stands_nowhere_in_clear(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    database = tmp_path / "MARKERNAME" / "hospital.db"
    database.parent.mkdir()
    identifiers = "MARKERMRN^^^HOSP^MR~555-MARKER^^^STATE^SS"
    pid = f"PID|1||{identifiers}||MARKERNAME^JANE||19630306|F|||MARKERSTREET 1^^X||555-MARKER"
    pv1 = PV1.replace("V1", "MARKERVISIT").replace("WARD", "MARKERNAME")
    texts = [
        "OBR|1|MARKERORDER|MARKERORDER|24331-1^MARKERTEXT^LN|||2026|||MARKERNAME^JANE|||MARKERTEXT",
        "OBX|1|TX|1^MARKERTEXT^LN||MARKERTEXT about MARKERNAME||||||F",
        "OBX|2|CWE|2^MARKERTEXT^LN||^MARKERNAME JANE||||||F|||2026||MARKERNAME^JANE",
        "OBX|3|ED|3^x^LN||^AP^PDF^Base64^MARKERTEXT||||||F",
        "OBX|4|NM|4^x^LN||MARKERTEXT||||||F",
        "NTE|1||MARKERTEXT",
    ]
    visit = message(
        "ADT^A01", pid, "NK1|1|MARKERNAME^JOHN", pv1, "DG1|1||I21^MARKERTEXT^I10|MARKERTEXT|MARKERTEXT"
    )
    told: list[Refusal] = []
    report = bring(database, visit, message("ORU^R01", pid, *texts), name="MARKERNAME.hl7", told=told)
    assert len(stored(database, "observations")) == 4
    assert len(told) == 2
    (tmp_path / "MARKERNAME" / "MARKERNAME.hl7").unlink()
    files = [path.read_bytes() for path in database.parent.iterdir()]
    said = "\n".join([*map(repr, told), repr(report.refused), caplog.text]).encode()
    for mark in MARKS:
        assert not [True for content in (*files, said) if mark.encode() in content], mark


def received(inbox: Inbox, *data: bytes) -> None:
    async def store() -> None:
        await asyncio.gather(*(inbox.put(one) for one in data))

    asyncio.run(store())


def test_what_was_received_is_imported_and_deleted_and_what_was_refused_is_kept(tmp_path: Path) -> None:
    database, inbox = tmp_path / "hospital.db", Inbox(tmp_path / "inbox", InboxLimits(free_bytes=0))
    nobody = message("ADT^A01", "PID|1||77^^^STATE^SS")

    def import_all(feed: EventFeed) -> Imported:
        return import_events(feed, database, RULES)

    received(inbox, result("5"), nobody)
    assert import_inbox(inbox, Hl7Options(), "lab", import_all) == 1
    assert only(database, "observations")["source"] == "lab"
    assert [path.name for path in inbox.folder.iterdir() if path.suffix] == []
    (kept,) = inbox.refused.iterdir()
    assert kept.read_bytes() == START + nobody.rstrip() + END
    assert import_inbox(inbox, Hl7Options(), "lab", import_all) == 0
    inbox.close()


def test_what_waits_stays_until_its_import_and_is_not_lost_where_a_crash_follows_it(tmp_path: Path) -> None:
    database, inbox = tmp_path / "hospital.db", Inbox(tmp_path / "inbox", InboxLimits(free_bytes=0))
    nobody = message("ADT^A01", "PID|1||77^^^STATE^SS")

    def locked(_feed: EventFeed) -> None:
        raise StoreError("the database is locked")

    received(inbox, result("5"), nobody)
    with pytest.raises(StoreError):
        import_inbox(inbox, Hl7Options(), "lab", locked)
    (path,) = inbox.rotate()
    content = path.read_bytes()
    with path.open("rb") as file:
        assert len(list(messages(file))) == 2
    import_inbox(inbox, Hl7Options(), "lab", lambda feed: import_events(feed, database, RULES))
    for kept in inbox.refused.iterdir():
        kept.unlink()
    # As after a crash between the import and the deletion.
    path.write_bytes(content)
    import_inbox(inbox, Hl7Options(), "lab", lambda feed: import_events(feed, database, RULES))
    assert only(database, "observations")["value"] == 5.0
    assert [one.read_bytes() for one in inbox.refused.iterdir()] == [START + nobody.rstrip() + END]
    inbox.close()


@pytest.mark.parametrize(
    ("words", "what"), [({"time_zone": "Mars/Base"}, "time zone"), ({"charset": "EBCDIC"}, "character set")]
)
def test_unknown_words_are_refused(words: dict[str, str], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        hl7_options(**words)


def test_what_decides_how_messages_are_read_decides_whether_a_file_is_read_anew() -> None:
    every = [
        hl7_options(),
        hl7_options("Europe/Berlin"),
        hl7_options(charset="8859/1"),
        hl7_options(authority="HOSP"),
        hl7_options(types=("PI",)),
    ]
    assert len({context_of(one) for one in every}) == len(every)


def test_whatever_one_message_does_to_its_import_receiving_goes_on_and_no_value_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox(tmp_path / "inbox", InboxLimits(free_bytes=0))

    def fails(feed: object) -> None:
        raise RecursionError("MARKER")

    _import(inbox, Hl7Options(), "hl7v2", fails)
    (inbox.folder / "1.hl7").write_bytes(message("ADT^A01", PID))
    _import(inbox, Hl7Options(), "hl7v2", fails)
    inbox.close()
    assert "wait for their import: RecursionError" in caplog.text
    assert "MARKER" not in caplog.text
    assert (inbox.folder / "1.hl7").exists()
