"""The words of `fc.Crosstab(...)`."""

import math
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fedcohort.columns import Frozen, Identifier
from fedcohort.questions import Privacy, Question, levels_of, one_row_a_patient
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

MOST_CELLS = 100_000


class Crosstab(Question):
    """Counts of the levels of two columns, tests of independence, and ratios with intervals.

    `rows` are the groups and `columns` the outcome. Of an outcome of two levels each group is compared with
    the first by odds ratio, risk ratio and risk difference of the second level. With `strata`, a third
    column, and two levels of both others come the pooled ratios of Mantel and Haenszel, their test, and the
    test of one odds ratio in all strata. A patient counts with one row.
    """

    kind: Literal["crosstab"] = "crosstab"
    tells_causes: ClassVar[bool] = True
    rows: Identifier
    columns: Identifier
    # Left out where there are none: TOML has no word for None.
    strata: Identifier | None = Field(default=None, exclude_if=lambda value: value is None)

    def __init__(self, rows: str = "", columns: str = "", strata: str | None = None, **extra: object) -> None:
        named = {"rows": rows, "columns": columns, "strata": strata}
        Frozen.__init__(self, **{name: value for name, value in named.items() if value}, **extra)

    @property
    def named(self) -> dict[str, str]:
        """Columns by field; the strata come first, as they do in the table of counts."""
        strata = {} if self.strata is None else {"strata": self.strata}
        return {**strata, "rows": self.rows, "columns": self.columns}

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.named.values())) < len(self.named):
            raise ValueError("rows: a column is named twice; name another")
        return self

    def check(self, study: "Study") -> None:
        """Columns of levels, two by two where there are strata.

        Raises:
            ValueError: names the field.
        """
        levels = {field: levels_of(study, field, name) for field, name in self.named.items()}
        sizes = {field: len(known) for field, known in levels.items() if known is not None}
        if math.prod(sizes.values()) > MOST_CELLS:
            raise ValueError(
                say("analysis.rows: levels make over {most:,} cells; name columns of fewer", most=MOST_CELLS)
            )
        if self.strata is None:
            return
        for field in ("rows", "columns"):
            if sizes.get(field, 2) != 2:
                raise ValueError(
                    say(
                        "analysis.strata: Mantel-Haenszel is of two levels by two, and {name} has {n}; name "
                        "columns of two levels, or leave strata out",
                        name=self.named[field],
                        n=sizes[field],
                    )
                )

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """Counts alone: a patient is in one cell.

        Raises:
            ValueError: privacy says what counts do not heed.
        """
        self.refuse_steps(privacy)
        one_row_a_patient(self.kind, privacy)
