"""What a study asks and what it promises: what every kind of question has, and `[privacy]`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from fedcohort.columns import Categorical, Column, Frozen, Survival
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

MAX_STUDY_BYTES = 64 * 2**20
"""A study with a saved model inside is still one small file."""
Choice = Literal["value", "above 0"]
"""What a column has to be for a row to count."""


class Question(Frozen):
    """The words of one kind of analysis, in its folder's question.py; `analyses.kinds` lists them.

    Attributes:
        splits: the parts of the patients that it tells apart; none where it asks of all alike.
        trains: whether a model comes of it.
        tells_causes: whether it knows what to do with a survival label's competing causes.
    """

    kind: str
    splits: ClassVar[tuple[str, ...]] = ()
    trains: ClassVar[bool] = False
    tells_causes: ClassVar[bool] = False

    @property
    def by_hospital(self) -> bool:
        """Whether it asks for figures of each hospital by itself."""
        return False

    def at_hospitals(self, study: "Study", sites: Sequence[str]) -> "Question":
        """The same, with the hospitals that it asks of where it names none.

        Args:
            sites: all of the federation.
        """
        return self

    @property
    def one_sum(self) -> bool:
        """Whether sites take no steps of their own, so that noise may be added in shares."""
        return True

    @property
    def n_steps(self) -> int:
        """How many rounds its metrics count."""
        return 1

    @property
    def asked_model(self) -> object:
        """The name or configuration of the model that it is about; None where it is about none."""
        return None

    def check(self, study: "Study") -> None:
        """What the rest of the study has to be for this question.

        Raises:
            ValueError: names the field, and what to write.
        """

    def check_private(self, study: "Study", privacy: "Privacy") -> None:
        """What [privacy] says that the question would not heed: one that releases once learns by no steps.

        Raises:
            ValueError: names the field.
        """
        if isinstance(study.cohort.label, Survival) and study.cohort.label.horizon is None:
            raise ValueError(
                "cohort.label: privacy needs declared bounds, and a survival time has none without a "
                "horizon, such as fc.Survival(time, event, horizon=1825)"
            )
        self.refuse_steps(privacy)

    @property
    def choosing(self) -> Mapping[str, Choice]:
        """Columns that choose rows as `where` does: without a value, or a weight, a row does not count."""
        return {}

    def refuse_steps(self, privacy: "Privacy") -> None:
        """Refuse what only training heeds.

        Raises:
            ValueError: names the field.
        """
        fields = Privacy.model_fields
        for name in ("clip", "schedule", "evaluate_every"):
            if getattr(privacy, name) != fields[name].default:
                raise ValueError(
                    say(
                        "privacy.{name}: {kind} learns nothing by steps; leave it out",
                        name=name,
                        kind=self.kind,
                    )
                )


def kind_of(study: "Study", field: str, name: str) -> Column | None:
    """The kind of a column, or of the label, that a question names; None where the sites declare it.

    Args:
        field: of the question, for messages.
    Raises:
        ValueError: the cohort has no such column.
    """
    cohort = study.cohort
    columns = cohort.every_column
    if name not in columns:
        raise ValueError(
            say(
                "analysis.{field}: {name} is not among the cohort's columns; name it there, too",
                field=field,
                name=name,
            )
        )
    declared = isinstance(cohort.columns, dict) or name in cohort.bounds or name in cohort.label_columns
    return columns[name] if declared else None


def levels_of(study: "Study", field: str, name: str) -> tuple[str | int, ...] | None:
    """The levels of a column that a question names; None where the sites declare them.

    Raises:
        ValueError: there is no such column, or it has no levels.
    """
    kind = kind_of(study, field, name)
    if kind is None:
        return None
    if not isinstance(kind, Categorical):
        raise ValueError(
            say(
                "analysis.{field}: {name} has no levels; name a categorical column, or a label of levels",
                field=field,
                name=name,
            )
        )
    return kind.levels


def one_row_a_patient(kind: str, privacy: "Privacy") -> None:
    """Refuse that a patient counts with more rows than the question counts.

    Raises:
        ValueError: names the field.
    """
    if privacy.rows_per_patient != 1:
        raise ValueError(
            say("privacy.rows_per_patient: {kind} counts a patient with one row; leave it out", kind=kind)
        )


def check_predicted(study: "Study") -> None:
    """A model predicts a label that is binary, a class or a number.

    Raises:
        ValueError: there is none.
    """
    kind = study.analysis.kind
    if study.cohort.label is None:
        raise ValueError(say("cohort.label: {kind} needs a label", kind=kind))
    if isinstance(study.cohort.label, Survival):
        raise ValueError(say("cohort.label: {kind} cannot use a survival label; describe can", kind=kind))


LEAST_EPSILON, LARGEST_EPSILON = 1e-6, 1e4


def _promise(value: object) -> object:
    """Refuse an epsilon that is no number, or promises nothing, in words for who has never met one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not LEAST_EPSILON <= float(str(value)) <= LARGEST_EPSILON:
        raise ValueError(
            say(
                "must be a number from {least:g} to {most:,.0f}, such as 1.5: the smaller, the less the "
                "results can say about any one patient; leave it out for a study without privacy",
                least=LEAST_EPSILON,
                most=LARGEST_EPSILON,
            )
        )
    return value


Epsilon = Annotated[float, BeforeValidator(_promise), Field(strict=True)]


class Privacy(Frozen):
    """Differential privacy of the whole study, a patient's data being the unit.

    `noise` says where it is added: "shared", in shares that only the sum holds whole, or "site", all
    of it at each site; left out, it is shared wherever the protection hides single vectors and the
    algorithm takes one sum a round. `clip`
    bounds the L2 norm of a patient's gradient; a patient counts with at most `rows_per_patient` rows
    at a hospital, and at no more than `sites_per_patient` hospitals: the promise holds for nobody who
    has data at more of them. Of epsilon and delta `cohort_test` is the share that is kept for sites that
    insist on testing once, with noise of their own, whether they have enough patients.
    So many `dropouts` may be lost in a round without the noise falling short. Held-out patients are
    measured every `evaluate_every` rounds.
    """

    epsilon: Epsilon
    delta: Annotated[float, Field(strict=True, ge=1e-10, lt=1)] = 1e-5
    noise: Literal["shared", "site"] | None = None
    clip: Annotated[float, Field(strict=True, ge=1e-6, le=1e6)] = 0.5
    rows_per_patient: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 1
    dropouts: Annotated[int, Field(strict=True, ge=0, le=1_000)] = 0
    schedule: Literal["constant", "decaying"] = "constant"
    evaluate_every: Annotated[int, Field(strict=True, ge=1)] = 50
    # Left out of the hash at its default, so that a study of an earlier version keeps its hash.
    cohort_test: Annotated[float, Field(strict=True, ge=0, le=0.5)] = Field(
        default=0.0, exclude_if=lambda value: value == 0
    )
    sites_per_patient: Annotated[int, Field(strict=True, ge=1, le=1_000)] = Field(
        default=1, exclude_if=lambda value: value == 1
    )
