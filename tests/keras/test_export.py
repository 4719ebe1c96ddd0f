"""Exports loaded by Keras' own ConvLSTM layers, in one direction and Bidirectional."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported; nothing else in this environment uses it

import keras
import numpy as np
import pytest
from support import assert_close, random_weights

import convgru
from convgru import reference
from convgru.importers import adopt, export

LAYERS = {1: keras.layers.ConvLSTM1D, 2: keras.layers.ConvLSTM2D, 3: keras.layers.ConvLSTM3D}
SIZES = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}


def channels_last(x):
    """(T, B, C, *S) as Keras has it, (B, T, *S, C)."""
    return np.moveaxis(x.swapaxes(0, 1), 2, -1)


def layer_of(spec):
    """Keras' layer of the same sizes."""
    first = spec.layers[0]
    return LAYERS[spec.ndim](
        first.hidden_channels,
        first.kernel_size,
        strides=first.stride,
        dilation_rate=first.dilation,
        padding=first.padding,
        use_bias=first.bias,
        data_format="channels_last",
        return_sequences=True,
    )


def loaded(layer, x, arrays, prefixes=("",)):
    """The layer with all of the exported arrays: one direction's after the other's."""
    layer.build(channels_last(x).shape)
    paths = [f"{prefix}cell/vars/{index}" for prefix in prefixes for index in range(len(arrays) // len(prefixes))]
    assert set(paths) == set(arrays)
    layer.set_weights([arrays[path] for path in paths])
    return layer


CASES = [
    pytest.param(ndim, {"padding": padding, "stride": stride}, id=f"{ndim}d-{padding}-{stride}")
    for ndim in (1, 2, 3)
    for padding in ("same", "valid")
    for stride in (1, 2)
]
CASES += [
    pytest.param(2, {"padding": "same", "bias": False}, id="no-bias"),
    pytest.param(2, {"padding": "same", "dilation": 2, "recurrent_dilation": 1}, id="dilated"),
]


@pytest.mark.parametrize(("ndim", "options"), CASES)
def test_one_direction(ndim, options):
    weights = random_weights(convgru.network("lstm", 2, 3, 3, ndim=ndim, **options), dtype="float32")
    arrays = export(weights, "keras")
    x = np.random.default_rng(0).standard_normal((4, 2, 2, *SIZES[ndim])).astype(np.float32)
    got = keras.ops.convert_to_numpy(loaded(layer_of(weights.spec), x, arrays)(channels_last(x)))
    wanted, _ = reference.run(weights, x)
    assert_close(got, channels_last(wanted))
    first = weights.spec.layers[0]
    back = adopt(arrays, "keras", padding=first.padding, strides=first.stride, dilation_rate=first.dilation)
    assert back.equal(weights)


@pytest.mark.parametrize(("merge", "mode"), [("concat", "concat"), ("sum", "sum"), ("mean", "ave"), ("mul", "mul")])
def test_both_directions(merge, mode):
    weights = random_weights(
        convgru.network("lstm", 2, 3, 3, padding="same", bidirectional=True, merge=merge), dtype="float32"
    )
    x = np.random.default_rng(0).standard_normal((4, 2, 2, 7, 6)).astype(np.float32)
    layer = keras.layers.Bidirectional(layer_of(weights.spec), merge_mode=mode)
    loaded(layer, x, export(weights, "keras"), ("forward_layer/", "backward_layer/"))
    got = keras.ops.convert_to_numpy(layer(channels_last(x)))
    wanted, _ = reference.run(weights, x)
    assert_close(got, channels_last(wanted))


@pytest.mark.parametrize("suffix", ["keras", "weights.h5", "h5"])
def test_what_keras_saves_comes_in_as_it_was(suffix, tmp_path):
    weights = random_weights(convgru.network("lstm", 2, 3, 3, padding="same", stride=2), dtype="float32")
    x = np.random.default_rng(0).standard_normal((4, 2, 2, 7, 6)).astype(np.float32)
    inputs = keras.Input(channels_last(x).shape[1:])
    layer = layer_of(weights.spec)
    model = keras.Model(inputs, layer(inputs))
    loaded(layer, x, export(weights, "keras"))
    path = tmp_path / f"model.{suffix}"
    hints = {"padding": "same", "strides": 2} if suffix == "weights.h5" else {}  # it holds no configuration
    model.save_weights(path) if hints else model.save(path)
    assert convgru.read(path, **hints).equal(weights)
