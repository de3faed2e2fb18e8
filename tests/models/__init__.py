"""TensorFlow starts here, before a test's own `import keras`: settings are read on import."""

from fedcohort.models.start import start_tensorflow

start_tensorflow()
