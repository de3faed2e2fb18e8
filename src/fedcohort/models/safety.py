"""Which Keras configurations from outside are let in: layers that compute, and no code.

A configuration names classes; Keras would import any of them. Only those below
pass, before Keras sees the configuration, and Keras' own safe mode stays on.
Constraints on weights are not among them, by whatever word they are named: a mean of
constrained weights need not obey the constraint.
"""

from collections.abc import Iterator
from typing import Any

from fedcohort.errors import StudyError
from fedcohort.models.row_wise import ROW_WISE

MAX_DEPTH = 40
MAX_OBJECTS = 2_000
MAX_LAYERS = 200
MAX_ROW_VALUES = 50_000_000

_MODELS = frozenset({"Sequential", "Functional", "Model"})
_LAYERS = ROW_WISE | {
    "BatchNormalization",
    "LSTM",
    "GRU",
    "SimpleRNN",
    "Bidirectional",
    "Embedding",
    "RepeatVector",
}
_PARTS = frozenset(
    {
        "DTypePolicy",
        "GlorotUniform",
        "GlorotNormal",
        "HeUniform",
        "HeNormal",
        "LecunUniform",
        "LecunNormal",
        "Zeros",
        "Ones",
        "Constant",
        "RandomNormal",
        "RandomUniform",
        "TruncatedNormal",
        "VarianceScaling",
        "Orthogonal",
        "Identity",
        "IdentityInitializer",
        "L1",
        "L2",
        "L1L2",
    }
)
_INSIDE = frozenset({"__keras_tensor__"})
_ALLOWED = _MODELS | _LAYERS | _PARTS | _INSIDE


def check_config(config: dict[str, Any]) -> None:
    """Refuse a configuration that names anything but known layers and their parts.

    Raises:
        StudyError: names the class, and says what is allowed.
    """
    objects = layers = 0
    for node in _walk(config, 0):
        _check_constraints(node)
        if "class_name" not in node:
            continue
        name = node["class_name"]
        objects += 1
        layers += isinstance(name, str) and name in _LAYERS
        if objects > MAX_OBJECTS or layers > MAX_LAYERS:
            raise StudyError(f"analysis.model: more than {MAX_LAYERS} layers or {MAX_OBJECTS} objects")
        if not isinstance(name, str) or name not in _ALLOWED or not _is_keras(node.get("module")):
            raise StudyError(
                f"analysis.model: {str(name)[:64]!r} is not allowed; docs/models.md lists the layers that are"
            )
        _check_recurrent(name, node.get("config"))
        if node.get("registered_name") not in (None, name):
            raise StudyError(f"analysis.model: {str(name)[:64]!r} is a registered class of somebody's own")
    if config.get("class_name") not in _MODELS:
        raise StudyError("analysis.model: not a model's configuration; give what model.to_json() returns")


def _check_constraints(node: dict[str, Any]) -> None:
    """Keras takes a constraint as a name, too, such as "non_neg", which is no class to look for."""
    for key, value in node.items():
        if key.endswith("constraint") and isinstance(value, str):
            raise StudyError(
                f"analysis.model: {key} is not allowed, for the mean of sites' weights need not obey it; "
                "leave it out, or penalise weights (kernel_regularizer)"
            )


def _check_recurrent(name: str, config: object) -> None:
    if not isinstance(config, dict):
        return
    for word, why in (
        ("stateful", "what one batch leaves to the next"),
        ("unroll", "a graph a step in time"),
    ):
        if config.get(word) is True:
            raise StudyError(f"analysis.model: {name} with {word}=True is not allowed ({why}); leave it out")


def _is_keras(module: object) -> bool:
    return module is None or (isinstance(module, str) and (module == "keras" or module.startswith("keras.")))


def _walk(value: object, depth: int) -> Iterator[dict[str, Any]]:
    if depth > MAX_DEPTH:
        raise StudyError(f"analysis.model: the configuration is nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _walk(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            yield from _walk(part, depth + 1)
