"""A hospital's own page."""
