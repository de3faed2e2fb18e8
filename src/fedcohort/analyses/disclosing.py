"""Disclosure control of a study without [privacy]: between the opened sum and everything that shows it.

Every number that leaves the coordinator passes here: the metrics of each round, and the report, of which
figures, pages and REST are made.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fedcohort.analyses.contract import Analysis, Report, Row, State, Sums
from fedcohort.disclosure.rules import Disclosure, strictest
from fedcohort.disclosure.shown import COUNTED, finite, rounded_counts
from fedcohort.errors import DisclosureError
from fedcohort.study import Study
from fedcohort.texts import Text

MODEL_ARRAYS = ("weights", "mean", "deviation")
"""What stays of a training's last state."""


@dataclass(frozen=True)
class Control:
    """The rules of one study.

    Attributes:
        enforced: False in a simulation that only says what they would hide.
        objections: what would have ended the study, where they are not enforced.
    """

    rules: Disclosure
    enforced: bool = True
    objections: list[Text] = field(default_factory=list)

    def check(self, analysis: Analysis, state: State, sums: Sums) -> None:
        """Judge a round's sum before anything follows from it.

        Args:
            state: before the round.
        Raises:
            DisclosureError: the counts of all hospitals together do not allow the study.
        """
        objection = analysis.objection(state, sums, self.rules)
        if objection is None:
            return
        if self.enforced:
            raise DisclosureError("disclosure: {why}", why=objection)
        self.objections.append(objection)

    def rows(self, analysis: Analysis, state: State, sums: Sums, rows: tuple[Row, ...]) -> tuple[Row, ...]:
        """A round's metrics as they may be shown.

        Args:
            state: before the round.
        """
        return analysis.disclosed_rows(state, sums, self.rules) if self.enforced and rows else rows

    def report(self, analysis: Analysis, state: State) -> Report:
        """The report of a finished study, with what is hidden of it and why."""
        found = analysis.disclosed(state, self.rules)
        report = {
            name: finite(part)
            for name, part in analysis.report(found.state if self.enforced else state).items()
        }
        if self.enforced and self.rules.rounding > 1:
            report = {
                name: rounded_counts(part, self.rules.rounding, name in COUNTED)
                for name, part in report.items()
            }
        told: Report = {
            "applied": self.enforced,
            "rules": self.rules.model_dump(mode="json"),
            "suppressed": [{"figure": one.figure, "why": one.why, "n": one.n} for one in found.suppressed],
        }
        if self.objections:
            told["refused"] = list(self.objections)
        return {**report, "disclosure": told}


def control_of(study: Study, rules: Iterable[Disclosure]) -> Control | None:
    """The strictest of the sites' rules and the study's own; none under [privacy], where noise protects."""
    if study.privacy is not None:
        return None
    own = [] if study.disclosure is None else [study.disclosure]
    return Control(strictest([*rules, *own]))


def reported(analysis: Analysis, state: State, control: Control | None) -> Report:
    """What an analysis reports of its finished state, under the rules where there are any."""
    return analysis.report(state) if control is None else control.report(analysis, state)


def asked_under(analysis: Analysis, control: Control | None) -> Analysis:
    """The analysis as the coordinator asks it: no finer than rules that are enforced let be shown."""
    return analysis.under(control.rules) if control is not None and control.enforced else analysis
