"""Disclosure control of what leaves without differential privacy: rules, and what they hide of exact sums."""
