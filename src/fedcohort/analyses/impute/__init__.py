"""Multiple imputation by chained equations over all hospitals, and an analysis model by Rubin's rules."""
