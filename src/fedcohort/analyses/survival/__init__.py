"""Survival: Kaplan-Meier curves, numbers at risk and the log-rank test, over all hospitals."""
