"""Site data: where a hospital's rows come from, and how a cohort becomes a Table."""
