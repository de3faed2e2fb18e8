"""Tests of what storage holds."""
