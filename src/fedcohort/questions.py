"""What a study asks and what it promises: the kinds of analysis, and `[privacy]`."""

import base64
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from fedcohort.columns import Frozen, Real
from fedcohort.errors import StudyError
from fedcohort.field_faults import describe_errors

MAX_STUDY_BYTES = 64 * 2**20
"""A study with a saved model inside is still one small file."""
MOST_START_WEIGHTS = MAX_STUDY_BYTES * 9 // 10 // 16 * 3
"""float32 in base64, beside the rest of the study."""
MAX_WEIGHTS = 50_000_000
"""Of a model that is trained, kept and used."""


class Describe(Frozen):
    """Count, missing, mean, standard deviation and levels by column."""

    kind: Literal["describe"] = "describe"


def _keras_config(model: Any) -> object:  # noqa: ANN401
    """Take a Keras model as its JSON configuration; names and mappings pass through."""
    return json.loads(model.to_json()) if _is_keras_model(model) else model


def _is_keras_model(model: Any) -> bool:  # noqa: ANN401
    """Whether it is one, by what it can do, for keras takes seconds to import; its class is none."""
    return hasattr(model, "to_json") and not isinstance(model, type)


def _keras_weights(model: Any) -> str | None:  # noqa: ANN401
    """The weights of a Keras model that is given as such: training begins there.

    Raises:
        ValueError: it was compiled, or has more weights than a study can carry.
    """
    import numpy as np

    if getattr(model, "compiled", False):
        optimizer, loss = type(model.optimizer).__name__, getattr(model, "loss", None)
        raise ValueError(
            f"model: compiled with optimizer {optimizer} and loss {str(loss)[:64]!r}, which training over "
            "sites does not take: learning_rate, server_optimizer and the cohort's label say it; leave out "
            "model.compile(...), or load it by keras.models.load_model(path, compile=False)"
        )
    weights = [np.asarray(values, "<f4") for values in model.get_weights()] if model.built else []
    n_weights = sum(values.size for values in weights)
    if n_weights > MOST_START_WEIGHTS:
        raise ValueError(
            f"model: {n_weights:,} weights to begin with, and a study carries at most "
            f"{MOST_START_WEIGHTS:,}; to begin with fresh ones give its configuration, "
            "model=json.loads(model.to_json())"
        )
    return base64.b64encode(b"".join(values.tobytes() for values in weights)).decode() if weights else None


ModelName = Literal["logistic", "mlp_medical", "cnn_medical", "image_and_record"]
Model = Annotated[ModelName | dict[str, Any], BeforeValidator(_keras_config)]


class Train(Frozen):
    """Train a Keras model; features are standardised by the federated mean and deviation.

    `fedavg` (McMahan et al. 2017) takes `local_epochs` of SGD at each site and averages;
    `fedsgd` takes one gradient over all training rows a round. `proximal_mu` is FedProx
    (Li et al. 2020); `server_optimizer` momentum or adam is FedAvgM or FedAdam (Reddi et al. 2021).
    The finished model's weights are the mean of those after the last `average_rounds` rounds (Izmailov
    et al. 2018): None is the last alone, and under privacy the second half. `augment` lets training see
    each image mirrored or moved a little, another way in every round. A Keras model that is given brings the
    `weights` that training begins with (float32, little endian, in its order, in base64); a name or a
    configuration begins with what the seed gives.
    """

    kind: Literal["train"] = "train"
    model: Model = "mlp_medical"
    algorithm: Literal["fedavg", "fedsgd"] = "fedavg"
    rounds: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 30
    local_epochs: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 1
    batch_size: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 32
    learning_rate: Annotated[float, Field(strict=True, gt=0, le=100)] = 0.1
    l2: Annotated[float, Field(strict=True, ge=0, le=1_000)] = 0.0
    proximal_mu: Annotated[float, Field(strict=True, ge=0, le=1_000)] = 0.0
    server_optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    server_learning_rate: Annotated[float, Field(strict=True, gt=0, le=100)] | None = None
    # Left out where they say nothing, so that a study of an earlier version keeps its hash.
    average_rounds: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    augment: tuple[Literal["mirror", "shift"], ...] = Field(
        default=(), max_length=2, exclude_if=lambda value: not value
    )
    importance: Annotated[bool, Field(strict=True)] = True
    weights: Annotated[str, Field(max_length=MAX_STUDY_BYTES)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )

    @model_validator(mode="before")
    @classmethod
    def _begun(cls, data: object) -> object:
        if not isinstance(data, dict) or not _is_keras_model(data.get("model")):
            return data
        own = {} if data.get("weights") is not None else {"weights": _keras_weights(data["model"])}
        return {**data, **own}

    @classmethod
    def private(cls, model: object = "logistic", **changes: object) -> Self:
        """What private training needs in place of the defaults, whatever the data: many cheap rounds.

        One clipped gradient a round over all patients, and steps that suit `Privacy`'s default clip.
        """
        chosen = {"algorithm": "fedsgd", "rounds": 200, "learning_rate": 2.0, **changes}
        return cls.model_validate({"model": model, **chosen})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.algorithm == "fedsgd" and (self.local_epochs != 1 or self.proximal_mu):
            raise ValueError(
                "algorithm fedsgd takes one gradient a round: leave out local_epochs and proximal_mu"
            )
        if self.average_rounds is not None and self.average_rounds > self.rounds:
            raise ValueError(f"average_rounds: {self.average_rounds} of {self.rounds} rounds; give no more")
        return self


class SavedModel(Frozen):
    """A trained model inside a study: configuration, weights and how features are encoded."""

    model: Model
    weights: Annotated[str, Field(max_length=-(-MAX_WEIGHTS * 4 // 3) * 4)]
    """float32, little endian, layer after layer, in base64."""
    mean: tuple[Real, ...]
    deviation: tuple[Real, ...]


class Evaluate(Frozen):
    """Measure a trained model on the cohort's held-out patients; `model` is a Result or its folder."""

    kind: Literal["evaluate"] = "evaluate"
    model: SavedModel
    importance: Annotated[bool, Field(strict=True)] = True

    def __init__(self, model: object = None, **extra: object) -> None:
        super().__init__(model=model, **extra)

    @model_validator(mode="before")
    @classmethod
    def _saved(cls, data: object) -> object:
        if not isinstance(data, dict) or "model" not in data:
            return data
        model = data["model"]
        if isinstance(model, str | Path):
            return {**data, "model": read_saved_model(Path(model))}
        return {**data, "model": getattr(model, "saved_model", model)}


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


LEAST_EPSILON, LARGEST_EPSILON = 1e-6, 1e4


def _promise(value: object) -> object:
    """Refuse an epsilon that is no number, or promises nothing, in words for who has never met one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not LEAST_EPSILON <= float(str(value)) <= LARGEST_EPSILON:
        raise ValueError(
            f"must be a number from {LEAST_EPSILON:g} to {LARGEST_EPSILON:,.0f}, such as 1.5: the smaller, "
            "the less the results can say about any one patient; leave it out for a study without privacy"
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
