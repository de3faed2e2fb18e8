"""Import tensorflow once, quietly, and so that the same numbers give the same bits.

Eigen splits a sum over as many parts as there are threads, so that another number of
cores means other last bits: one thread is fixed, which is also fastest for models of a
few thousand weights. A site that trains large images may set TF_NUM_INTRAOP_THREADS.
"""

import importlib.util
import os
from contextlib import suppress
from functools import cache
from typing import Any

from fedcohort.errors import StudyError


@cache
def start_tensorflow() -> Any:
    """Import tensorflow with deterministic ops.

    Returns:
        the module `tensorflow`.
    Raises:
        StudyError: it is not installed, or Keras is told to use another backend.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise StudyError(
            "this study needs TensorFlow, which is not installed here: pip install 'fedcohort[tensorflow]'"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise StudyError(f"KERAS_BACKEND={backend}: this study needs Keras on TensorFlow; unset the variable")
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    for device in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError):  # a notebook has used this GPU before; its memory is taken already
            tf.config.experimental.set_memory_growth(device, True)
    return tf
