"""fedcohort: hospitals answer a question together while every patient's data stays in its hospital."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedcohort.analyses.kinds import Describe, Evaluate, KaplanMeier, Train
    from fedcohort.errors import FedcohortError, StudyError, StudyFailedError
    from fedcohort.researcher.client import Federation, Handle, Simulation, connect, load_study, simulate
    from fedcohort.researcher.result import Result, load_result
    from fedcohort.study import (
        Binary,
        Categorical,
        Classes,
        Cohort,
        Holdout,
        Image,
        Number,
        Numeric,
        Privacy,
        Study,
        Survival,
    )

__version__ = "0.1.0"

__all__ = [
    "Binary",
    "Categorical",
    "Classes",
    "Cohort",
    "Describe",
    "Evaluate",
    "FedcohortError",
    "Federation",
    "Handle",
    "Holdout",
    "Image",
    "KaplanMeier",
    "Number",
    "Numeric",
    "Privacy",
    "Result",
    "Simulation",
    "Study",
    "StudyError",
    "StudyFailedError",
    "Survival",
    "Train",
    "connect",
    "load_result",
    "load_study",
    "simulate",
]
_HOMES = (
    "fedcohort.study",
    "fedcohort.analyses.kinds",
    "fedcohort.errors",
    "fedcohort.researcher.client",
    "fedcohort.researcher.result",
)


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import fedcohort` stays light."""
    if name in __all__:
        for home in _HOMES:
            module = import_module(home)
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module 'fedcohort' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
