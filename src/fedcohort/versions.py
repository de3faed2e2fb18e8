"""What a result was computed with, for whoever wants to compute it again."""

import platform
from functools import cache
from importlib import metadata

LIBRARIES = ("numpy", "tensorflow", "tensorflow-cpu", "keras", "dp-accounting")
"""Those that sums, models and privacy rest on; TensorFlow is published under two names."""


@cache
def versions() -> dict[str, str]:
    """Of this program, of Python, and of each of LIBRARIES that is installed."""
    found = {"fedcohort": metadata.version("fedcohort"), "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
