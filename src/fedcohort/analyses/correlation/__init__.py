"""Correlation: coefficients of Pearson or Spearman between numbers, and principal components."""
