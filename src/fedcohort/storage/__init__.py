"""What must survive a process: its database, keys, tokens and backups, and who may read them."""
