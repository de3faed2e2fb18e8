"""Trained models: the words of each kind, and in one file each how a model of it computes at a hospital."""
