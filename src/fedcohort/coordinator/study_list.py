"""The list of studies for people: those in the store, and those that are still being checked."""

import time
from typing import Any

from sqlalchemy import RowMapping

from fedcohort.coordinator.service import Service
from fedcohort.coordinator.store import Submission

Listed = RowMapping | dict[str, Any]


def being_checked(submission: Submission) -> dict[str, Any]:
    """A study that was handed in and is not in the store yet, with the fields of one that is."""
    now = {"state": "checking", "round": 0, "created_at": int(time.time())}
    return {**vars(submission), **now, "report": None, "error_code": "", "error_message": ""}


def all_studies(service: Service) -> list[Listed]:
    """Every study, those that are being checked first, then the newest."""
    stored = service.store.studies()
    new = service.lifecycle.checking.keys() - {row["id"] for row in stored}
    return [*(being_checked(service.lifecycle.checking[study]) for study in sorted(new)), *stored]
