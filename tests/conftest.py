"""Tests compute as a node does: TensorFlow reads this when it is first imported, by whichever test."""

import inspect

import httpx
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
