"""The versions that a result was computed with, to reproduce it."""

import platform
from functools import cache
from importlib import metadata

RULES = 3
"""Version of the rules that no study states and every result depends on: how `where` is evaluated, values are
read, and means, deviations and scores are computed. Sites whose sums are added must compute by the same
rules, so proposals and approvals carry the number; it is no part of a study's hash. 1 means a version that
carried none."""
LIBRARIES = ("numpy", "tensorflow", "tensorflow-cpu", "keras", "dp-accounting")
"""Libraries that sums, models and privacy depend on; TensorFlow is published under two names."""


@cache
def versions() -> dict[str, str]:
    """Versions of this program, of Python, and of each of LIBRARIES that is installed."""
    by_name = {"fedcohort": metadata.version("fedcohort"), "rules": str(RULES)}
    by_name["python"] = platform.python_version()
    for name in LIBRARIES:
        try:
            by_name[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return by_name
