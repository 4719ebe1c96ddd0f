"""Files that convgru writes in Keras' layout, loaded by Keras' own load_weights."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported; nothing else in this environment uses it

import keras
import numpy as np
import pytest
from support import assert_close, random_weights

import convgru
from convgru import reference

LAYERS = {1: keras.layers.ConvLSTM1D, 2: keras.layers.ConvLSTM2D, 3: keras.layers.ConvLSTM3D}
SIZES = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}


@pytest.mark.parametrize("kind", ["functional", "sequential"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("both", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("ndim", LAYERS)
def test_load_weights(ndim, both, bias, kind, tmp_path):
    spec = convgru.network("lstm", 2, 3, 3, ndim=ndim, bidirectional=both, bias=bias)
    rng = np.random.default_rng(11)
    arrays = {name: rng.standard_normal(a.shape).astype("float32") for name, a in convgru.init(spec, 1).arrays.items()}
    weights = convgru.Weights(spec, {name: 0.5 * array for name, array in arrays.items()})
    path = tmp_path / "model.weights.h5"
    convgru.write(weights, path, layout="keras")

    x = rng.standard_normal((4, 2, 2, *SIZES[ndim])).astype(np.float32)
    frames = np.moveaxis(x.swapaxes(0, 1), 2, -1)  # (B, T, *S, C)
    layer = LAYERS[ndim](3, 3, padding="same", return_sequences=True, use_bias=bias, data_format="channels_last")
    layer = keras.layers.Bidirectional(layer) if both else layer
    inputs = keras.Input(frames.shape[1:])
    model = keras.Model(inputs, layer(inputs)) if kind == "functional" else keras.Sequential([inputs, layer])
    model.load_weights(path)
    wanted, _ = reference.run(weights, x)
    got = keras.ops.convert_to_numpy(model(frames))
    assert_close(got, np.moveaxis(wanted.swapaxes(0, 1), 2, -1))
    assert convgru.read(path, padding="same").equal(weights)


def test_one_layer_of_a_larger_model_is_swapped(tmp_path):
    """Read by the user's name for it, changed, loaded back by Keras; other layers are untouched."""
    inputs = keras.Input((4, 7, 6, 2))
    options = {"padding": "same", "return_sequences": True, "data_format": "channels_last"}
    frames = LAYERS[2](3, 3, name="enc", **options)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(LAYERS[2](4, 3, name="dec", **options)(frames)))
    model.save(tmp_path / "model.keras")
    (found,) = convgru.inspect(tmp_path / "model.keras", prefix="dec").networks
    other = random_weights(convgru.read(tmp_path / "model.keras", prefix="dec").spec, dtype="float32")
    path = tmp_path / "dec.weights.h5"
    convgru.write(other, path, layout="keras", prefix=found.stored_at)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    model.load_weights(path, skip_mismatch=True)
    for name in ("enc", "head"):
        assert all((a == b).all() for a, b in zip(before[name], model.get_layer(name).get_weights(), strict=True))
    model.save(tmp_path / "again.keras")
    assert convgru.read(tmp_path / "again.keras", prefix="dec").equal(other)
    x = np.random.default_rng(0).standard_normal((4, 2, 3, 7, 6)).astype(np.float32)
    got = keras.ops.convert_to_numpy(model.get_layer("dec")(np.moveaxis(x.swapaxes(0, 1), 2, -1)))
    assert_close(got, np.moveaxis(reference.run(other, x)[0].swapaxes(0, 1), 2, -1))
