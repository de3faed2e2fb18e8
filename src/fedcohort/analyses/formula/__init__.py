"""Formulas of regressions: parsed into explicit terms, which are what a study holds."""
