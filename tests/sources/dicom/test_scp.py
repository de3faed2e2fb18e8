"""The receiver: real associations on loopback, honest and otherwise."""

import io
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynetdicom", reason="the receiver needs the extra dicom")

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from fedcohort.errors import ConfigError, StoreError
from fedcohort.sources.dicom.file import parse
from fedcohort.sources.dicom.guard import Limits
from fedcohort.sources.dicom.scp import DUPLICATE, MISMATCH, NOT_UNDERSTOOD, OUT_OF_RESOURCES, Receiver
from fedcohort.storage.inbox_folder import InboxFolder, InboxLimits
from tests.patience import PATIENCE_SECONDS
from tests.sources.dicom.files import CT, encoded, image, sample

VERIFICATION = "1.2.840.10008.1.1"
PATIENT = Limits(
    idle_seconds=PATIENCE_SECONDS,
    unit_seconds=PATIENCE_SECONDS,
    association_seconds=PATIENCE_SECONDS,
    free_bytes=0,
)
Listen = Callable[..., Receiver]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Listen]:
    """Start receivers into `received`; they are closed afterwards."""
    open_now: list[Receiver] = []

    def start(limits: Limits = PATIENT, stored: Callable[[Path], None] = lambda path: None) -> Receiver:
        open_now.append(Receiver(tmp_path / "received", "FEDCOHORT", port=0, limits=limits, stored=stored))
        return open_now[-1]

    yield start
    for receiver in open_now:
        receiver.close()


@contextmanager
def sender(
    receiver: Receiver, called: str = "FEDCOHORT", calling: str = "PACS", syntax: str = ExplicitVRLittleEndian
) -> Iterator[Association]:
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE_SECONDS
    entity.add_requested_context(VERIFICATION)
    entity.add_requested_context(CT, [syntax])
    association = entity.associate("127.0.0.1", receiver.port, ae_title=called)
    connection = association.dul.socket.socket if association.dul.socket is not None else None
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        entity.shutdown()
        if connection is not None:
            connection.close()


def ct(pixels: int = 0, **attributes: object) -> Dataset:
    return image(np.full((4, 4), pixels, np.uint16), **attributes)


def send(association: Association, dataset: Dataset) -> int:
    if not hasattr(dataset, "file_meta"):
        encoded(dataset)
    return int(association.send_c_store(dataset).Status)


def announce(association: Association, dataset: Dataset, uid: str) -> int:
    """Send an image under another UID than its own, or bytes that are no data set."""
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CT, uid
    request.DataSet = io.BytesIO(encoded(dataset)[-300:] if uid == "1.2.8" else inner(dataset))
    association._reactor_checkpoint.clear()
    try:
        context = next(one for one in association.accepted_contexts if one.abstract_syntax == CT)
        association.dimse.send_msg(request, context.context_id)  # type: ignore[arg-type]
        _, answer = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    assert isinstance(answer, C_STORE)
    assert answer.Status is not None
    return answer.Status


def inner(dataset: Dataset) -> bytes:
    """The data set without preamble and meta information."""
    file = encoded(dataset)
    return file[file.index(b"\x08\x00\x16\x00UI") :]


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "received").iterdir())


def test_a_pacs_verifies_stores_and_finds_its_image_on_the_disk(listen: Listen, tmp_path: Path) -> None:
    told: list[Path] = []
    receiver = listen(stored=told.append)
    with sender(receiver) as association:
        assert association.send_c_echo().Status == 0
        assert send(association, ct()) == 0
        assert files(tmp_path) == ["1.2.3.4.dcm"]  # before the answer
    assert told == [tmp_path / "received" / "1.2.3.4.dcm"]
    assert parse(told[0].read_bytes()).text(0x00100020) == "P1"


@pytest.mark.parametrize(
    ("name", "syntax"), [("CT_small.dcm", ImplicitVRLittleEndian), ("CT_small.dcm", ExplicitVRLittleEndian)]
)
def test_a_real_image_arrives_as_it_was_sent(listen: Listen, tmp_path: Path, name: str, syntax: str) -> None:
    from pydicom import dcmread

    original = dcmread(sample(name))
    with sender(listen(), syntax=syntax) as association:
        assert send(association, original) == 0
    (found,) = (tmp_path / "received").iterdir()
    assert dcmread(found).PixelData == original.PixelData


def test_a_compressed_image_is_taken_as_it_is(listen: Listen, tmp_path: Path) -> None:
    from pydicom import dcmread

    original = dcmread(sample("examples_jpeg2k.dcm"))
    entity = AE("PACS")
    entity.add_requested_context(original.SOPClassUID, [JPEG2000Lossless])
    association = entity.associate("127.0.0.1", listen().port, ae_title="FEDCOHORT")
    try:
        assert send(association, original) == 0
    finally:
        association.release()
        entity.shutdown()
    (found,) = (tmp_path / "received").iterdir()
    assert dcmread(found).PixelData == original.PixelData


def test_an_image_sent_twice_is_there_once_and_another_of_its_name_changes_nothing(
    listen: Listen, tmp_path: Path
) -> None:
    told: list[Path] = []
    with sender(listen(stored=told.append)) as association:
        assert [send(association, ct()) for _ in range(3)] == [0, 0, 0]
        before = (tmp_path / "received" / "1.2.3.4.dcm").read_bytes()
        assert send(association, ct(pixels=9)) == DUPLICATE
    assert len(told) == 1
    assert (tmp_path / "received" / "1.2.3.4.dcm").read_bytes() == before


def test_an_abort_in_the_middle_of_an_image_leaves_nothing(listen: Listen, tmp_path: Path) -> None:
    receiver = listen()
    with sender(receiver) as association:
        large = encoded(image(np.zeros((512, 512), np.uint16)))
        unit = struct.pack(">BBL", 4, 0, 6 + 10_000) + struct.pack(">LBB", 10_002, 3, 0) + large[:10_000]
        association.dul.socket.send(unit)  # type: ignore[union-attr]
        association.abort()
    with sender(receiver) as association:
        assert send(association, ct()) == 0
    assert files(tmp_path) == ["1.2.3.4.dcm"]


def test_a_wrong_title_and_a_stranger_are_turned_away(listen: Listen, tmp_path: Path) -> None:
    receiver = listen(replace(PATIENT, calling_titles=("PACS",)))
    with sender(receiver, called="SOMEBODY") as association:
        assert association.is_rejected
    with sender(receiver, calling="STRANGER") as association:
        assert association.is_rejected
    with sender(receiver) as association:
        assert association.is_established
    assert files(tmp_path) == []


def test_an_address_that_is_not_listed_gets_no_word(listen: Listen) -> None:
    receiver = listen(Limits(addresses=("10.0.0.0/8",)))
    with socket.create_connection(("127.0.0.1", receiver.port), PATIENCE_SECONDS) as connection:
        assert connection.recv(100) == b""


def test_networks_admit_their_own_and_ipv4_in_ipv6() -> None:
    limits = Limits(addresses=("10.1.0.0/16", "::1/128"))
    admitted = {
        one: limits.admits(one) for one in ("10.1.2.3", "::ffff:10.1.2.3", "::1", "10.2.0.1", "x", "")
    }
    assert admitted == {
        "10.1.2.3": True,
        "::ffff:10.1.2.3": True,
        "::1": True,
        "10.2.0.1": False,
        "x": False,
        "": False,
    }


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
        bytes(1000),
        b"\x01\x00\xff\xff\xff\xff" + bytes(1000),  # an associate request of 4 GB
        b"\x04\x00\x00\x7f\xff\xff" + bytes(1000),  # 8 MB of data before any association
        b"\x01\x00\x00\x00\x00\x44" + b"\xff" * 68,
        b"\x01",
    ],
)
def test_junk_on_the_port_harms_nobody(listen: Listen, tmp_path: Path, junk: bytes) -> None:
    receiver = listen()
    with socket.create_connection(("127.0.0.1", receiver.port), PATIENCE_SECONDS) as connection:
        connection.sendall(junk)
        connection.settimeout(1)  # patience: whether the receiver hangs up is not the question
        try:
            while connection.recv(4096):
                pass
        except (ConnectionError, TimeoutError):
            pass
    with sender(receiver) as association:
        assert send(association, ct()) == 0
    assert files(tmp_path) == ["1.2.3.4.dcm"]


def test_an_image_beyond_the_bound_ends_its_association_and_no_other(listen: Listen, tmp_path: Path) -> None:
    receiver = listen(replace(PATIENT, object_bytes=100_000))
    with sender(receiver) as small, sender(receiver) as large:
        with pytest.raises((RuntimeError, AttributeError)):
            assert send(large, image(np.zeros((512, 512), np.uint16), SOPInstanceUID="1.2.9")) == 0
        assert send(small, ct()) == 0
    assert files(tmp_path) == ["1.2.3.4.dcm"]


def test_many_images_in_one_association_are_counted_one_by_one(listen: Listen, tmp_path: Path) -> None:
    receiver = listen(replace(PATIENT, object_bytes=100_000))
    with sender(receiver) as association:
        sent = [
            send(association, image(np.zeros((200, 200), np.uint16), SOPInstanceUID=f"1.2.{number}"))
            for number in range(1, 6)
        ]
    assert sent == [0] * 5
    assert len(files(tmp_path)) == 5


def test_a_peer_that_drips_bytes_is_let_go(listen: Listen) -> None:
    receiver = listen(Limits(unit_seconds=0.5))
    address = ("127.0.0.1", receiver.port)
    with (
        socket.create_connection(address, PATIENCE_SECONDS) as connection,
        pytest.raises(OSError, match=r"."),  # the other side has closed
    ):
        drip(connection)


def drip(connection: socket.socket) -> None:
    for byte in b"\x01\x00\x00\x00\x10\x00" + bytes(3000):
        connection.sendall(bytes((byte,)))
        time.sleep(0.1)


def test_no_more_associations_than_allowed(listen: Listen) -> None:
    receiver = listen(replace(PATIENT, associations=1))
    with sender(receiver) as first, sender(receiver) as second:
        assert (first.is_established, second.is_established) == (True, False)


def test_what_is_not_what_it_was_announced_as_is_refused_by_its_status(
    listen: Listen, tmp_path: Path
) -> None:
    with sender(listen()) as association:
        assert announce(association, ct(), "1.2.3.5") == MISMATCH
        assert announce(association, ct(), "1.2.8") == NOT_UNDERSTOOD
        assert announce(association, ct(SOPInstanceUID="../../evil"), "../../evil") == MISMATCH
        assert announce(association, ct(), "1.2.3.4") == 0
    assert files(tmp_path) == ["1.2.3.4.dcm"]
    assert not (tmp_path / "evil.dcm").exists()


def test_a_full_disk_is_told_to_the_sender(listen: Listen, tmp_path: Path) -> None:
    with sender(listen(Limits(free_bytes=2**60))) as association:
        assert send(association, ct()) == OUT_OF_RESOURCES
    assert files(tmp_path) == []


def test_a_full_inbox_is_told_to_the_sender_who_keeps_the_image(tmp_path: Path) -> None:
    inbox = InboxFolder(tmp_path / "inbox", InboxLimits(total_bytes=len(encoded(ct())) + 10, free_bytes=0))
    receiver = Receiver(inbox.folder, "FEDCOHORT", port=0, limits=PATIENT, inbox=inbox)
    try:
        with sender(receiver) as association:
            statuses = [send(association, ct(SOPInstanceUID=uid)) for uid in ("1.2.3.4", "1.2.3.5")]
    finally:
        receiver.close()
    assert statuses == [0, OUT_OF_RESOURCES]
    [path] = inbox.folder.iterdir()
    assert (path.name, stat.S_IMODE(path.stat().st_mode)) == ("1.2.3.4.dcm", 0o600)


def test_titles_networks_and_ports_are_checked_before_listening(listen: Listen, tmp_path: Path) -> None:
    taken = listen().port
    with pytest.raises(StoreError, match="give another port"):
        Receiver(tmp_path, "FEDCOHORT", port=taken)
    with pytest.raises(ConfigError, match="AE title"):
        Receiver(tmp_path, "much too long a title", port=0)
    with pytest.raises(ConfigError, match="not a network"):
        Receiver(tmp_path, "FEDCOHORT", port=0, limits=Limits(addresses=("hospital",)))
