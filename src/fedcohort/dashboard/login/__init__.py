"""Log-in to a page: accounts, roles, sessions, access control."""
