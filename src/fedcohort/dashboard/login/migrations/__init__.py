"""How the tables of the file of people came about, a step a file; found by `sources.migrate`."""
