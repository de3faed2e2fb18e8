"""The page of a federation: studies, rounds, results, and a new study."""
