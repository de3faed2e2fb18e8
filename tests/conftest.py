"""Tests compute as a node does: TensorFlow reads this when it is first imported, by whichever test."""

import os

from hypothesis import settings

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

# How long an example takes says how busy the machine is, and no more.
settings.register_profile("fedcohort", deadline=None)
settings.load_profile("fedcohort")
