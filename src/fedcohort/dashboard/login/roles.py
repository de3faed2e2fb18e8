"""Who may do what: one table, from each route to the roles that it answers; what is not in it is refused.

A test holds the table against Flask's own list of routes, and asks every route as everybody.
Without accounts a page is open to its own machine alone, whose users have the entry `LOCAL`.
"""

from collections.abc import Mapping, Set

ROLES = ("researcher", "data-owner", "auditor", "operator")
NOBODY = "nobody"
"""Who has not logged in."""
LOCAL = "local"
"""Whoever uses this machine, while there are no accounts."""
PROGRAM = "auditor"
"""What programs are that show the token."""

KNOWN = frozenset({*ROLES, LOCAL})
ANYBODY = KNOWN | {NOBODY}
HOME = KNOWN - {"researcher"}
OPERATOR = frozenset({"operator"})

DOOR: Mapping[str, Set[str]] = {
    "GET /static/<path:filename>": ANYBODY,
    "GET /static/texts/<language>.json": ANYBODY,
    "GET /healthz": ANYBODY,
    "GET /login": ANYBODY,
    "POST /login": ANYBODY,
    "GET /oidc": ANYBODY,
    "GET /oidc/return": ANYBODY,
    "GET /password": ANYBODY,
    "POST /password": ANYBODY,
    "POST /logout": frozenset(ROLES),
    "GET /people": OPERATOR,
    "POST /people": OPERATOR,
}
"""What every page has."""

DASHBOARD: Mapping[str, Set[str]] = {
    **DOOR,
    "GET /": KNOWN,
    "GET /readyz": ANYBODY,
    "GET /api/federation": KNOWN,
    "GET /api/events": KNOWN,
    "GET /api/studies": KNOWN,
    "GET /api/studies/<study_id>": KNOWN,
    "POST /api/studies": frozenset({"researcher", LOCAL}),
    "GET /api/studies/<study_id>/report": KNOWN,
    "GET /api/studies/<study_id>/curves": KNOWN,
    "GET /api/studies/<study_id>/files": KNOWN,
    "GET /api/studies/<study_id>/events": KNOWN,
    "GET /api/studies/<study_id>/document": KNOWN,
    "POST /api/studies/<study_id>/cancel": frozenset({"researcher", "operator"}),
    "GET /new": KNOWN,
    "GET /api/catalogue": KNOWN,
    "GET /api/draft": KNOWN,
    "GET /training_metrics": KNOWN,
    "GET /feature_importance": KNOWN,
}
"""The dashboard's; of studies a researcher sees and cancels only the own ones (`own`)."""

HOSPITAL: Mapping[str, Set[str]] = {
    **DOOR,
    "GET /": HOME,
    "GET /releases.csv": HOME,
    "GET /data/<table>": HOME,
    "GET /studies/<study_hash>": HOME,
    "POST /studies/<study_hash>": frozenset({"data-owner"}),
    "GET /models/<key>": HOME,
    "POST /models/<key>": HOME,
    "GET /api/models": HOME,
    "POST /api/models/<key>/predict": HOME,
}
"""The hospital's own page; asking a model changes nothing, and nothing of it is kept."""

PAGES = frozenset({"/", "/new", "/people", "/studies/<study_hash>", "/data/<table>", "/models/<key>"})
"""What leads a browser to the log-in, where programs get 401."""
