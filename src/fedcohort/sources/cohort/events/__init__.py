"""From event tables to a cohort: one ordered SELECT a kind of event, and then slices of sorted arrays."""
