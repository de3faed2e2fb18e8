"""Compare: one number between groups, by means and by ranks."""
