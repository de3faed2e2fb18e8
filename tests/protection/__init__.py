"""Exact sums of integers in a ring."""
