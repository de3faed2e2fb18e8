"""Which model and which task a cohort and its label ask for."""

from typing import TYPE_CHECKING, Any

from fedcohort.analyses.columns_of import image_columns
from fedcohort.analyses.encode import n_features
from fedcohort.analyses.metrics import Task
from fedcohort.columns import Classes, Holdout, Number
from fedcohort.errors import StudyError
from fedcohort.models.inputs import RECORD, Part
from fedcohort.study import Cohort, Study, Survival
from fedcohort.table import SPLITS

if TYPE_CHECKING:
    from fedcohort.models.head import Head
    from fedcohort.models.local import LocalModel
    from fedcohort.models.private import PrivateModel


def task_of(cohort: Cohort) -> Task:
    """The label and the splits that metrics name."""
    label = cohort.typed_label
    if label is None or isinstance(label, Survival):
        raise StudyError("cohort.label: a model needs a binary, class or number label")
    match cohort.split:
        case None:
            return Task(label, ("train",))
        case Holdout():
            return Task(label, ("train", "test"))
        case _:
            return Task(label, tuple(SPLITS))


def model_of(study: Study, model: str | dict[str, Any]) -> "LocalModel":
    """Build and compile a study's model; the same one for every site of a process."""
    from fedcohort.models.local import local_model

    return local_model(model, inputs_of(study.cohort), _head(study.cohort), study.seed)


def private_model_of(study: Study, model: str | dict[str, Any], rows_per_patient: int) -> "PrivateModel":
    """The same model, its gradients clipped by patient."""
    from fedcohort.models.private import private_model

    inputs = inputs_of(study.cohort)
    return private_model(model, inputs, _head(study.cohort), study.seed, rows_per_patient)


def inputs_of(cohort: Cohort) -> tuple[Part, ...]:
    """What a model takes: the record of all ordinary columns, and each image.

    Raises:
        StudyError: an image column has the record's name.
    """
    width = n_features(cohort)
    images = [Part(name, kind.shape, pixels=True) for name, kind in image_columns(cohort.schema_).items()]
    if width and any(image.name == RECORD for image in images):
        raise StudyError(
            f"cohort.columns: an image column called {RECORD!r} stands beside ordinary columns, which are "
            "called so together; rename it"
        )
    return (*([Part(RECORD, (width,))] if width else []), *images)


def _head(cohort: Cohort) -> "Head":
    from fedcohort.models.head import Head

    match cohort.typed_label:
        case Number():
            return Head("number", 1)
        case Classes(levels=levels):
            return Head("classes", len(levels))
        case _:
            return Head("binary", 1)
