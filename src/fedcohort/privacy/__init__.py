"""Differential privacy: what a study releases, the epsilon that it costs, and samplers of its noise."""
