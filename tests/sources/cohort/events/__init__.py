"""Tests of cohort/events."""
