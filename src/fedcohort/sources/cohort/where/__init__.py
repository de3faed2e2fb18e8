"""A researcher's `where`: parsed, typed and evaluated here, in three values, for every engine."""
