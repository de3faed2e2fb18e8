"""Tests of omop."""
