"""Where received messages wait for their import: on the disk before they are acknowledged, deleted after it.

The folder holds files of messages with MLLP's marks around each, so that `data import hl7` could read them,
too. One file at a time is written; messages of several connections that wait together share one sync of the
disk.
What a crash cuts off was not acknowledged, and its sender sends it again. Both folders hold identified
patients: only the account that runs the node can read them, and neither is in a backup or on a page.
"""

import asyncio
import contextlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from fedcohort.errors import StoreError
from fedcohort.storage.durable import lock_folder
from fedcohort.storage.files import sync_directory, write_whole
from fedcohort.storage.inbox_folder import InboxFolder, InboxLimits

START, END = b"\x0b", b"\x1c\r"
"""MLLP, release 1: what stands around a message."""
OPEN, CLOSED = ".part", ".hl7"
FILE_BYTES = 2**26
"""Then a file is ended, and another begun."""
_BLOCK = 2**20
_sync = getattr(os, "fdatasync", os.fsync)


_Batch = list[tuple[bytes, "asyncio.Future[None]"]]
"""Messages, and who waits for each."""


class Inbox:
    """A folder of received messages, of one process; `close` it at the end."""

    def __init__(self, folder: Path, limits: InboxLimits) -> None:
        """Open it, and end what a crash left open.

        Raises:
            StoreError: another process has it, or it cannot be written.
        """
        self._held = lock_folder(folder)
        self._place = InboxFolder(folder, limits)
        self.folder, self.refused = folder, self._place.refused
        self._descriptor: int | None = None
        self._path, self._size = folder, 0
        self._writer = ThreadPoolExecutor(1, "hl7-inbox")
        self._is_writing = False
        self._lock = threading.Lock()
        """Held while a file is written or ended: an import ends files from another thread."""
        self._waiting: _Batch = []
        try:
            for path in sorted(folder.glob(f"*{OPEN}")):
                _end(path)
            self._place.count()
        except OSError as error:
            raise _store_error(folder, error) from error

    def put(self, data: bytes) -> "asyncio.Future[None]":
        """Store a message; it is on the disk when the future is done.

        Returns:
            a future, which raises StoreError where the disk or the inbox is full, or broken: then nothing of
            the message is stored.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((data, future))
        if not self._is_writing:
            self._is_writing = True
            loop.call_soon(self._write_waiting, loop)
        return future

    def _write_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write what has come by now, with one sync; then what has come meanwhile.

        In a thread of its own: while it waits for the disk, messages of other connections are read.
        """
        batch, self._waiting = self._waiting, []
        if not batch:
            self._is_writing = False
            return
        writing = loop.run_in_executor(self._writer, self._write_locked, [data for data, _ in batch])
        writing.add_done_callback(lambda outcome: self._written(loop, outcome, batch))

    def _written(
        self, loop: asyncio.AbstractEventLoop, outcome: "asyncio.Future[None]", batch: _Batch
    ) -> None:
        """Tell who waits for these messages, after the next are on their way."""
        error = outcome.exception()
        told = _store_error(self.folder, error) if isinstance(error, OSError) else error
        self._write_waiting(loop)
        for _, future in batch:
            if told is None:
                future.set_result(None)
            else:
                future.set_exception(told)

    def _write_locked(self, messages: list[bytes]) -> None:
        with self._lock:
            self._write(messages)

    def _write(self, messages: list[bytes]) -> None:
        data = b"".join(part for message in messages for part in (START, message, END))
        self._place.take(len(data))
        descriptor = self._begin() if self._descriptor is None else self._descriptor
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            _sync(descriptor)
        except OSError:
            self._abandon()
            raise
        self._size += len(data)
        if self._size > FILE_BYTES:
            self._finish()

    def _begin(self) -> int:
        numbers = [int(path.stem) for path in self.folder.iterdir() if path.stem.isdigit()]
        self._path = self.folder / f"{max(numbers, default=0) + 1:012d}{OPEN}"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._size = 0
        sync_directory(self.folder)
        return self._descriptor

    def _finish(self) -> None:
        """End the file that is being written."""
        if self._descriptor is None:
            return
        os.close(self._descriptor)
        self._descriptor = None
        self._path.rename(self._path.with_suffix(CLOSED))
        sync_directory(self.folder)
        self._size = 0

    def _abandon(self) -> None:
        """After a failed write: what was stored before stays, and what came now goes."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with contextlib.suppress(OSError):  # the next start cuts it off where this fails
            os.ftruncate(descriptor, self._size)
            os.fsync(descriptor)
            if self._size:
                self._path.rename(self._path.with_suffix(CLOSED))
            else:
                self._path.unlink()
        with contextlib.suppress(OSError):
            os.close(descriptor)
        self._place.count()
        self._size = 0

    def rotate(self) -> list[Path]:
        """End the file that is being written; from any thread.

        Returns:
            all ended files, in the order in which their messages came.
        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            with self._lock:
                self._finish()
                self._place.count()
            return sorted(self.folder.glob(f"*{CLOSED}"))
        except OSError as error:
            raise _store_error(self.folder, error) from error

    def done(self, path: Path, refused: list[bytes]) -> None:
        """Delete a file that is imported; those of its messages that were refused are kept aside.

        Raises:
            StoreError: a folder cannot be written.
        """
        try:
            if refused:
                kept = b"".join(part for data in refused for part in (START, data, END))
                write_whole(self.refused / f"{time.time_ns()}{CLOSED}", kept, mode=0o600, sync_folder=True)
            path.unlink(missing_ok=True)
            with self._lock:
                self._place.settle()
        except OSError as error:
            raise _store_error(self.folder, error) from error

    def close(self) -> None:
        """End the file that is being written, and let another process have the folder."""
        self._waiting = []  # not acknowledged: their senders keep them
        self._writer.shutdown()
        with contextlib.suppress(StoreError):
            self.rotate()
        self._held.close()


def _end(path: Path) -> None:
    """Give a file that a crash left open its final name, without what is cut off at its end."""
    with path.open("rb+") as file:
        whole = _whole(file, path.stat().st_size)
        file.truncate(whole)
        os.fsync(file.fileno())
    if whole:
        path.rename(path.with_suffix(CLOSED))
    else:
        path.unlink()
    sync_directory(path.parent)


def _whole(file: BinaryIO, size: int) -> int:
    """How many bytes of a file are whole messages."""
    while size > 0:
        begin = max(0, size - _BLOCK)
        file.seek(begin)
        found = file.read(size - begin).rfind(END)
        if found >= 0:
            return begin + found + len(END)
        if begin == 0:
            return 0
        size = begin + len(END) - 1
    return 0


def _store_error(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"{folder}: {error.strerror}; make room, or make the folder writable")
