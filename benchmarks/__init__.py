"""One script a claim; each measures both sides in the same run and prints a line of JSON a claim."""
