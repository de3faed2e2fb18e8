"""Propensity score weighting: treated and untreated made alike, and the effect, over all hospitals."""
