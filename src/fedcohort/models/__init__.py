"""Keras models and what a site computes with them; the only room that imports tensorflow."""
