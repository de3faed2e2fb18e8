"""A file that is there whole or not at all, whatever happens while it is written."""

import contextlib
import os
import secrets
from pathlib import Path


def write_whole(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o666,
    folder_mode: int | None = None,
    replace: bool = True,
    sync_folder: bool = False,
) -> None:
    """Write a file beside its place, down to the disk, and move it there: whoever looks sees all or none.

    Args:
        mode: of the file, before anything is in it; less what the process's umask takes.
        folder_mode: of the folder, which is made when it is missing; None: it has to be there.
        replace: put it in the place of a file that is there.
        sync_folder: return only when the new name is on the disk, too, where the system can do that.
    Raises:
        FileExistsError: there is a file, and it is not to be replaced.
        OSError: it cannot be written; what was there is as it was.
    """
    scratch = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        if folder_mode is not None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=folder_mode)
        with open(scratch, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(scratch, path)
        else:
            os.link(scratch, path)
        if sync_folder:
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Write the folder's names down to the disk."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
