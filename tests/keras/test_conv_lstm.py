"""Keras' ConvLSTM1D, 2D and 3D (torch backend) against the reference and PyTorch, same weights."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported; nothing else in this environment uses it

import keras
import numpy as np
import pytest

import convgru
from convgru import reference, registry

LAYERS = {1: keras.layers.ConvLSTM1D, 2: keras.layers.ConvLSTM2D, 3: keras.layers.ConvLSTM3D}
SIZES = {1: (11,), 2: (9, 8), 3: (7, 6, 5)}
EPS = 2.0**-23


def converted(layer: keras.layers.Layer, **arguments: object) -> convgru.Weights:
    """The weights of a Keras layer by the importer, with the layer's arguments as hints."""
    arrays = {f"cell/vars/{i}": np.asarray(keras.ops.convert_to_numpy(w)) for i, w in enumerate(layer.weights)}
    return convgru.adopt(arrays, "keras", **arguments)


def fill(layer, seed):
    """Weights that are not what they start as, biases above all."""
    rng = np.random.default_rng(seed)
    layer.set_weights([0.3 * rng.standard_normal(weight.shape) for weight in layer.weights])


CASES = [
    pytest.param(ndim, padding, strides, activation, {}, id=f"{ndim}d-{padding}-{strides}-{activation}")
    for ndim in (1, 2, 3)
    for padding in ("same", "valid")
    for strides in (1, 2)
    for activation in ("sigmoid", "hard_sigmoid")
]
CASES += [
    pytest.param(2, "same", 1, "sigmoid", {"use_bias": False}, id="no-bias"),
    pytest.param(2, "same", 1, "sigmoid", {"dilation_rate": 2}, id="dilated"),
    pytest.param(2, "valid", 1, "sigmoid", {"dilation_rate": (1, 2)}, id="dilated-valid"),
    pytest.param(2, "same", 1, "sigmoid", {"kernel_size": (2, 4)}, id="even-kernel"),
    pytest.param(2, "same", (2, 3), "sigmoid", {"kernel_size": (4, 2)}, id="even-kernel-strided"),
    pytest.param(1, "valid", 3, "sigmoid", {"kernel_size": 2}, id="even-kernel-valid"),
    pytest.param(2, "same", 1, "sigmoid", {"activation": "relu"}, id="relu"),
]


def run_torch(weights, x, state):
    y, final, _ = registry.get("torch").execute(weights, np.ascontiguousarray(x), state)
    return y, final


@pytest.mark.parametrize("run", [reference.run, run_torch], ids=["reference", "torch"])
@pytest.mark.parametrize(("ndim", "padding", "strides", "activation", "more"), CASES)
def test_keras_conv_lstm(ndim, padding, strides, activation, more, run):
    keras.utils.set_random_seed(0)
    arguments = {"filters": 3, "kernel_size": 3, "padding": padding, "strides": strides, **more}
    layer = LAYERS[ndim](
        **arguments,
        recurrent_activation=activation,
        data_format="channels_last",
        return_sequences=True,
        return_state=True,
    )
    x = np.random.default_rng(1).standard_normal((2, 4, *SIZES[ndim], 2)).astype(np.float32)
    layer.build(x.shape)
    fill(layer, 2)
    size = layer.compute_output_shape(x.shape)[0][2:-1]
    h, c = (np.random.default_rng(seed).standard_normal((2, *size, 3)).astype(np.float32) for seed in (3, 4))
    want, h_end, c_end = (keras.ops.convert_to_numpy(a) for a in layer(x, initial_state=[h, c]))

    more = {name: value for name, value in more.items() if name not in ("kernel_size", "use_bias")}
    arguments = {"strides": strides, "padding": padding, "recurrent_activation": activation, **more}
    weights = converted(layer, **arguments)
    first = np.moveaxis(x.swapaxes(0, 1), -1, 2)
    state = (tuple(np.ascontiguousarray(np.moveaxis(a, -1, 1)) for a in (h, c)),)
    y, ((h_got, c_got),) = run(weights, first, state)

    assert y.shape == np.moveaxis(want.swapaxes(0, 1), -1, 2).shape
    for got, expected in (
        (y, np.moveaxis(want.swapaxes(0, 1), -1, 2)),
        (h_got, np.moveaxis(h_end, -1, 1)),
        (c_got, np.moveaxis(c_end, -1, 1)),
    ):
        assert np.abs(got - expected).max() <= 32 * EPS * max(1.0, np.abs(expected).max())


def test_keras_unit_forget_bias_is_stored_as_ours_is():
    """A fresh Keras layer holds what convgru.init gives: a forget bias of one, stored."""
    layer = keras.layers.ConvLSTM2D(2, 3)
    layer.build((1, 1, 5, 5, 1))
    bias = converted(layer, padding="valid").arrays["layers.0.fwd.bias"]
    np.testing.assert_array_equal(bias, convgru.init(convgru.network("lstm", 1, 2)).arrays["layers.0.fwd.bias"])
