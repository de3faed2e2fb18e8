"""fedcohort: hospitals answer a question together while every patient's data stays in its hospital."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedcohort.analyses.kinds import *  # noqa: F403  each kind of question, by its class's name
    from fedcohort.errors import FedcohortError, StudyError, StudyFailedError
    from fedcohort.researcher.client import Federation, Handle, Simulation, connect, load_study, simulate
    from fedcohort.researcher.result import Result, load_result
    from fedcohort.study import (
        Binary,
        Categorical,
        Classes,
        Coefficients,
        Cohort,
        Disclosure,
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
    "Coefficients",
    "Cohort",
    "Disclosure",
    "FedcohortError",
    "Federation",
    "Handle",
    "Holdout",
    "Image",
    "Number",
    "Numeric",
    "Privacy",
    "Result",
    "Simulation",
    "Study",
    "StudyError",
    "StudyFailedError",
    "Survival",
    "connect",
    "load_result",
    "load_study",
    "simulate",
]
_QUESTIONS = "fedcohort.analyses.kinds"
_HOMES = (
    "fedcohort.study",
    _QUESTIONS,
    "fedcohort.errors",
    "fedcohort.researcher.client",
    "fedcohort.researcher.result",
)


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import fedcohort` stays light."""
    if not name.startswith("_") and name in (*__all__, *import_module(_QUESTIONS).__all__):
        for home in _HOMES:
            module = import_module(home)
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module 'fedcohort' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *import_module(_QUESTIONS).__all__, "__version__"]
