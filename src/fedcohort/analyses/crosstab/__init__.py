"""Crosstab: how many patients have which levels of two columns, and what follows from the counts."""
