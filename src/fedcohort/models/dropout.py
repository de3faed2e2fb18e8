"""Dropout from 16 random bits a value: what Keras' layer does, with half the random numbers.

In a step of a small model only the largest product costs more than drawing the mask: Keras
draws a float of 32 random bits for each value and selects by it, forwards and backwards. Here two values
share 32 bits, and the mask is a factor. The probability of dropping is the nearest multiple of 2^-16, and
what is kept is scaled by the inverse of exactly that, so that the expectation is the input (Srivastava et
al. 2014). The generator is started by its seed as it is, and not by a remainder of it.

A seed below zero draws nothing: so the very graph that trains can be tried on whether a row's place matters.
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np

from fedcohort.models.allowed_layers import layers_of
from fedcohort.models.start import start_tensorflow

Tensor = Any
_SIDES = 2**16


QUIET = np.array([-(2**62), 0], np.int64)
"""A seed with which a model of `use_quick_dropout(..., silenced=True)` draws nothing."""


def use_quick_dropout(model: Any, silenced: bool = False) -> Any:
    """Let the model's dropout layers draw so; layers with a `noise_shape` draw as Keras does.

    Args:
        silenced: let all layers that draw obey a seed below zero.
    Returns:
        the model, changed.
    """
    for layer in layers_of(model):
        if type(layer).__name__ == "Dropout" and layer.noise_shape is None and 0 < _dropped(layer) < _SIDES:
            layer.call = partial(_call, layer, layer.call, silenced)
        elif silenced and getattr(layer, "seed_generator", None) is not None:
            layer.call = partial(_unless_quiet, layer, layer.call)
    return model


def _dropped(layer: Any) -> int:
    """Of 2^16 equally likely draws, how many drop a value."""
    return round(float(layer.rate) * _SIDES)


def _call(
    layer: Any, plain: Callable[..., Tensor], silenced: bool, inputs: Tensor, training: bool = False
) -> Tensor:
    if None in inputs.shape[1:]:
        return _unless_quiet(layer, plain, inputs, training)
    return inputs * _mask(layer, inputs, silenced) if training else inputs


def _unless_quiet(layer: Any, plain: Callable[..., Tensor], inputs: Tensor, training: bool = False) -> Tensor:
    tf = start_tensorflow()
    if not training:
        return inputs
    quiet = layer.seed_generator.state.value[0] < 0
    return tf.where(quiet, inputs, plain(inputs, training=True))


def _mask(layer: Any, inputs: Tensor, silenced: bool) -> Tensor:
    """0 where a value is dropped, 1 / (1 - rate) elsewhere."""
    tf = start_tensorflow()
    width, most = prod(inputs.shape[1:]), _dropped(layer)
    rows, pairs = tf.shape(inputs)[0], -(-width // 2)
    seed = tf.cast(layer.seed_generator.next(), tf.int64)
    dropped = tf.cast(seed[0] >= 0, tf.uint16) * most if silenced else most
    bits = tf.random.stateless_uniform((rows, pairs), seed, None, None, tf.uint32)
    draws = tf.reshape(tf.bitcast(bits, tf.uint16), [rows, 2 * pairs])[:, :width]
    factor = tf.cast(draws >= dropped, inputs.dtype) * (_SIDES / (_SIDES - most))
    return tf.reshape(factor, tf.shape(inputs))
