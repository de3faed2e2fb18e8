"""Describe: counts, means, deviations, histograms and levels by column."""
