"""The import of tensorflow: once, quietly, and with settings by which the same numbers give the same bits.

Eigen splits a sum over as many parts as there are threads, so that another number of
cores means other last bits: one thread is fixed, which is also fastest for models of a
few thousand weights. A site that trains large images may set TF_NUM_INTRAOP_THREADS.

TensorFlow's products of matrices come from oneDNN's kernels even when oneDNN is off, and these are
chosen by processor. That for AVX2 computes the last rows of a block in another order, so that a
patient's last bits depend on the other patients; that for AVX does not, and costs 3 to 13 % more.
"""

import importlib.util
import os
import sys
from contextlib import suppress
from functools import cache
from typing import Any

from fedcohort.errors import StudyError

SETTINGS = {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_NUM_INTRAOP_THREADS": "1", "ONEDNN_MAX_CPU_ISA": "AVX"}
"""Environment variables that TensorFlow reads once; values that are set already are kept."""


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
            "this study needs TensorFlow, which is not installed here: "
            "pip install -c constraints.txt '.[tensorflow]' in fedcohort's folder"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    settings_that_came_too_late()
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise StudyError(
            "KERAS_BACKEND={backend}: this study needs Keras on TensorFlow; unset the variable",
            backend=backend,
        )
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    for device in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError):  # a notebook has used this GPU before; its memory is taken already
            tf.config.experimental.set_memory_growth(device, True)
    return tf


@cache
def settings_that_came_too_late() -> tuple[str, ...]:
    """Give TensorFlow and all child processes SETTINGS, and name those that it was imported without."""
    unset = tuple(name for name in SETTINGS if name not in os.environ)
    os.environ.update({name: SETTINGS[name] for name in unset})
    return unset if "tensorflow" in sys.modules else ()


def check_started_for_privacy() -> None:
    """Refuse privacy in a process, such as a notebook's, whose TensorFlow was started by somebody else.

    Raises:
        StudyError: names the settings that are missing, and says how to give them.
    """
    start_tensorflow()
    if late := settings_that_came_too_late():
        line = ", ".join(f'{name}="{value}"' for name, value in SETTINGS.items())
        raise StudyError(
            "privacy: TensorFlow was imported in this process without {settings}, so one patient could move "
            "the last digits of others; restart Python, and before the first import of tensorflow or keras "
            "run: import os; os.environ.update({line})",
            settings=", ".join(late),
            line=line,
        )
