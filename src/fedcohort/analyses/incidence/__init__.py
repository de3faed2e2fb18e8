"""Competing events: cumulative incidence by cause and group, and Gray's test, over all hospitals."""
