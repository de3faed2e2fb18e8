"""The words of a trained model inside a study, a class for each kind; their keys tell them apart."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

from pydantic import Field, Tag

from fedcohort.analyses.train.question import Model
from fedcohort.columns import (
    Binary,
    Categorical,
    Frozen,
    Identifier,
    Image,
    Number,
    Real,
    is_part,
    tag_by_key,
    validated,
)
from fedcohort.errors import StudyError
from fedcohort.texts import Text, say

if TYPE_CHECKING:
    from fedcohort.study import Cohort

MAX_WEIGHTS = 50_000_000
"""Of a model that is trained, kept and used."""


class Trained(Frozen):
    """What a study says of a trained model of any kind.

    Attributes:
        file: the module beside this one whose `build` makes the model ready to compute.
    """

    file: ClassVar[str]

    @property
    @abstractmethod
    def asked(self) -> object:
        """The name that a hospital's policy knows it by, or the configuration of a researcher's own."""

    @property
    @abstractmethod
    def said(self) -> Text:
        """What an evaluation of it does, for whoever approves it."""

    @abstractmethod
    def check(self, cohort: "Cohort") -> None:
        """Whether it reads these columns and predicts this label.

        Raises:
            ValueError: names the field, and what to write.
        """


class SavedModel(Trained):
    """A trained Keras model: configuration, weights and how features are encoded."""

    file: ClassVar[str] = "keras"
    model: Model
    weights: Annotated[str, Field(max_length=-(-MAX_WEIGHTS * 4 // 3) * 4)]
    """float32, little endian, layer after layer, in base64."""
    mean: tuple[Real, ...]
    deviation: tuple[Real, ...]

    @property
    def asked(self) -> object:
        """A name of ours, or a Keras configuration."""
        return self.model

    @property
    def said(self) -> Text:
        """It is in the study."""
        return say("Measure a trained model, which is part of the study, on the hospital's patients.")

    def check(self, cohort: "Cohort") -> None:
        """A mean and a deviation for each number.

        Raises:
            ValueError: it was made for other columns.
        """
        n = sum(not isinstance(kind, Categorical | Image) for kind in cohort.schema_.values())
        if len(self.mean) != n or len(self.deviation) != n:
            raise ValueError(
                say("analysis.model: made for other columns than the cohort's {n} numeric ones", n=n)
            )


class Coefficients(Trained):
    """A score of coefficients, such as a published one: `{"age": 0.03, "sex=male": 0.4}`.

    A number counts with its coefficient, a level (`column=level`) with its own, and `column=` is the
    coefficient of a missing level; levels and columns without a coefficient count nothing. A missing number
    counts as the value that `missing` gives for its column. `link` says what the sum is: the log-odds of a
    yes-or-no label, or the number itself, in the label's own unit.
    """

    file: ClassVar[str] = "coefficients"
    coefficients: dict[Annotated[str, Field(min_length=1, max_length=400)], Real] = Field(
        min_length=1, max_length=10_000
    )
    intercept: Real = 0.0
    missing: dict[Identifier, Real] = Field(default_factory=dict)
    link: Literal["logit", "identity"] = "logit"

    def __init__(self, coefficients: object = None, **extra: object) -> None:
        super().__init__(**extra if coefficients is None else {"coefficients": coefficients, **extra})

    @property
    def asked(self) -> object:
        """One name for all of them."""
        return "coefficients"

    @property
    def said(self) -> Text:
        """How many coefficients a reader will find in the study."""
        return say(
            "Measure a score with {n} coefficients, which stand in the study, on the hospital's patients.",
            n=len(self.coefficients),
        )

    def check(self, cohort: "Cohort") -> None:
        """A column for each coefficient, a value for each missing number, and a label of the link's kind.

        Raises:
            ValueError: names the column or level that there is not, and what to write.
        """
        label = cohort.typed_label
        if not isinstance(label, Binary if self.link == "logit" else Number):
            raise ValueError(
                'cohort.label: link = "logit" gives a probability; take fc.Binary, or link = "identity"'
                if self.link == "logit"
                else 'cohort.label: link = "identity" gives a number; take fc.Number, or link = "logit"'
            )
        for name, kind in cohort.schema_.items():
            if isinstance(kind, Image):
                raise ValueError(
                    say(
                        "cohort.columns: {name} is an image, which has no coefficient; leave it out",
                        name=name,
                    )
                )
        for name in self.coefficients:
            _check_coefficient(name, cohort)
        numbers = {name for name in self.coefficients if "=" not in name}
        if untold := sorted(numbers - set(self.missing)):
            raise ValueError(
                say(
                    "analysis.model.missing: say as which value a missing number counts, for {names}",
                    names=", ".join(untold),
                )
            )
        if unused := sorted(set(self.missing) - numbers):
            raise ValueError(
                say(
                    "analysis.model.missing: {names} has no coefficient of a number; leave it out",
                    names=", ".join(unused),
                )
            )


def _check_coefficient(name: str, cohort: "Cohort") -> None:
    where = "analysis.model.coefficients"
    column, equals, level = name.partition("=")
    kind = cohort.schema_.get(column)
    if kind is None:
        known = ", ".join(cohort.schema_)
        raise ValueError(f"{where}: {column} is no column of the cohort; it has {known}")
    if not isinstance(kind, Categorical):
        if equals:
            raise ValueError(f"{where}: {column} is a number; write {column} without a level")
        return
    if not equals:
        raise ValueError(f"{where}: {column} has levels; write {column}={kind.levels[0]}")
    if level and level not in map(str, kind.levels):
        levels = ", ".join(map(str, kind.levels))
        raise ValueError(f"{where}: {level} is no level of {column}; it has {levels}")


KINDS: Mapping[str, type[Trained]] = MappingProxyType({"coefficients": Coefficients, "": SavedModel})
"""By the key that only this kind has; the last is meant where there is none of them."""

if TYPE_CHECKING:
    TrainedModel = Trained
else:
    _TAGS = {key: kind.__name__.lower() for key, kind in KINDS.items()}
    _MEMBERS = tuple(Annotated[kind, Tag(_TAGS[key])] for key, kind in KINDS.items())
    TrainedModel = Annotated[Union[_MEMBERS], tag_by_key(_TAGS)]  # noqa: UP007


def read_saved_model(folder: Path) -> Trained:
    """Read what `result.save(folder)` wrote.

    Raises:
        StudyError: the folder holds no saved model, or it is damaged.
    """
    path = folder / "model.json"
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise StudyError(
            "{path}: {error}; give the folder that result.save wrote", path=path, error=error.strerror
        ) from error
    except ValueError as error:
        raise StudyError("{path}: not JSON: {why}; save the result again", path=path, why=error) from None
    keys = data if isinstance(data, Mapping) else {}
    kind = next((kind for key, kind in KINDS.items() if key in keys), SavedModel)
    return validated(kind, data, str(path), StudyError)


def at_hand(model: object) -> object:
    """The model that a question is given in Python, where a folder is read; as it is inside a study.

    A study may come from anybody: whoever checks it opens no file that it names.

    Raises:
        StudyError: the folder holds no saved model, or it is damaged.
    """
    return read_saved_model(Path(model)) if isinstance(model, str | Path) and not is_part() else model


def as_trained(data: object) -> object:
    """A question's words with its `model` as a study has it: of a result, or as it is.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(data, dict) or "model" not in data:
        return data
    model = getattr(data["model"], "saved_model", data["model"])
    if isinstance(model, str | Path):
        raise ValueError(
            "model: a study holds its model, and names no folder; take fc.Evaluate(model=folder) or "
            "fc.Validate(model=folder), or a study in TOML with fc.load_study"
        )
    if not isinstance(model, Mapping | Trained):
        raise ValueError("model: give a result, the folder that result.save wrote, or fc.Coefficients(...)")
    return {**data, "model": model}


def with_model_read(study: Mapping[str, Any]) -> Mapping[str, Any]:
    """A researcher's own study, of which the folder that it names for its model is read.

    Raises:
        StudyError: the folder holds no saved model, or it is damaged.
    """
    asked = study.get("analysis")
    if not isinstance(asked, Mapping) or asked.get("kind") not in ("evaluate", "validate"):
        return study
    model = asked.get("model")
    if not isinstance(model, str):
        return study
    return {**study, "analysis": {**asked, "model": read_saved_model(Path(model))}}
