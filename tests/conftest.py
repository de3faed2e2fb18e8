"""Tests compute as a node does: TensorFlow reads this when it is first imported, by whichever test."""

import gc
import inspect
from collections import Counter
from functools import cache, lru_cache
from typing import Any

import httpx
import pytest
import typer.main
import typer.testing
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


# Click's commands are made of the Typer application once, not at each call of a command.
vars(typer.testing)["_get_command"] = cache(typer.main.get_command)

# At Python's own threshold a third of what collecting the tests takes is the garbage collector's.
gc.set_threshold(100_000, 50, 100)


@pytest.fixture(scope="session")
def paillier_pool() -> tuple[dict[int, list[Any]], Any]:
    """Keys by their bits, and what makes a key's tables: it keeps those of more keys than a node has."""
    from fedcohort.protection import paillier

    return {}, lru_cache(8)(paillier._sides.__wrapped__)


@pytest.fixture
def paillier_keys(paillier_pool: tuple[dict[int, list[Any]], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's first key is every test's first, its second the second: a key and its tables take a second."""
    from fedcohort.protection import paillier, paillier_key

    pool, sides = paillier_pool
    make, asked = paillier_key.make_key, Counter[int]()

    def make_key(bits: int = 3072) -> Any:
        asked[bits] += 1
        keys = pool.setdefault(bits, [])
        while len(keys) < asked[bits]:
            keys.append(make(bits))
            sides(keys[-1])
        return keys[asked[bits] - 1]

    monkeypatch.setattr(paillier_key, "make_key", make_key)
    monkeypatch.setattr(paillier, "_sides", sides)


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
