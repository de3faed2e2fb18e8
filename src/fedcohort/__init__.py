"""fedcohort: hospitals answer a question together while every patient's data stays in its hospital."""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "fedcohort.study": (
        "Binary",
        "Categorical",
        "Classes",
        "Cohort",
        "Describe",
        "Evaluate",
        "Holdout",
        "Number",
        "Numeric",
        "Privacy",
        "Study",
        "Survival",
        "Train",
    ),
    "fedcohort.client": ("Federation", "Result", "connect", "load_study", "simulate"),
    "fedcohort.errors": ("FedcohortError", "StudyError", "StudyFailedError"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import fedcohort` stays light."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'fedcohort' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
