"""What a result was computed with, for whoever wants to compute it again."""

import platform
from functools import cache
from importlib import metadata

RULES = 3
"""Version of what no study says and every result rests on: how `where` is evaluated and values are read, how
means, deviations and scores are computed. Sites that add up must compute by the same rules, so proposals and
approvals carry the number; it is no part of a study's hash. 1 was before the first that carried one."""

LIBRARIES = ("numpy", "tensorflow", "tensorflow-cpu", "keras", "dp-accounting")
"""Those that sums, models and privacy rest on; TensorFlow is published under two names."""


@cache
def versions() -> dict[str, str]:
    """Of this program, of Python, and of each of LIBRARIES that is installed."""
    found = {"fedcohort": metadata.version("fedcohort"), "rules": str(RULES)}
    found["python"] = platform.python_version()
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
