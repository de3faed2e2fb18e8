"""Building a model: a named one, or a researcher's own from its configuration."""

from typing import Any

from fedcohort.errors import StudyError
from fedcohort.models.custom import build_custom, seeded
from fedcohort.models.head import Head
from fedcohort.models.inputs import InputPart, InputShape, parts_of
from fedcohort.models.start import start_tensorflow

_ACTIVATION = {"binary": "sigmoid", "classes": "softmax", "number": "linear"}


def build_model(model: str | dict[str, Any], input_shape: InputShape, head: Head, seed: int) -> Any:
    """Build a Keras model whose initial weights follow from the seed alone.

    Args:
        model: a name, or the configuration that `model.to_json()` gives.
        input_shape: of one row: (d,) for features, (height, width, channels) for images; or all inputs.
    Returns:
        a keras.Model from (n, *input_shape), or from a list of inputs, to (n, head.outputs).
    Raises:
        StudyError: no such model, a class that is not allowed, or shapes that do not fit.
    """
    start_tensorflow()
    if isinstance(model, dict):
        return build_custom(model, input_shape, head, seed)
    parts = parts_of(input_shape)
    if model == "image_and_record":
        with seeded(seed):
            return _image_and_record(parts, head)
    if model not in _BY_NAME:
        names = ", ".join([*_BY_NAME, "image_and_record"])
        raise StudyError(
            "analysis.model: no model {name!r}; choose one of {names}", name=model[:64], names=names
        )
    if len(parts) != 1:
        names = ", ".join(part.name for part in parts)
        raise StudyError(
            "analysis.model: {model} takes one input, and the cohort has {names}; take image_and_record, or "
            "a Keras model of your own with an input for each",
            model=model,
            names=names,
        )
    with seeded(seed):
        return _BY_NAME[model](parts[0].shape, head)


def _logistic(input_shape: tuple[int, ...], head: Head) -> Any:
    import keras

    flat = [keras.layers.Flatten()] if len(input_shape) > 1 else []
    return keras.Sequential([keras.Input(input_shape), *flat, _output(head)], name="logistic")


def _mlp_medical(input_shape: tuple[int, ...], head: Head) -> Any:
    import keras

    flat = [keras.layers.Flatten()] if len(input_shape) > 1 else []
    layers = [
        *flat,
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(64, activation="relu"),
        _output(head),
    ]
    return keras.Sequential([keras.Input(input_shape), *layers], name="mlp_medical")


def _cnn_medical(input_shape: tuple[int, ...], head: Head) -> Any:
    """Convolutions over an image, or along the vector of features."""
    import keras

    if len(input_shape) == 3:
        image = keras.Input(input_shape)
        return keras.Model(image, _output(head)(_image_features(image)), name="cnn_medical")
    layers = [
        keras.layers.Reshape((*input_shape, 1)),
        keras.layers.Conv1D(16, 3, strides=2, padding="same", activation="relu"),
        keras.layers.Conv1D(32, 3, strides=2, padding="same", activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(32, activation="relu"),
        _output(head),
    ]
    return keras.Sequential([keras.Input(input_shape), *layers], name="cnn_medical")


def _image_features(image: Any) -> Any:
    """Features of an image: mean and maximum of each filter after three convolutions that halve it.

    Normalised by groups, which see one image at a time (Wu and He 2018, arXiv 1803.08494): batch
    statistics would mix patients, and sites. A finding counts wherever in the image it lies.
    SiLU (Elfwing, Uchibe and Doya 2018, arXiv 1702.03118) is smooth where ReLU has its kink.
    """
    from keras import layers

    edge = "valid" if min(image.shape[1:3]) >= 16 else "same"  # of a small image nothing would be left
    for filters, size, stride, groups in ((16, 5, 2, 4), (32, 3, 1, 8), (64, 3, 1, 8)):
        settings = {"strides": stride, "padding": "same", "kernel_initializer": "he_normal"}
        image = layers.Conv2D(filters, size, **settings)(image)
        image = layers.Activation("silu")(layers.GroupNormalization(groups)(image))
        if stride == 1:
            image = layers.MaxPooling2D(padding=edge)(image)
    return layers.Concatenate()([layers.GlobalAveragePooling2D()(image), layers.GlobalMaxPooling2D()(image)])


def _image_and_record(parts: tuple[InputPart, ...], head: Head) -> Any:
    """The convolutions over one image, concatenated with a hidden layer over the record."""
    import keras

    images = [part for part in parts if len(part.shape) == 3]
    records = [part for part in parts if len(part.shape) == 1]
    if len(images) != 1 or len(records) != 1:
        raise StudyError(
            "analysis.model: image_and_record takes one image column and one or more ordinary columns; the "
            "cohort has {names}",
            names=", ".join(part.name for part in parts),
        )
    image = keras.Input(images[0].shape, name=images[0].name)
    record = keras.Input(records[0].shape, name=records[0].name)
    image_features = keras.layers.Dense(32, activation="relu")(_image_features(image))
    record_features = keras.layers.Dense(32, activation="relu")(record)
    both = keras.layers.Concatenate()([image_features, record_features])
    return keras.Model([image, record], _output(head)(both), name="image_and_record")


def _output(head: Head) -> Any:
    import keras

    return keras.layers.Dense(head.outputs, activation=_ACTIVATION[head.kind])


_BY_NAME = {"logistic": _logistic, "mlp_medical": _mlp_medical, "cnn_medical": _cnn_medical}
