"""Table one: what a paper says first of its patients, by group."""
