"""The form of what benchmarks print."""
