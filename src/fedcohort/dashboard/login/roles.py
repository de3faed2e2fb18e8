"""Roles and permissions: one table from each route to the roles that it answers; other routes are refused.

A test compares the table with Flask's list of routes, and requests every route in every role.
Without accounts a page is open to its own machine only, whose users have the role `LOCAL`.
"""

from collections.abc import Mapping, Set

ROLES = ("researcher", "data-owner", "auditor", "operator")
NOBODY = "nobody"
"""The role of a visitor who has not logged in."""
LOCAL = "local"
"""The role of this machine's users, while there are no accounts."""
PROGRAM = "auditor"
"""The role of programs that send the token."""

KNOWN = frozenset({*ROLES, LOCAL})
ANYBODY = KNOWN | {NOBODY}
HOME = KNOWN - {"researcher"}
OPERATOR = frozenset({"operator"})

COMMON: Mapping[str, Set[str]] = {
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
"""Routes that every page has."""

DASHBOARD: Mapping[str, Set[str]] = {
    **COMMON,
    "GET /": KNOWN,
    "GET /readyz": ANYBODY,
    "GET /api/federation": KNOWN,
    "GET /api/events": KNOWN,
    "GET /api/studies": KNOWN,
    "GET /api/studies/<study_id>": KNOWN,
    "POST /api/studies": frozenset({"researcher", LOCAL}),
    "GET /api/studies/<study_id>/report": KNOWN,
    "GET /api/studies/<study_id>/figures": KNOWN,
    "GET /api/studies/<study_id>/figures/<name>.png": KNOWN,
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
"""The dashboard's; a researcher sees and cancels only studies of their own (`ownership`)."""

HOSPITAL: Mapping[str, Set[str]] = {
    **COMMON,
    "GET /": HOME,
    "GET /releases.csv": HOME,
    "GET /data/<table>": HOME,
    "GET /studies/<study_hash>": HOME,
    "POST /studies/<study_hash>": frozenset({"data-owner"}),
    "GET /held/<study_hash>": frozenset({"data-owner"}),
    "GET /held/<study_hash>.csv": frozenset({"data-owner"}),
    "POST /held/<study_hash>": frozenset({"data-owner"}),
    "GET /models/<key>": HOME,
    "POST /models/<key>": HOME,
    "GET /api/models": HOME,
    "POST /api/models/<key>/predict": HOME,
}
"""The hospital page's; a prediction changes nothing, and nothing of it is stored. An answer that waits is the
hospital's sum alone, and is shown to who decides."""

PAGES = frozenset({
    "/", "/new", "/people", "/studies/<study_hash>", "/held/<study_hash>", "/data/<table>", "/models/<key>",
})  # fmt: skip
"""Routes that redirect a browser to the log-in, where programs get 401."""
