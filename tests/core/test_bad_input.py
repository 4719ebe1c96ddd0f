"""Bad input, one line each: what is said names the object, what was expected, what came, and where."""

from __future__ import annotations

import re

import numpy as np
import pytest

import convgru
from convgru import reference

SPEC_ARGUMENTS = [
    # cell and sizes
    (("mlp", 1, 2), {}, ValueError, "cell expected one of 'gru', 'lstm', 'rnn', got 'mlp'"),
    ((None, 1, 2), {}, ValueError, "cell expected one of 'gru', 'lstm', 'rnn', got None"),
    (("gru", 0, 2), {}, ValueError, "ConvGRU in_channels expected a positive integer, got 0"),
    (("gru", 1.0, 2), {}, ValueError, "ConvGRU in_channels expected a positive integer, got 1.0"),
    (("gru", "3", 2), {}, ValueError, "ConvGRU in_channels expected a positive integer, got '3'"),
    (("lstm", 1, -2), {}, ValueError, "ConvLSTM hidden_channels expected a positive integer, got -2"),
    (("lstm", 1, True), {}, ValueError, "ConvLSTM hidden_channels expected a positive integer, got True"),
    (("rnn", 1, [2, 0]), {}, ValueError, "ConvRNN hidden_channels expected a positive integer, got 0"),
    (("gru", 1, 2), {"ndim": 4}, ValueError, "ndim expected one of 1, 2, 3, got 4"),
    (("gru", 1, 2), {"ndim": 2.0}, ValueError, "ndim expected one of 1, 2, 3, got 2.0"),
    (("gru", 1, 2), {"ndim": True}, ValueError, "ndim expected one of 1, 2, 3, got True"),
    # kernels and dilation
    (("gru", 1, 2, 0), {}, ValueError, "ConvGRU kernel_size expected a positive integer, got 0"),
    (("gru", 1, 2, 2.5), {}, ValueError, "ConvGRU kernel_size expected a tuple of 2 (ndim), got 2.5"),
    (("gru", 1, 2, (3,)), {}, ValueError, "ConvGRU kernel_size expected a tuple of 2 (ndim), got (3,)"),
    (("gru", 1, 2, (3, 3, 3)), {}, ValueError, "ConvGRU kernel_size expected a tuple of 2 (ndim), got (3, 3, 3)"),
    (("gru", 1, 2, (3, -1)), {}, ValueError, "ConvGRU kernel_size expected a positive integer, got -1"),
    (("gru", 1, 2, "3"), {}, ValueError, "ConvGRU kernel_size expected a tuple of 2 (ndim), got '3'"),
    (
        ("gru", 1, 2),
        {"recurrent_kernel_size": (3, 0)},
        ValueError,
        "ConvGRU recurrent_kernel_size expected a positive integer, got 0",
    ),
    (("gru", 1, 2), {"dilation": 0}, ValueError, "ConvGRU dilation expected a positive integer, got 0"),
    (
        ("gru", 1, 2),
        {"recurrent_dilation": (1,)},
        ValueError,
        "ConvGRU recurrent_dilation expected a tuple of 2 (ndim), got (1,)",
    ),
    # padding
    (("gru", 1, 2), {"padding": "full"}, ValueError, "ConvGRU padding expected one of 'same', 'valid', got 'full'"),
    (
        ("gru", 1, 2),
        {"padding": -1},
        ValueError,
        "ConvGRU padding expected 'same', 'valid' or 2 (low, high) pairs of integers >= 0",
    ),
    (("gru", 1, 2), {"padding": (1,)}, ValueError, "got ((1, 1),)"),
    (("gru", 1, 2), {"padding": ((1, 2, 3), 1)}, ValueError, "got ((1, 2, 3), (1, 1))"),
    (("gru", 1, 2), {"padding": None}, ValueError, "got None"),
    # layers
    (
        ("gru", 1, [2, 3], 3, 3),
        {},
        ValueError,
        "ConvGRU hidden_channels expected a list of 3 (one for each layer), got 2: [2, 3]",
    ),
    (
        ("gru", 1, [2, 3], [3, 3, 3]),
        {},
        ValueError,
        "ConvGRU kernel_size expected a list of 2 (one for each layer), got 3",
    ),
    (("gru", 1, []), {}, ValueError, "ConvGRU num_layers expected a positive integer, got 0"),
    (("gru", 1, 2, 3, 0), {}, ValueError, "ConvGRU num_layers expected a positive integer, got 0"),
    (("gru", 1, 2, 3, 1.5), {}, ValueError, "ConvGRU num_layers expected a positive integer, got 1.5"),
    # the cells' own
    (("gru", 1, 2), {"reset": "middle"}, ValueError, "ConvGRU reset expected one of 'before', 'after', got 'middle'"),
    (("lstm", 1, 2), {"reset": "after"}, ValueError, "ConvLSTM has no reset gate: reset expected None, got 'after'"),
    (
        ("rnn", 1, 2),
        {"activation": "swish"},
        ValueError,
        "ConvRNN activation expected one of 'tanh', 'relu', got 'swish'",
    ),
    (("gru", 1, 2), {"bias": 1}, TypeError, "ConvGRU bias expected True or False, got 1"),
    (("gru", 1, 2), {"colour": "red"}, TypeError, "colour"),
]


@pytest.mark.parametrize(("arguments", "options", "kind", "message"), SPEC_ARGUMENTS)
def test_network(arguments, options, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        convgru.network(*arguments, **options)


FORECASTER_ARGUMENTS = [
    (("gru", 0, 2), {}, "Forecaster channels expected a positive integer, got 0"),
    (("gru", 1, 2), {"patch": 0}, "Forecaster patch expected a positive integer, got 0"),
    (("gru", 1, 2), {"patch": (2, 2, 2)}, "Forecaster patch expected a tuple of 2 (ndim), got (2, 2, 2)"),
    (("gru", 1, 2), {"patch": "4"}, "Forecaster patch expected a positive integer, got '4'"),
    (
        ("gru", 1, 2),
        {"padding": "valid"},
        "Forecaster encoder expected layers that keep the image size, got padding 'valid' in layer 0",
    ),
]


@pytest.mark.parametrize(("arguments", "options", "message"), FORECASTER_ARGUMENTS)
def test_forecaster(arguments, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        convgru.forecaster(*arguments, **options)


GRU = convgru.init(convgru.network("gru", 3, [4, 5]), dtype="float64")
LSTM = convgru.init(convgru.network("lstm", 3, 4), dtype="float64")
VALID = convgru.init(convgru.network("gru", 3, 4, 5, padding="valid"), dtype="float64")
FORECASTER = convgru.init(convgru.forecaster("gru", 1, 4, patch=(2, 4)), dtype="float64")
X, H = np.zeros((8, 2, 3, 16, 16)), np.zeros((2, 4, 16, 16))
FRAMES = np.zeros((3, 2, 1, 8, 8))

CALLS = [
    # the input
    (
        GRU,
        np.zeros((8, 2, 4, 16, 16)),
        None,
        {},
        ValueError,
        "ConvGRU expected 3 input channels on axis 2, got 4 (input shape (8, 2, 4, 16, 16))",
    ),
    (
        GRU,
        np.zeros((2, 3, 16, 16)),
        None,
        {},
        ValueError,
        "ConvGRU expected an input of 5 axes (T, B, C, H, W), got 4 (input shape (2, 3, 16, 16))",
    ),
    (
        GRU,
        np.zeros((1, 8, 2, 3, 16, 16)),
        None,
        {},
        ValueError,
        "ConvGRU expected an input of 5 axes (T, B, C, H, W), got 6",
    ),
    (
        GRU,
        np.float64(0),
        None,
        {},
        ValueError,
        "ConvGRU expected an input of 5 axes (T, B, C, H, W), got 0 (input shape ())",
    ),
    (GRU, np.zeros((0, 2, 3, 16, 16)), None, {}, ValueError, "ConvGRU expected at least 1 on axis 0 (time), got 0"),
    (GRU, np.zeros((8, 2, 3, 0, 16)), None, {}, ValueError, "ConvGRU expected at least 1 on axis 3 (H), got 0"),
    (
        VALID,
        np.zeros((8, 2, 3, 4, 16)),
        None,
        {},
        ValueError,
        "ConvGRU expected at least 5 pixels in spatial dimension 0 of the input of layer 0",
    ),
    (GRU, X.astype(complex), None, {}, TypeError, "complex128"),
    (GRU, X.astype(object), None, {}, TypeError, "object"),
    (GRU, np.full(X.shape, "a"), None, {}, TypeError, "<U1"),
    # the state
    (GRU, X, H, {}, TypeError, "ConvGRU expected a state that is a tuple of 2 (one entry for each layer), got ndarray"),
    (GRU, X, (H,), {}, ValueError, "ConvGRU expected a state of 2 (one entry for each layer), got 1"),
    (GRU, X, (H, H), {}, ValueError, "ConvGRU state[1] (h) expected shape (2, 5, 16, 16), got (2, 4, 16, 16)"),
    (GRU, X, (H, None), {}, TypeError, "ConvGRU state[1] (h) expected an array, got NoneType"),
    (GRU, X, (H[:1], H), {}, ValueError, "ConvGRU state[0] (h) expected shape (2, 4, 16, 16), got (1, 4, 16, 16)"),
    (LSTM, X, (H,), {}, TypeError, "ConvLSTM expected state[0] to be a pair (h, c), got ndarray"),
    (LSTM, X, ((H, H, H),), {}, TypeError, "ConvLSTM expected state[0] to be a pair (h, c), got tuple"),
    (
        LSTM,
        X,
        ((H, H[..., :-1]),),
        {},
        ValueError,
        "ConvLSTM state[0] (c) expected shape (2, 4, 16, 16), got (2, 4, 16, 15)",
    ),
    # forecasters
    (GRU, X, None, {"steps": 3}, TypeError, "ConvGRU expected no steps: only a forecaster has a horizon, got steps=3"),
    (
        FORECASTER,
        FRAMES,
        None,
        {},
        ValueError,
        "Forecaster expected steps, how many frames to forecast, to be a positive integer, got None",
    ),
    (FORECASTER, FRAMES, None, {"steps": 0}, ValueError, "to be a positive integer, got 0"),
    (FORECASTER, FRAMES, None, {"steps": 2.0}, ValueError, "to be a positive integer, got 2.0"),
    (
        FORECASTER,
        FRAMES[..., :6],
        None,
        {"steps": 1},
        ValueError,
        "Forecaster expected a multiple of 4 (patch (2, 4)) in spatial dimension 1, got 6",
    ),
    (
        FORECASTER,
        np.zeros((3, 2, 8, 8, 8)),
        None,
        {"steps": 1},
        ValueError,
        "Forecaster expected 1 input channels on axis 2, got 8",
    ),
]


@pytest.mark.parametrize(("weights", "x", "state", "options", "kind", "message"), CALLS)
def test_a_call(weights, x, state, options, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        reference.run(weights, x, state, **options)


def _arrays(**changed):
    arrays = dict(LSTM.arrays)
    return {**arrays, **{f"layers.0.fwd.{name}": array for name, array in changed.items()}}


WEIGHTS = [
    (
        {},
        "ConvLSTM weights: missing ['layers.0.fwd.bias', 'layers.0.fwd.weight_hh', 'layers.0.fwd.weight_ih'], unexpected nothing",
    ),
    (_arrays(bias_hn=np.zeros(4)), "ConvLSTM weights: missing nothing, unexpected ['layers.0.fwd.bias_hn']"),
    (_arrays(bias=np.zeros(15)), "layers.0.fwd.bias expected shape (16,), got (15,)"),
    (
        _arrays(weight_ih=np.zeros((16, 3, 5, 5))),
        "layers.0.fwd.weight_ih expected shape (16, 3, 3, 3), got (16, 3, 5, 5)",
    ),
    (_arrays(bias=np.zeros(16, np.float32)), "expected one dtype for all arrays, got float32, float64"),
    (_arrays(bias=np.full(16, np.nan)), "layers.0.fwd.bias expected finite numbers, got 16 of 16 that are not"),
    (_arrays(weight_hh=np.full((16, 4, 3, 3), np.inf)), "layers.0.fwd.weight_hh expected finite numbers"),
    (
        {name: array.astype(int) for name, array in LSTM.arrays.items()},
        "dtype expected one of float64, float32, float16, bfloat16, got int64",
    ),
    ({name: array.astype(complex) for name, array in LSTM.arrays.items()}, "dtype expected one of"),
    ({name: array.astype(">f8") for name, array in LSTM.arrays.items()}, "dtype expected one of"),
]


@pytest.mark.parametrize(("arrays", "message"), WEIGHTS)
def test_weights(arrays, message):
    with pytest.raises(convgru.WeightsError, match=re.escape(message)):
        convgru.Weights(LSTM.spec, arrays)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: convgru.init(LSTM.spec, seed=-1), ValueError, "init expected a seed that is an integer >= 0, got -1"),
        (
            lambda: convgru.init(LSTM.spec, seed=1.5),
            ValueError,
            "init expected a seed that is an integer >= 0, got 1.5",
        ),
        (lambda: convgru.init(LSTM.spec, dtype="int8"), convgru.WeightsError, "dtype expected one of"),
        (lambda: LSTM.astype("float8"), convgru.WeightsError, "dtype expected one of"),
        (
            lambda: convgru.build(LSTM, "tensorflow"),
            ValueError,
            "backend expected one of 'torch', 'jax', 'flax', 'mindspore', got 'tensorflow'",
        ),
        (lambda: convgru.build({}, "torch"), TypeError, "build expected convgru.Weights, got dict"),
        (
            lambda: convgru.extract(3),
            TypeError,
            "expected a network of convgru.torch, convgru.jax, convgru.flax, convgru.mindspore, got builtins.int",
        ),
        (lambda: convgru.port((1, 2), "torch"), TypeError, "got builtins.tuple"),
    ],
)
def test_the_public_functions(call, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        call()
