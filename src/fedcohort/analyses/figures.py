"""The figures of a finished study, whatever its kind: each analysis' folder has its own `figures.py`.

A folder is found by its name, which is the kind's; so that a new analysis is drawn everywhere, and no line
here or elsewhere names it.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fedcohort.figures import Figure, from_json

KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")

Json = Mapping[str, Any]
Figures = Callable[[Json, Json], tuple[Figure, ...]]


def figures_of(study: Json, report: Json) -> tuple[Figure, ...]:
    """What a study's report shows.

    An analysis whose folder is not here, as one of a later version, may bring its figures in the report's
    `figures`, as `to_json` gives them.

    Args:
        study: as its JSON says it; the kind is that of its `analysis`.
        report: of this version, or of an earlier one.
    Raises:
        StudyError: the figures that the report brings cannot be read.
    """
    made = _made_by(str(study["analysis"]["kind"]))
    return from_json(report.get("figures", ())) if made is None else made(report, study)


@cache
def _made_by(kind: str) -> Figures | None:
    """The function `figures(report, study)` of the kind's folder."""
    if not KIND.fullmatch(kind):
        return None
    try:
        is_there = find_spec(f"{__package__}.{kind}.figures") is not None
    except ModuleNotFoundError:  # neither is the folder
        is_there = False
    if not is_there:
        return None
    made: Figures = import_module(f"{__package__}.{kind}.figures").figures
    return made
