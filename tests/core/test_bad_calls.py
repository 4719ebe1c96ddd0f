"""Calls that do not fit a network: the message says what was expected, what came and where."""

from __future__ import annotations

import re

import numpy as np
import pytest

import convgru
from convgru import reference

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
    (GRU, X, (H, None), {}, TypeError, "ConvGRU expected state[1] (h) to be an array, got NoneType"),
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
    (BOTH, X, (H,), {}, ValueError, "ConvGRU expected a state of 2 (one entry for each layer and direction), got 1"),
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
        "ConvGRU masks: unexpected dropout.0",
    ),
    (
        TRAINED,
        X,
        None,
        {"masks": {"dropout.0": X}},
        ValueError,
        "ConvGRU masks: missing zoneout.0.h, zoneout.1.h",
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
