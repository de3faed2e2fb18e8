"""Who may use a page: people, roles, sessions, log-in."""
