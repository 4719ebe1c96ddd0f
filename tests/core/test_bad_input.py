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
    (
        ("gru", 1, (8, 4)),
        {},
        ValueError,
        "ConvGRU hidden_channels expected a number, or a list with one for each layer, got (8, 4)",
    ),
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
    (
        ("gru", 1, 2),
        {"padding": "full"},
        ValueError,
        "ConvGRU padding expected one of 'same', 'valid', 'preserve', got 'full'",
    ),
    (
        ("gru", 1, 2),
        {"padding": -1},
        ValueError,
        "ConvGRU padding expected 'same', 'valid', 'preserve' or 2 (low, high) pairs of integers >= 0",
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
        "ConvRNN activation expected one of 'tanh', 'relu', 'leaky_relu', 'sigmoid', 'hard_sigmoid', 'hard_sigmoid_0.2', got 'swish'",
    ),
    (("gru", 1, 2), {"activation": None}, ValueError, "ConvGRU activation expected one of"),
    (("lstm", 1, 2), {"recurrent_activation": "softmax"}, ValueError, "ConvLSTM recurrent_activation expected one of"),
    # strides and groups
    (("gru", 1, 2), {"stride": 0}, ValueError, "ConvGRU stride expected a positive integer, got 0"),
    (("gru", 1, 2), {"stride": (2,)}, ValueError, "ConvGRU stride expected a tuple of 2 (ndim), got (2,)"),
    (("gru", 1, 2), {"recurrent_stride": 1.5}, ValueError, "ConvGRU recurrent_stride expected a tuple of 2"),
    (
        ("gru", 1, [2, 2]),
        {"stride": [2]},
        ValueError,
        "ConvGRU stride expected a list of 2 (one for each layer), got 1",
    ),
    (("gru", 2, 2), {"groups": 0}, ValueError, "ConvGRU groups expected a positive integer, got 0"),
    (("gru", 2, 2), {"groups": True}, ValueError, "ConvGRU groups expected a positive integer, got True"),
    (("gru", 3, 2), {"groups": 2}, ValueError, "ConvGRU in_channels expected a multiple of groups (2), got 3"),
    (("lstm", 2, 3), {"groups": 2}, ValueError, "ConvLSTM hidden_channels expected a multiple of groups (2), got 3"),
    # padding modes
    (
        ("gru", 1, 2),
        {"padding_mode": "mirror"},
        ValueError,
        "ConvGRU padding_mode expected one of 'zeros', 'reflect', 'replicate', 'circular', got 'mirror'",
    ),
    # peepholes
    (("lstm", 1, 2), {"peephole": True}, ValueError, "ConvLSTM peephole expected one of 'hadamard', 'conv', got True"),
    (
        ("gru", 1, 2),
        {"peephole": "conv"},
        ValueError,
        "ConvGRU has no cell state to peep at: peephole expected None, got 'conv'",
    ),
    (
        ("lstm", 1, 2),
        {"peephole": "conv", "state_size": 4},
        ValueError,
        "ConvLSTM state_size belongs to peephole 'hadamard', got (4, 4) with 'conv'",
    ),
    (("gru", 1, 2), {"state_size": (4, 4)}, ValueError, "ConvGRU state_size belongs to peephole 'hadamard'"),
    (
        ("lstm", 1, 2),
        {"peephole": "hadamard", "state_size": (4,)},
        ValueError,
        "ConvLSTM state_size expected a tuple of 2 (ndim), got (4,)",
    ),
    # norms
    (("gru", 1, 2), {"norm": "layer"}, ValueError, "ConvGRU norm expected Norm(groups) with a tuple of 2 (rz, n), got"),
    (("lstm", 1, 2), {"norm": (1, 1)}, ValueError, "ConvLSTM norm expected Norm(groups) with a tuple of 1 (ifgo), got"),
    (("gru", 1, 2), {"norm": 0}, ValueError, "ConvGRU norm groups of rz expected a positive integer, got 0"),
    (("gru", 1, 3), {"norm": 2}, ValueError, "ConvGRU norm groups of n expected a divisor of 3 channels, got 2"),
    (("rnn", 1, 2), {"norm": convgru.spec.Norm((1,), 0.0)}, ValueError, "ConvRNN norm eps expected a number in (0, 1)"),
    # updates
    (
        ("gru", 1, 2),
        {"updates": (3,)},
        ValueError,
        "ConvGRU updates expected () or a tuple of at least two kernel sizes",
    ),
    (("gru", 1, 2), {"updates": [3, 5]}, ValueError, "ConvGRU updates expected () or a tuple of at least two"),
    (("gru", 1, 2), {"updates": ((1, 5), (5,))}, ValueError, "ConvGRU updates expected a tuple of 2 (ndim), got (5,)"),
    (
        ("gru", 1, 2),
        {"updates": (3, 5), "padding": "valid"},
        ValueError,
        "ConvGRU updates expected padding 'same', for all work on one state, got 'valid'",
    ),
    # the network's own
    (
        ("gru", 1, 2),
        {"bidirectional": "both"},
        ValueError,
        "ConvGRU bidirectional expected one of None, 'layer', 'stack', got 'both'",
    ),
    (("gru", 1, 2), {"bidirectional": 1}, ValueError, "ConvGRU bidirectional expected one of"),
    (
        ("gru", 1, 2),
        {"bidirectional": True, "merge": "max"},
        ValueError,
        "ConvGRU merge expected one of 'concat', 'sum', 'mean', 'mul', got 'max'",
    ),
    (("gru", 1, 2), {"dropout": 1.0}, ValueError, "ConvGRU dropout expected a probability in [0, 1), got 1.0"),
    (("gru", 1, 2), {"dropout": -0.1}, ValueError, "ConvGRU dropout expected a probability in [0, 1), got -0.1"),
    (("gru", 1, 2), {"recurrent_dropout": "0.5"}, ValueError, "ConvGRU recurrent_dropout expected a probability"),
    (("lstm", 1, 2), {"zoneout": True}, ValueError, "ConvLSTM zoneout expected a probability in [0, 1), got True"),
    (("gru", 1, 2), {"output_size": 0}, ValueError, "ConvGRU output_size expected a positive integer, got 0"),
    (("gru", 1, 2), {"output_size": (3,)}, ValueError, "ConvGRU output_size expected a tuple of 2 (ndim), got (3,)"),
    (("gru", 1, 2), {"bias": 1}, TypeError, "ConvGRU bias expected True or False, got 1"),
    (("gru", 1, 2), {"colour": "red"}, TypeError, "colour"),
]


@pytest.mark.parametrize(("arguments", "options", "kind", "message"), SPEC_ARGUMENTS)
def test_network(arguments, options, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        convgru.network(*arguments, **options)


SMALLER = convgru.network("gru", 1, 3)
FORECASTER_ARGUMENTS = [
    (("gru", 1, 2), {"feedback": 1}, "Forecaster feedback expected True or False, got 1"),
    (("gru", 1, 2), {"stride": 2}, "expected layers that keep the image size, got padding 'same' and stride (2, 2)"),
    (
        ("gru", 1, 2),
        {"bidirectional": True},
        "Forecaster encoder expected neither bidirectional nor output_size, got 'layer', None",
    ),
    (
        ("gru", 1, 2),
        {"output_size": 4},
        "Forecaster encoder expected neither bidirectional nor output_size, got None, (4, 4)",
    ),
    (("gru", 1, 2), {"decoder": "lstm"}, "ForecasterSpec.decoder expected a NetworkSpec or None, got 'lstm'"),
    (
        ("gru", 1, 2),
        {"decoder": SMALLER},
        "Forecaster decoder expected cell, ndim, in_channels and hidden channels ('gru', 2, 1, [2]) as the encoder, got ('gru', 2, 1, [3])",
    ),
    (
        ("gru", 1, 2),
        {"decoder": convgru.network("gru", 1, 2, padding="valid")},
        "Forecaster decoder expected layers that keep the image size",
    ),
    (("gru", 0, 2), {}, "Forecaster channels expected a positive integer, got 0"),
    (("gru", 1, 2), {"patch": 0}, "Forecaster patch expected a positive integer, got 0"),
    (("gru", 1, 2), {"patch": (2, 2, 2)}, "Forecaster patch expected a tuple of 2 (ndim), got (2, 2, 2)"),
    (("gru", 1, 2), {"patch": "4"}, "Forecaster patch expected a positive integer, got '4'"),
    (
        ("gru", 1, 2),
        {"padding": "valid"},
        "Forecaster encoder expected layers that keep the image size, got padding 'valid' and stride (1, 1) in layer 0",
    ),
]


@pytest.mark.parametrize(("arguments", "options", "message"), FORECASTER_ARGUMENTS)
def test_forecaster(arguments, options, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        convgru.forecaster(*arguments, **options)


GRU = convgru.init(convgru.network("gru", 3, [4, 5]), dtype="float64")
LSTM = convgru.init(convgru.network("lstm", 3, 4), dtype="float64")
VALID = convgru.init(convgru.network("gru", 3, 4, 5, padding="valid"), dtype="float64")
FORECASTER = convgru.init(convgru.forecaster("gru", 1, 4, patch=(2, 4)), dtype="float64")
X, H = np.zeros((8, 2, 3, 16, 16)), np.zeros((2, 4, 16, 16))
REFLECT = convgru.init(convgru.network("gru", 3, 4, 7, padding_mode="reflect"), dtype="float64")
CIRCULAR = convgru.init(
    convgru.network("gru", 3, 4, 1, recurrent_kernel_size=7, padding_mode="circular"), dtype="float64"
)
PEEP = convgru.init(convgru.network("lstm", 3, 4, peephole="hadamard", state_size=(16, 8)), dtype="float64")
BOTH = convgru.init(convgru.network("gru", 3, 4, bidirectional=True), dtype="float64")
TRAINED = convgru.init(convgru.network("gru", 3, [4, 4], dropout=0.5, zoneout=0.1), dtype="float64")
GATES = np.zeros((2, 12, 16, 16))
MASKS = {
    "dropout.0": np.ones((8, 2, 4, 16, 16)),
    "zoneout.0.h": np.ones((8, 2, 4, 16, 16)),
    "zoneout.1.h": np.ones((8, 2, 4, 16, 16)),
}
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
        "ConvGRU layer 0 expected at least 5 pixels in spatial dimension 0 of its input "
        "(kernel (5, 5), dilation (1, 1), padding 'valid'), got 4",
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
    (BOTH, X, (H,), {}, ValueError, "ConvGRU expected a state of 2 (one entry for each layer), got 1"),
    # what a padding mode cannot fill, what a peephole is tied to
    (
        REFLECT,
        X[..., :3],
        None,
        {},
        ValueError,
        "ConvGRU layer 0 expected at least 4 pixels in spatial dimension 1 for reflect padding of (3, 3)",
    ),
    (
        CIRCULAR,
        X[..., :2],
        None,
        {},
        ValueError,
        "ConvGRU layer 0 (state) expected at least 3 pixels in spatial dimension 1 for circular padding of (3, 3)",
    ),
    (
        PEEP,
        X,
        None,
        {},
        ValueError,
        "ConvLSTM layer 0 expected a state of spatial size (16, 8) (state_size, its peephole's), got (16, 16)",
    ),
    # lengths
    (
        GRU,
        X,
        None,
        {"lengths": [8]},
        ValueError,
        "ConvGRU expected lengths to be 2 integers (one for each sample), got",
    ),
    (GRU, X, None, {"lengths": 8}, ValueError, "ConvGRU expected lengths to be 2 integers"),
    (GRU, X, None, {"lengths": [8.0, 4.0]}, ValueError, "got float64 of shape (2,)"),
    (
        GRU,
        X,
        None,
        {"lengths": [9, 1]},
        ValueError,
        "ConvGRU expected lengths from 0 to 8 (the time steps of the input)",
    ),
    (GRU, X, None, {"lengths": [-1, 1]}, ValueError, "ConvGRU expected lengths from 0 to 8"),
    # context
    (
        BOTH,
        X,
        None,
        {"context": (GATES,)},
        ValueError,
        "ConvGRU expected a context of 2 arrays (one for each layer and direction), got 1",
    ),
    (
        BOTH,
        X,
        None,
        {"context": (GATES, H)},
        ValueError,
        "ConvGRU context[1] expected shape (2, 12, 16, 16), got (2, 4, 16, 16)",
    ),
    (
        BOTH,
        X,
        None,
        {"context": (GATES, GATES[None])},
        ValueError,
        "ConvGRU context[1] expected shape (8, 2, 12, 16, 16), got (1, 2, 12, 16, 16)",
    ),
    (GRU, X, None, {"context": GATES}, TypeError, "ConvGRU expected a context of 2 arrays"),
    (GRU, X, None, {"context": (GATES, None)}, TypeError, "context"),
    # masks
    (GRU, X, None, {"masks": [X]}, TypeError, "ConvGRU expected masks to be a mapping from names to arrays, got list"),
    (
        GRU,
        X,
        None,
        {"masks": {"dropout.0": X}},
        ValueError,
        "ConvGRU masks: missing nothing, unexpected ['dropout.0']",
    ),
    (
        TRAINED,
        X,
        None,
        {"masks": {"dropout.0": X}},
        ValueError,
        "ConvGRU masks: missing ['zoneout.0.h', 'zoneout.1.h'], unexpected nothing",
    ),
    (
        TRAINED,
        X,
        None,
        {"masks": {**MASKS, "dropout.0": X}},
        ValueError,
        "ConvGRU mask dropout.0 expected shape (8, 2, 4, 16, 16), got (8, 2, 3, 16, 16)",
    ),
    (GRU, X, None, {"targets": X}, TypeError, "ConvGRU expected no targets"),
    # forecasters
    (FORECASTER, FRAMES, None, {"steps": 2, "lengths": [1, 2]}, TypeError, "Forecaster expected no lengths"),
    (FORECASTER, FRAMES, None, {"steps": 2, "context": ()}, TypeError, "Forecaster expected no context"),
    (
        FORECASTER,
        FRAMES,
        None,
        {"steps": 2, "targets": FRAMES[:2]},
        TypeError,
        "Forecaster expected targets and forced together",
    ),
    (
        FORECASTER,
        FRAMES,
        None,
        {"steps": 2, "targets": FRAMES, "forced": np.ones((2, 2), bool)},
        ValueError,
        "Forecaster targets expected shape (2, 2, 1, 8, 8), got (3, 2, 1, 8, 8)",
    ),
    (
        FORECASTER,
        FRAMES,
        None,
        {"steps": 2, "targets": FRAMES[:2], "forced": np.ones(2, bool)},
        ValueError,
        "Forecaster forced expected shape (2, 2), got (2,)",
    ),
    (FORECASTER, FRAMES, None, {"steps": 1, "last_only": True}, TypeError, "Forecaster expected no last_only"),
    (FORECASTER, FRAMES, None, {"steps": 1, "return_all_layers": True}, TypeError, "no return_all_layers"),
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
