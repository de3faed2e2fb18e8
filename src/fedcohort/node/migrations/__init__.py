"""How the tables of the node's database came about, a step a file; found by `sources.migrate`."""
