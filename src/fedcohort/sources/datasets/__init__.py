"""Public, simulated and made-up data sets to try everything with."""
