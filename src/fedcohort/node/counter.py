"""A file outside a node's folder that knows how far the event log has come.

Where too few other sites can countersign, it tells an older copy of node.db: whoever restores the folder
from a backup does not restore the counter with it. It holds the newest head, signed by the site.
"""

from pathlib import Path

from fedcohort.errors import ConfigError, FedcohortError
from fedcohort.node.heads import sign_head, take_heads
from fedcohort.node.store import SqlNodeStore
from fedcohort.node.witness import own
from fedcohort.storage.files import write_whole
from fedcohort.wire.codec import decode_head, encode
from fedcohort.wire.identity import Identity
from fedcohort.wire.messages import Heads


def agrees(path: Path, identity: Identity, store: SqlNodeStore) -> bool:
    """Whether the counter shows that the log is the newest copy; it is made where the log begins.

    Returns:
        False where the file is missing beside a log that has gone on: then it shows nothing.
    Raises:
        LedgerBehindError: the log lacks what the counter has seen.
        ConfigError: the file cannot be read or written, or is no counter of this site.
    """
    try:
        head = decode_head(path.read_bytes())
    except FileNotFoundError:
        if store.newest()[0] > 0:
            return False
        advance(path, identity, store)
        return True
    except OSError as error:
        raise ConfigError(f"counter {path}: {error.strerror}; let the node's account read it") from None
    except FedcohortError:
        head = None
    if head is None or not own(head, identity):
        raise ConfigError(
            f"counter {path}: not a counter that {identity.id} has written; name another file, or restore it"
        )
    take_heads(identity, store, lambda _: None, Heads((head,)))
    return True


def advance(path: Path, identity: Identity, store: SqlNodeStore) -> None:
    """Write the newest head down, durably and as a whole.

    Raises:
        ConfigError: the file cannot be written.
    """
    data = encode(Heads((sign_head(identity, store),)))
    try:
        write_whole(path, data, sync_folder=True)
    except OSError as error:
        raise ConfigError(
            f"counter {path}: {error.strerror}; let the node's account write its folder"
        ) from error
