"""Flower's side of the benchmarks."""
