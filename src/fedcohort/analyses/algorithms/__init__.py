"""How sites learn and the coordinator takes it up: a file for each, of a pair of functions."""
