"""What happened, so that nobody can change it unnoticed: the chain of the event log, and its heads."""
