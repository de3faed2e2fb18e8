"""The words of `fc.Describe()`."""

from typing import ClassVar, Literal

from fedcohort.questions import Question


class Describe(Question):
    """Count, missing, mean, standard deviation and levels by column."""

    kind: Literal["describe"] = "describe"
    tells_causes: ClassVar[bool] = True
