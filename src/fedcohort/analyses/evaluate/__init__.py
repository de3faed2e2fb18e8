"""Evaluate: measure a trained model on the patients of a cohort."""
