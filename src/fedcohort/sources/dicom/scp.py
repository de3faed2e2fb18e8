"""A storage service class provider: what a PACS sends is checked, and stored before it is answered.

PS3.4, annex B (storage) and A (verification), over PS3.8 by pynetdicom. The node listens on
loopback unless another address is given; who may send, how much and how long is in `guard.Limits`.
"""

import logging
import re
import shutil
import socketserver
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any

from pydicom.config import IGNORE, settings
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.transport import ThreadedAssociationServer

from fedcohort.errors import ConfigError, DicomError, StoreError
from fedcohort.sources.dicom.file import parse
from fedcohort.sources.dicom.guard import GuardedSocket, Limits
from fedcohort.storage.files import write_whole
from fedcohort.storage.inbox_folder import InboxFolder

if TYPE_CHECKING:
    from pynetdicom.events import Event

log = logging.getLogger(__name__)
# What these packages log, and warn of when a value is odd, quotes what peers send.
for _name in ("pynetdicom", "pydicom"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)
settings.reading_validation_mode = IGNORE

SUCCESS, OUT_OF_RESOURCES, MISMATCH, NOT_UNDERSTOOD, DUPLICATE = 0x0000, 0xA700, 0xA900, 0xC000, 0x0111
"""PS3.4, table B.2-1, and PS3.7, C.4.2.6 for an instance that stands there with another content."""

_SOP_INSTANCE = 0x00080018
_VERIFICATION = "1.2.840.10008.1.1"
_UID = re.compile(r"[0-9]+(\.[0-9]+)+", re.ASCII)
_TITLE = re.compile(r"[ -\[\]-~]{1,16}", re.ASCII)


class Receiver:
    """A listening receiver; close it to end."""

    def __init__(
        self,
        into: Path,
        ae_title: str,
        host: str = "127.0.0.1",
        port: int = 11112,
        limits: Limits | None = None,
        stored: Callable[[Path], None] = lambda path: None,
        inbox: InboxFolder | None = None,
    ) -> None:
        """Listen.

        Args:
            into: folder for the files, named by SOPInstanceUID; inside the hospital, for they name patients.
            port: 0 takes a free one.
            stored: called with every new file, from the association's thread.
            inbox: `into` as an inbox, with its limits; None for a folder of the engineer's own.
        Raises:
            ConfigError: a title, address or network is not valid.
            StoreError: the port is taken, or the folder cannot be written.
        """
        self._limits = limits or Limits()
        _check(ae_title, self._limits)
        self._into, self._stored, self._lock, self._inbox = into, stored, threading.Lock(), inbox
        entity = _entity(ae_title, self._limits)
        handlers: list[Any] = [(evt.EVT_C_ECHO, _echo), (evt.EVT_C_STORE, self._store)]
        try:
            into.mkdir(parents=True, exist_ok=True)
            self._server = _Server(entity, (host, port), handlers, self._limits)
        except OSError as error:
            raise StoreError(
                f"{host}:{port} or {into}: {error.strerror}; give another port, or make the folder writable"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening, and abort who still sends: what was not answered, the sender keeps."""
        socketserver.BaseServer.shutdown(self._server)
        self._server.server_close()
        for association in self._server.active_associations:
            association.abort()
        self._thread.join()

    def _store(self, event: "Event") -> int:
        """Answer one C-STORE; the file is durable before SUCCESS goes out."""
        data = event.encoded_dataset()
        uid = str(getattr(event.request, "AffectedSOPInstanceUID", None) or "")
        try:
            inner = parse(data).text(_SOP_INSTANCE)
        except DicomError as error:
            log.warning("refused an image: %s", error)
            return NOT_UNDERSTOOD
        if inner != uid or len(uid) > 64 or not _UID.fullmatch(uid):
            log.warning("refused an image: its SOPInstanceUID is not the one it was announced by")
            return MISMATCH
        try:
            return self._write(self._into / f"{uid}.dcm", data)
        except StoreError as error:
            log.warning("%s", error)
            return OUT_OF_RESOURCES
        except OSError as error:
            log.warning("%s: %s; make room, or make the folder writable", self._into, error.strerror)
            return OUT_OF_RESOURCES

    def _write(self, target: Path, data: bytes) -> int:
        with self._lock:
            if target.exists():
                return SUCCESS if target.read_bytes() == data else DUPLICATE
            if shutil.disk_usage(self._into).free < len(data) + self._limits.free_bytes:
                log.warning("%s: the disk is nearly full; nothing more is received", self._into)
                return OUT_OF_RESOURCES
            if self._inbox is None:
                write_whole(target, data, folder_mode=0o777)
            else:
                self._inbox.take(len(data))
                write_whole(target, data, mode=0o600, sync_folder=True)
        self._stored(target)
        return SUCCESS


class _Server(ThreadedAssociationServer):
    """pynetdicom's server behind the guard."""

    def __init__(self, entity: AE, address: tuple[str, int], handlers: list[Any], limits: Limits) -> None:
        self._limits = limits
        super().__init__(entity, address, entity.ae_title, entity.supported_contexts, evt_handlers=handlers)

    def get_request(self) -> tuple[socket, Any]:
        """Accept, and guard."""
        plain, address = super().get_request()
        return GuardedSocket.around(plain, self._limits), address

    def verify_request(self, request: object, client_address: Sequence[object]) -> bool:
        """Let in who may connect, while there is room; others are closed without a word."""
        room = len(self.active_associations) < 2 * self._limits.associations
        return room and self._limits.admits(str(client_address[0]))

    def handle_error(self, request: object, client_address: object) -> None:
        """One connection's fault is not the server's."""
        log.warning("a connection ended by an error")


def _entity(ae_title: str, limits: Limits) -> AE:
    entity = AE(ae_title)
    entity.require_called_aet = True
    entity.require_calling_aet = list(limits.calling_titles)
    entity.maximum_associations = limits.associations
    entity.maximum_pdu_size = limits.unit_bytes
    entity.acse_timeout = entity.dimse_timeout = limits.unit_seconds
    entity.network_timeout = limits.idle_seconds
    entity.add_supported_context(_VERIFICATION)
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(
            str(context.abstract_syntax), [str(syntax) for syntax in AllTransferSyntaxes]
        )
    return entity


def _check(ae_title: str, limits: Limits) -> None:
    import ipaddress

    for title in (ae_title, *limits.calling_titles):
        if not _TITLE.fullmatch(title) or not title.strip():
            raise ConfigError("AE title: write 1 to 16 letters and digits, such as FEDCOHORT")
    for network in limits.addresses:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ConfigError(f"{network}: not a network; write such as 10.1.0.0/16 or 10.1.2.3") from None


def _echo(event: "Event") -> int:
    return SUCCESS
