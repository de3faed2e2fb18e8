"""Where what was received waits for its import: a folder, and one beside it for what was refused.

Both hold identified patients. Only the account that receives can read them; they are in no backup and on no
page; what is imported is deleted, and what was refused stays for a while, for a person to look at. There is a
limit to what may lie there: beyond it nothing is taken, so that the sender keeps it.
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedcohort.errors import StoreError
from fedcohort.storage.durable import owner_only_folder
from fedcohort.storage.files import sync_directory

REFUSED = "refused"
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class InboxLimits:
    """How much may lie there.

    Attributes:
        total_bytes: of both folders; then nothing more is taken.
        free_bytes: that stay free on the disk.
        refused_days: how long refused files stay.
    """

    total_bytes: int = 2**30
    free_bytes: int = 2**28
    refused_days: int = 30


class InboxFolder:
    """A folder of received files, and the one of refused ones."""

    def __init__(self, folder: Path, limits: InboxLimits) -> None:
        """Make both, or close them to others.

        Raises:
            StoreError: a folder is another user's, or cannot be made.
        """
        self.folder, self.limits = folder, limits
        self.refused = folder.with_name(f"{folder.name}-{REFUSED}")
        for one in (folder, self.refused):
            owner_only_folder(one)
        self._held = self._bytes()

    def take(self, size: int) -> None:
        """Set room aside for a file that comes.

        Raises:
            StoreError: there is none.
        """
        if self._held + size > self.limits.total_bytes:
            raise StoreError(
                f"{self.folder}: the inbox is full; let it be imported, or empty {self.refused.name}"
            )
        if shutil.disk_usage(self.folder).free < self.limits.free_bytes + size:
            raise StoreError(f"{self.folder}: the disk is nearly full; make room")
        self._held += size

    def refuse(self, path: Path) -> None:
        """Keep a refused file aside; its time begins now.

        Raises:
            OSError: it cannot be moved.
        """
        path.replace(self.refused / path.name).touch()

    def settle(self) -> None:
        """After an import: forget what was refused long ago, and count what is left.

        Raises:
            OSError: a folder cannot be read or written.
        """
        oldest = time.time() - self.limits.refused_days * DAY_SECONDS
        for path in self._files(self.refused):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
        for folder in (self.folder, self.refused):
            sync_directory(folder)
        self.count()

    def count(self) -> None:
        """Count anew what lies there.

        Raises:
            OSError: a folder cannot be read.
        """
        self._held = self._bytes()

    def _bytes(self) -> int:
        return sum(_size(path) for folder in (self.folder, self.refused) for path in self._files(folder))

    def _files(self, folder: Path) -> Iterator[Path]:
        return (path for path in folder.iterdir() if path.is_file() and not path.is_symlink())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # imported meanwhile
        return 0
