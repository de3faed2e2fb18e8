"""Which model and which outcome a cohort and its label ask for."""

from typing import TYPE_CHECKING, Any

from fedcohort.analyses.columns_of import image_columns
from fedcohort.analyses.encode import feature_slices, n_features
from fedcohort.analyses.metrics import Outcome
from fedcohort.columns import Classes, Holdout, Number
from fedcohort.errors import StudyError
from fedcohort.models.inputs import RECORD, InputPart
from fedcohort.protection.words import WORDS
from fedcohort.study import Cohort, Study, Survival, Train
from fedcohort.table import SPLITS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedcohort.models.head import Head
    from fedcohort.models.local import LocalModel
    from fedcohort.models.private import PrivateModel


def outcome_of(cohort: Cohort) -> Outcome:
    """The label and the splits that metrics name."""
    label = cohort.typed_label
    if label is None or isinstance(label, Survival):
        raise StudyError("cohort.label: a model needs a binary, class or number label")
    match cohort.split:
        case None:
            return Outcome(label, ("train",))
        case Holdout():
            return Outcome(label, ("train", "test"))
        case _:
            return Outcome(label, tuple(SPLITS))


def model_of(study: Study, model: str | dict[str, Any]) -> "LocalModel":
    """Build and compile a study's model; the same one for every site of a process."""
    from fedcohort.models.local import local_model

    return local_model(model, inputs_of(study.cohort), _head(study.cohort), study.seed)


def private_model_of(study: Study, model: str | dict[str, Any], rows_per_patient: int) -> "PrivateModel":
    """The same model, its gradients clipped by patient."""
    from fedcohort.models.private import private_model

    inputs = inputs_of(study.cohort)
    return private_model(model, inputs, _head(study.cohort), study.seed, rows_per_patient)


def first_weights(train: Train, model: "LocalModel") -> "NDArray[np.float32]":
    """Where training begins: with the study's own weights, or with what the seed gives.

    Raises:
        StudyError: the study's weights are not those of its model.
    """
    from fedcohort.models.saved import weights_from_base64

    if train.weights is None:
        return model.initial()
    return weights_from_base64(train.weights, model.n_weights, "analysis.weights")


MOST_MEMORY_BYTES = 10**9
"""Of what the server's optimiser and an average keep from round to round: one value of a database."""


def check_capacity(study: Study, train: Train, n_weights: int) -> None:
    """Refuse before the first round what could not be carried or kept in a later one.

    Raises:
        StudyError: says what is too large, and what to change.
    """
    most_weights = WORDS[study.protection].most_weights
    if most_weights is not None and n_weights > most_weights:
        raise StudyError(
            "protection: {protection} carries at most {most:,} weights and the model has {count:,}; take "
            'protection = "masks"',
            protection=study.protection,
            most=most_weights,
            count=n_weights,
        )
    moments = {"sgd": 0, "momentum": 1, "adam": 2}[train.server_optimizer]
    averaged = train.average_rounds is not None or study.privacy is not None
    if 8 * n_weights * (moments + averaged) > MOST_MEMORY_BYTES - 1024:
        raise StudyError(
            "analysis.server_optimizer: {optimizer} and an average of {count:,} weights need more than a "
            "database keeps in one value (1 GB); take sgd or momentum, or leave out average_rounds",
            optimizer=train.server_optimizer,
            count=n_weights,
        )


def inputs_of(cohort: Cohort) -> tuple[InputPart, ...]:
    """What a model takes: the record of all ordinary columns, and each image.

    Raises:
        StudyError: an image column has the record's name.
    """
    width = n_features(cohort)
    images = [
        InputPart(name, kind.shape, pixels=True) for name, kind in image_columns(cohort.schema_).items()
    ]
    if width and any(image.name == RECORD for image in images):
        raise StudyError(
            "cohort.columns: an image column called {name!r} stands beside ordinary columns, which are "
            "called so together; rename it",
            name=RECORD,
        )
    columns = tuple(
        (name, part.start, part.stop - part.start)
        for name, part in feature_slices(cohort).items()
        if part is not None
    )
    return (*([InputPart(RECORD, (width,), columns=columns)] if width else []), *images)


def _head(cohort: Cohort) -> "Head":
    from fedcohort.models.head import Head

    match cohort.typed_label:
        case Number():
            return Head("number", 1)
        case Classes(levels=levels):
            return Head("classes", len(levels))
        case _:
            return Head("binary", 1)
