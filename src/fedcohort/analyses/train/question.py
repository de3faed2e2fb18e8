"""The words of `fc.Train(...)`, and of a model, by its name or its Keras configuration."""

import base64
import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from fedcohort.columns import Image
from fedcohort.questions import MAX_STUDY_BYTES, Privacy, Question, check_predicted
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

MOST_START_WEIGHTS = MAX_STUDY_BYTES * 9 // 10 // 16 * 3
"""float32 in base64, beside the rest of the study."""


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
            say(
                "model: compiled with optimizer {optimizer} and loss {loss!r}, which training over sites "
                "does not take: learning_rate, server_optimizer and the cohort's label say it; leave out "
                "model.compile(...), or load it by keras.models.load_model(path, compile=False)",
                optimizer=optimizer,
                loss=str(loss)[:64],
            )
        )
    weights = [np.asarray(values, "<f4") for values in model.get_weights()] if model.built else []
    n_weights = sum(values.size for values in weights)
    if n_weights > MOST_START_WEIGHTS:
        raise ValueError(
            say(
                "model: {count:,} weights to begin with, and a study carries at most {most:,}; to begin with "
                "fresh ones give its configuration, model=json.loads(model.to_json())",
                count=n_weights,
                most=MOST_START_WEIGHTS,
            )
        )
    return base64.b64encode(b"".join(values.tobytes() for values in weights)).decode() if weights else None


ModelName = Literal["logistic", "mlp_medical", "cnn_medical", "image_and_record"]
Model = Annotated[ModelName | dict[str, Any], BeforeValidator(_keras_config)]


class Train(Question):
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
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    trains: ClassVar[bool] = True
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

    @property
    def one_sum(self) -> bool:
        """`fedavg` takes steps at the sites."""
        return self.algorithm == "fedsgd"

    @property
    def n_steps(self) -> int:
        """Rounds of training."""
        return self.rounds

    @property
    def asked_model(self) -> object:
        """The model in training."""
        return self.model

    def check(self, study: "Study") -> None:
        """A label that a model predicts, and images where images are moved.

        Raises:
            ValueError: names the field.
        """
        if self.augment:
            if study.privacy is not None:
                raise ValueError("analysis.augment: under privacy an image counts as it is; leave it out")
            kinds = study.cohort.schema_.values()
            if study.cohort.is_explicit and not any(isinstance(kind, Image) for kind in kinds):
                raise ValueError("analysis.augment: the cohort has no image column; leave it out")
        check_predicted(study)

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """Noise in shares is of one sum a round.

        Raises:
            ValueError: steps at the sites, with shared noise.
        """
        if privacy.noise == "shared" and not self.one_sum:
            raise ValueError(
                'privacy.noise: shared noise needs one sum a round: take analysis.algorithm = "fedsgd", as '
                'fc.Train.private() does, or noise = "site"'
            )

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
            raise ValueError(
                say(
                    "average_rounds: {count} of {rounds} rounds; give no more",
                    count=self.average_rounds,
                    rounds=self.rounds,
                )
            )
        return self
