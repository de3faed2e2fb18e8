"""The words of `fc.Evaluate(model=...)`."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from fedcohort.analyses.trained.question import TrainedModel, as_trained, at_hand
from fedcohort.columns import Frozen
from fedcohort.questions import Privacy, Question, check_predicted, one_row_a_patient

if TYPE_CHECKING:
    from fedcohort.study import Study


class Evaluate(Question):
    """Measure a trained model on the cohort's held-out patients; `model` is a Result, its folder, a score."""

    kind: Literal["evaluate"] = "evaluate"
    splits: ClassVar[tuple[str, ...]] = ("test",)
    model: TrainedModel
    importance: Annotated[bool, Field(strict=True)] = True

    def __init__(self, model: object = None, **extra: object) -> None:
        Frozen.__init__(self, model=at_hand(model), **extra)

    @model_validator(mode="before")
    @classmethod
    def _saved(cls, data: object) -> object:
        return as_trained(data)

    @property
    def asked_model(self) -> object:
        """The model that is measured."""
        return self.model.asked

    def check(self, study: "Study") -> None:
        """A label that a model predicts.

        Raises:
            ValueError: there is none.
        """
        check_predicted(study)

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """A patient counts with one row.

        Raises:
            ValueError: privacy says what an evaluation does not heed.
        """
        super().check_private(study, privacy)
        one_row_a_patient(self.kind, privacy)
