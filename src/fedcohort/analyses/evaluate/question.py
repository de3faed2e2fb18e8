"""The words of `fc.Evaluate(model=...)`, and of a trained model inside a study."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from fedcohort.analyses.train.question import Model
from fedcohort.columns import Frozen, Real
from fedcohort.errors import StudyError
from fedcohort.field_faults import describe_errors
from fedcohort.questions import Privacy, Question, check_predicted

if TYPE_CHECKING:
    from fedcohort.study import Study

MAX_WEIGHTS = 50_000_000
"""Of a model that is trained, kept and used."""


class SavedModel(Frozen):
    """A trained model inside a study: configuration, weights and how features are encoded."""

    model: Model
    weights: Annotated[str, Field(max_length=-(-MAX_WEIGHTS * 4 // 3) * 4)]
    """float32, little endian, layer after layer, in base64."""
    mean: tuple[Real, ...]
    deviation: tuple[Real, ...]


class Evaluate(Question):
    """Measure a trained model on the cohort's held-out patients; `model` is a Result or its folder."""

    kind: Literal["evaluate"] = "evaluate"
    splits: ClassVar[tuple[str, ...]] = ("test",)
    model: SavedModel
    importance: Annotated[bool, Field(strict=True)] = True

    def __init__(self, model: object = None, **extra: object) -> None:
        Frozen.__init__(self, model=model, **extra)

    @model_validator(mode="before")
    @classmethod
    def _saved(cls, data: object) -> object:
        if not isinstance(data, dict) or "model" not in data:
            return data
        model = data["model"]
        if isinstance(model, str | Path):
            return {**data, "model": read_saved_model(Path(model))}
        return {**data, "model": getattr(model, "saved_model", model)}

    @property
    def asked_model(self) -> object:
        """The model that is measured."""
        return self.model.model

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
        if privacy.rows_per_patient != 1:
            raise ValueError("privacy.rows_per_patient: evaluate counts a patient with one row; leave it out")


def read_saved_model(folder: Path) -> SavedModel:
    """Read what `result.save(folder)` wrote.

    Raises:
        StudyError: the folder holds no saved model, or it is damaged.
    """
    path = folder / "model.json"
    try:
        return SavedModel.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; give the folder that result.save wrote") from error
    except ValidationError as error:
        raise StudyError(describe_errors(str(path), error, SavedModel)) from None
