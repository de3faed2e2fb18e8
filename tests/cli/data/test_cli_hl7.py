"""`fedcohort data import hl7` and `node hl7`: from files and by MLLP into a database, in real processes."""

import contextlib
import signal
import socket
import sqlite3
import ssl
import time
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from fedcohort.sources.hl7v2.inbox import END, START
from tests.build import free_port
from tests.patience import PATIENCE_SECONDS, until
from tests.processes.support import Process, cli
from tests.sources.hl7v2.build import PID, PV1, message

pytestmark = pytest.mark.processes


def result(number: int) -> bytes:
    """One patient's one result; the number is its order's, its value's and its message's."""
    pid = f"PID|1||P{number % 7}^^^HOSP^MR||MARKER^PATIENT||19630306|F"
    obr, obx = f"OBR|1||F{number}|1^T^L|||20260109", f"OBX|1|NM|1^T^L||{number}|mg|||||F"
    return message("ORU^R01", pid, obr, obx, control=str(number))


def values(database: Path) -> list[float]:
    if not database.exists():
        return []
    with closing(sqlite3.connect(database)) as connection, contextlib.suppress(sqlite3.OperationalError):
        return [row[0] for row in connection.execute("SELECT value FROM observations ORDER BY value")]
    return []  # the table is not there yet


def ask(port: int, data: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    """Send one message, and wait for its answer."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    with tls.wrap_socket(plain, server_hostname="localhost") if tls else plain as connection:
        connection.sendall(START + data + END)
        answer = b""
        while not answer.endswith(END):
            piece = connection.recv(65_536)
            if not piece:
                raise ConnectionError(answer)
            answer += piece
    return answer


def site_file(folder: Path, port: int, more: str = "") -> Path:
    path = folder / "site.toml"
    path.write_text(
        'id = "a"\ndata = "hospital.db"\ncoordinator = "ws://127.0.0.1:1"\n'
        '[tables]\nobservations = "*"\n'
        f"[hl7]\nport = {port}\nimport_seconds = 0.2\n{more}",
        encoding="utf-8",
    )
    return path


def receiver(folder: Path, port: int, more: str = "") -> Process:
    arguments = ["node", "hl7", "--site", str(site_file(folder, port, more)), "--key", "deid.key"]
    return Process(arguments, folder, folder / "hl7.log")


def listening(process: Process, times: int = 1) -> None:
    until(lambda: process.text.count("HL7 v2 is received on") >= times, "a listening receiver")


def test_files_are_imported_with_a_report_and_a_list_of_what_was_refused(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.hl7").write_bytes(message("ADT^A01", PID, PV1) + result(3))
    (files / "b.hl7").write_bytes(message("REF^I12", PID))
    words = ["data", "import", "hl7", "--from", "files", "--into", "hospital.db", "--authority", "HOSP"]
    done = cli(*words, "--time-zone", "Europe/Berlin", "--refused", "refused.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "3 records read, 1 into encounters, 1 into observations, 2 into patients, 1 into reports"
        in done.stdout
    )
    assert "MSH-9" in (tmp_path / "refused.csv").read_text()
    assert values(tmp_path / "hospital.db") == [3.0]
    again = cli(*words, "--time-zone", "Europe/Berlin", cwd=tmp_path)
    assert "2 of 2 files unchanged" in again.stdout
    wrong = cli(*words, "--time-zone", "Nowhere", cwd=tmp_path)
    assert (wrong.returncode, "write such as Europe/Berlin" in wrong.stderr) == (1, True)


def test_an_import_of_which_nothing_is_stored_fails(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(message("REF^I12", PID))
    done = cli("data", "import", "hl7", "--from", "a.hl7", "--into", "hospital.db", cwd=tmp_path)
    assert done.returncode == 1
    assert "no event was imported" in done.stderr
    (tmp_path / "a.hl7").write_bytes(result(1))
    done = cli("data", "import", "hl7", "--from", "a.hl7", "--into", "hospital.db", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_node_receives_imports_and_ends_by_a_signal(tmp_path: Path) -> None:
    process = receiver(tmp_path, port := free_port(), 'into = "events.db"\n').start()
    try:
        listening(process)
        assert b"MSA|AA|1" in ask(port, result(1))
        assert b"MSA|AR|M1|type" in ask(port, message("REF^I12", PID))
        until(lambda: values(tmp_path / "events.db") == [1.0], "the receiver")
        inbox = tmp_path / "hl7-inbox"
        until(lambda: not list(inbox.glob("*.hl7")), "the receiver")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0, process.text
    finally:
        process.kill()
    assert "MARKER" not in process.text
    assert b"MARKER" not in (tmp_path / "events.db").read_bytes()


def test_nothing_that_was_acknowledged_is_lost_or_stands_twice_whenever_the_node_is_killed(
    tmp_path: Path,
) -> None:
    port = free_port()
    process = receiver(tmp_path, port)
    acknowledged, number, starts = 0, 0, 0
    began = time.monotonic()
    while starts < 6:
        process.start()
        starts += 1
        try:
            listening(process, starts)
            stop_at = time.monotonic() + 0.05 * starts
            # An engine sends again what was not acknowledged, until it is.
            while time.monotonic() < stop_at or number == acknowledged:
                if b"MSA|AA" in ask(port, result(number)):
                    acknowledged = number = number + 1
                if time.monotonic() >= stop_at:
                    with socket.create_connection(("127.0.0.1", port)) as connection:
                        connection.sendall(START + result(number) + END)
                        process.kill()  # somewhere between the message and its acknowledgement
                    break
        finally:
            process.kill()
    process.start()
    try:
        listening(process, starts + 1)
        assert b"MSA|AA" in ask(port, result(number))
        wanted = [float(one) for one in range(number + 1)]
        until(lambda: values(tmp_path / "hospital.db") == wanted, "the receiver")
    finally:
        process.kill()
    assert acknowledged > 6
    assert time.monotonic() - began < 10 * PATIENCE_SECONDS


def test_off_this_machine_it_wants_certificates_or_a_plain_word_and_addresses(tmp_path: Path) -> None:
    cases = {
        'host = "0.0.0.0"\n': "would cross the network in plain text",
        'host = "0.0.0.0"\nplain = true\n': "plain = true needs allow",
        'certificate = "a.pem"\n': "give certificate, key and ca_file together",
        'time_zone = "Nowhere"\n': "write such as Europe/Berlin",
    }
    for more, words in cases.items():
        path = site_file(tmp_path, 0, more)
        done = cli("node", "hl7", "--site", path, cwd=tmp_path)
        assert done.returncode == 1, more
        assert words in done.stderr, (more, done.stderr)
    path.write_text(path.read_text(encoding="utf-8").partition("[hl7]")[0], encoding="utf-8")
    assert "has no [hl7]; write one" in cli("node", "hl7", "--site", path, cwd=tmp_path).stderr
    engines = 'host = "0.0.0.0"\nplain = true\nallow = ["127.0.0.1"]\n'
    process = receiver(tmp_path, port := free_port(), engines).start()
    try:
        listening(process)
        assert b"MSA|AA|1" in ask(port, result(1))
    finally:
        process.kill()


def test_with_certificates_it_serves_who_has_one_of_the_engines_ca(tmp_path: Path) -> None:
    ours, engines = trustme.CA(), trustme.CA()
    served = ours.issue_cert("localhost")
    served.private_key_pem.write_to_path(tmp_path / "node.key")
    served.cert_chain_pems[0].write_to_path(tmp_path / "node.pem")
    engines.cert_pem.write_to_path(tmp_path / "engines.pem")
    context = ssl.create_default_context()
    ours.configure_trust(context)
    engines.issue_cert("engine@hospital.example").configure_cert(context)
    more = 'host = "0.0.0.0"\ncertificate = "node.pem"\nkey = "node.key"\nca_file = "engines.pem"\n'
    process = receiver(tmp_path, port := free_port(), more).start()
    try:
        listening(process)
        assert b"MSA|AA|1" in ask(port, result(1), context)
        with pytest.raises((ConnectionError, TimeoutError)):
            ask(port, result(2))
        until(lambda: values(tmp_path / "hospital.db") == [1.0], "the receiver")
    finally:
        process.kill()
