"""Tests compute as a node does: TensorFlow reads this when it is first imported, by whichever test."""

from hypothesis import settings

from fedcohort.models.start import settings_that_came_too_late

settings_that_came_too_late()

# How long an example takes says how busy the machine is, and no more.
settings.register_profile("fedcohort", deadline=None)
settings.load_profile("fedcohort")
