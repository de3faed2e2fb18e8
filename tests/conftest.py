"""Tests compute as a node does: TensorFlow reads this when it is first imported, by whichever test."""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
