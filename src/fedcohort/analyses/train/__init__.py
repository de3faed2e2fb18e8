"""Train a Keras model, with and without privacy."""
