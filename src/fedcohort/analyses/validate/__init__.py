"""Validate: how well a published score or a trained model predicts at these hospitals, and for whom."""
