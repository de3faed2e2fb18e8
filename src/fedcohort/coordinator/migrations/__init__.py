"""How the tables of the coordinator's database came about, a step a file; found by `sources.migrate`."""
