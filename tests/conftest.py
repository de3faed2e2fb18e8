"""Tests compute as a node does: TensorFlow reads this when it is first imported, by whichever test."""

import gc
import inspect
from typing import Any

import httpx
import pytest
from hypothesis import settings

from fedcohort.models.start import settings_that_came_too_late
from tests.patience import PATIENCE_SECONDS

settings_that_came_too_late()

# How long an example takes says how busy the machine is, and no more.
settings.register_profile("fedcohort", deadline=None)
settings.load_profile("fedcohort")

# httpx gives up after 5 s where a test says nothing: the one object that all its calls share.
patient = inspect.signature(httpx.get).parameters["timeout"].default
patient.connect = patient.read = patient.write = patient.pool = PATIENCE_SECONDS


def pytest_collection_finish() -> None:
    """Spare what stays from the garbage collector.

    All modules are imported by now, TensorFlow's with them: every full collection would walk through all that
    they made.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay in one process, and a process that dies takes its one test with it and no more."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.spread import Spread

    return Spread(config, log)
