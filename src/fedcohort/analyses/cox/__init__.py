"""Cox: proportional hazards regression, each patient compared with those of the same hospital."""
