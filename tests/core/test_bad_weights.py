"""Arrays that are no weights, and public functions that are handed something else."""

from __future__ import annotations

import re

import numpy as np
import pytest

import convgru

LSTM = convgru.init(convgru.network("lstm", 3, 4), dtype="float64")


def _arrays(**changed):
    arrays = dict(LSTM.arrays)
    return {**arrays, **{f"layers.0.fwd.{name}": array for name, array in changed.items()}}


WEIGHTS = [
    (
        {},
        "ConvLSTM weights: missing layers.0.fwd.bias, layers.0.fwd.weight_hh, layers.0.fwd.weight_ih",
    ),
    (_arrays(bias_hn=np.zeros(4)), "ConvLSTM weights: unexpected layers.0.fwd.bias_hn"),
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
