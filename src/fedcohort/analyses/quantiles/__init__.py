"""Quantiles: medians, quartiles and others of each number, over all hospitals and by group."""
