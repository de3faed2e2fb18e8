"""Where a process keeps what must survive it: databases, keys, tokens, backups, and who may read them."""
