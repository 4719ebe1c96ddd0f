"""Messages of wrong calls and wrong constructors, word for word, in both modes."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest

import convgru.mindspore as cm
from convgru.errors import UnsupportedError
from convgru.initialization import init
from convgru.spec import forecaster, network
from convgru_mindspore import backend


def zeros(*shape: int, dtype: Any = np.float32) -> Any:
    """A tensor of zeros."""
    return ms.Tensor(np.zeros(shape, dtype))


NETS: dict[str, Any] = {
    "gru": lambda: cm.ConvGRU(3, [4, 2]),
    "lstm": lambda: cm.ConvLSTM(3, 4),
    "first": lambda: cm.ConvRNN(3, 4, batch_first=True),
    "valid": lambda: cm.ConvGRU(3, 4, 5, padding="valid"),
    "cell": lambda: cm.ConvGRUCell(3, 4),
    "pair": lambda: cm.ConvLSTMCell(3, 4),
    "forecaster": lambda: cm.Forecaster("gru", 1, 4, patch=2),
}
X, H, L = (2, 1, 3, 5, 5), (1, 4, 5, 5), (1, 2, 5, 5)

CALLS: list[tuple[str, Any, type[Exception], str]] = [
    ("gru", lambda: (zeros(8, 2, 4, 16, 16),), ValueError, "ConvGRU expected 3 input channels on axis 2, got 4 (input shape (8, 2, 4, 16, 16))"),
    ("gru", lambda: (zeros(2, 3, 5, 5),), ValueError, "ConvGRU expected an input of 5 axes (T, B, C, H, W), got 4 (input shape (2, 3, 5, 5))"),
    ("first", lambda: (zeros(1, 2, 4, 5, 5),), ValueError, "ConvRNN expected 3 input channels on axis 2, got 4 (input shape (1, 2, 4, 5, 5))"),
    ("first", lambda: (zeros(1, 3, 5, 5),), ValueError, "ConvRNN expected an input of 5 axes (B, T, C, H, W), got 4 (input shape (1, 3, 5, 5))"),
    ("gru", lambda: (zeros(*X, dtype=np.float64),), TypeError, "ConvGRU expected x of dtype float32 (that of its parameters), got float64"),
    ("gru", lambda: (zeros(*X, dtype=np.int32),), TypeError, "ConvGRU expected x of dtype float32 (that of its parameters), got int32"),
    ("gru", lambda: (np.zeros(X, np.float32),), TypeError, "ConvGRU expected x to be a mindspore.Tensor, got ndarray"),
    ("gru", lambda: (zeros(0, 1, 3, 5, 5),), ValueError, "ConvGRU expected at least 1 on axis 0 (time), got 0 (input shape (0, 1, 3, 5, 5))"),
    ("gru", lambda: (zeros(2, 0, 3, 5, 5),), UnsupportedError, "MindSpore does not compute on an empty batch (input shape (2, 0, 3, 5, 5))"),
    ("gru", lambda: (zeros(*X), zeros(*H)), TypeError, "ConvGRU expected a state that is a tuple of 2 (one entry for each layer), got Tensor"),
    ("gru", lambda: (zeros(*X), (zeros(*H),)), ValueError, "ConvGRU expected a state of 2 (one entry for each layer), got 1"),
    ("gru", lambda: (zeros(*X), (zeros(*H), zeros(*H))), ValueError, "ConvGRU state[1] (h) expected shape (1, 2, 5, 5), got (1, 4, 5, 5)"),
    ("gru", lambda: (zeros(*X), (zeros(*H), zeros(*L, dtype=np.float16))), TypeError,
        "ConvGRU expected state[1] (h) of dtype float32 (that of its parameters), got float16"),
    ("gru", lambda: (zeros(*X), (zeros(*H), np.zeros(L, np.float32))), TypeError, "ConvGRU expected state[1] (h) to be a mindspore.Tensor, got ndarray"),
    ("gru", lambda: (zeros(*X), (zeros(*H), None)), TypeError, "ConvGRU expected state[1] (h) to be a mindspore.Tensor, got NoneType"),
    ("lstm", lambda: (zeros(*X), (zeros(*H),)), TypeError, "ConvLSTM expected state[0] to be a pair (h, c), got Tensor"),
    ("lstm", lambda: (zeros(*X), ((zeros(*H), zeros(*L)),)), ValueError, "ConvLSTM state[0] (c) expected shape (1, 4, 5, 5), got (1, 2, 5, 5)"),
    ("valid", lambda: (zeros(2, 1, 3, 5, 4),), ValueError, "ConvGRU layer 0 expected at least 5 pixels in spatial dimension 1 of its input"),
    ("cell", lambda: (zeros(1, 2, 5, 5),), ValueError, "ConvGRUCell expected 3 input channels on axis 1, got 2 (input shape (1, 2, 5, 5))"),
    ("cell", lambda: (zeros(1, 3, 5, 5), zeros(*L)), ValueError, "ConvGRUCell state[0] (h) expected shape (1, 4, 5, 5), got (1, 2, 5, 5)"),
    ("pair", lambda: (zeros(1, 3, 5, 5), zeros(*H)), TypeError, "ConvLSTMCell expected state[0] to be a pair (h, c), got Tensor"),
    ("forecaster", lambda: (zeros(2, 1, 1, 4, 4), 0), ValueError, "Forecaster expected steps, how many frames to forecast, to be a positive integer, got 0"),
    ("forecaster", lambda: (zeros(2, 1, 1, 4, 4), True), ValueError,
        "Forecaster expected steps, how many frames to forecast, to be a positive integer, got True"),
    ("forecaster", lambda: (zeros(2, 1, 2, 4, 4), 1), ValueError, "Forecaster expected 1 input channels on axis 2, got 2 (input shape (2, 1, 2, 4, 4))"),
    ("forecaster", lambda: (zeros(2, 1, 1, 4, 5), 1), ValueError,
        "Forecaster expected a multiple of 2 (patch (2, 2)) in spatial dimension 1, got 5 (size (4, 5))"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("net", "arguments", "kind", "sentence"), CALLS, ids=[f"{c[0]}-{i}" for i, c in enumerate(CALLS)]
)
def test_wrong_calls(net: str, arguments: Any, kind: type[Exception], sentence: str, mode: str) -> None:
    with pytest.raises(kind) as caught:
        NETS[net]()(*arguments())
    assert type(caught.value) is kind
    assert str(caught.value).startswith(sentence)


def arrays_of(spec: Any, **changed: Any) -> Any:
    """Its parameters by name, some of them changed."""
    return {name: ms.Tensor(array) for name, array in init(spec).arrays.items()} | changed


SPEC, FORECASTER = network("rnn", 3, 4, 1), forecaster("rnn", 3, 4, 1)
WEIGHT, BIAS = "layers.0.fwd.weight_ih", "layers.0.fwd.bias"
FRAME = (1, 3, 5, 5)
STEPS: list[tuple[Any, type[Exception], str]] = [
    (lambda: {"x": None}, TypeError, "ConvRNN expected x to be a mindspore.Tensor, got NoneType"),
    (lambda: {"x": np.zeros(FRAME, np.float32)}, TypeError, "ConvRNN expected x to be a mindspore.Tensor, got ndarray"),
    (lambda: {"x": zeros(1, 2, 5, 5)}, ValueError, "ConvRNN expected 3 input channels on axis 1, got 2 (input shape (1, 2, 5, 5))"),
    (lambda: {"state": 1}, TypeError, "ConvRNN expected a state that is a tuple of 1 (one entry for each layer), got int"),
    (lambda: {"state": zeros(*H)}, TypeError, "ConvRNN expected a state that is a tuple of 1 (one entry for each layer), got Tensor"),
    (lambda: {"state": (zeros(*H), zeros(*H))}, ValueError, "ConvRNN expected a state of 1 (one entry for each layer), got 2"),
    (lambda: {"state": (np.zeros(H, np.float32),)}, TypeError, "ConvRNN expected state[0] (h) to be a mindspore.Tensor, got ndarray"),
    (lambda: {"masks": {"a": 1}}, ValueError, "ConvRNN masks: unexpected a"),
    (lambda: {"masks": [zeros(1)]}, TypeError, "ConvRNN expected masks to be a mapping from names to arrays, got list"),
    (lambda: {"context": 3}, TypeError, "ConvRNN expected a context of 1 arrays (one for each layer and direction), got int"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "kind", "sentence"), STEPS, ids=range(len(STEPS)))
@pytest.mark.parametrize("pure", [False, True], ids=["method", "function"])
def test_wrong_steps(options: Any, kind: type[Exception], sentence: str, pure: bool, mode: str) -> None:
    given = {"x": zeros(*FRAME), **options()}
    with pytest.raises(kind) as caught:
        cm.step(SPEC, arrays_of(SPEC), **given) if pure else cm.ConvRNN(3, 4, 1).step(**given)
    assert str(caught.value) == sentence


FUNCTIONS: list[tuple[Any, type[Exception], str]] = [
    (lambda x: cm.run(SPEC, {}, None), ValueError, f"ConvRNN parameters: missing {BIAS}, "),
    (lambda x: cm.run(SPEC, 3, x), TypeError, "ConvRNN expected parameters by canonical name, got int"),
    (lambda x: cm.run(SPEC, arrays_of(SPEC), x, seq_length=[3]), ValueError, "ConvRNN expected seq_length from 0 to 2"),
    (lambda x: cm.run(SPEC, arrays_of(SPEC), x, seq_length=3), ValueError, "ConvRNN expected seq_length to be 1 integers"),
    (lambda x: cm.run(SPEC, arrays_of(SPEC), x, training=1), TypeError, "ConvRNN expected training to be True or False, got 1"),
    (lambda x: cm.run(SPEC, arrays_of(SPEC), x, last_only="x"), TypeError, "ConvRNN expected last_only to be True or False, got 'x'"),
    (lambda x: cm.forecast(FORECASTER, arrays_of(FORECASTER), x, 2, training=True, teacher_forcing=7), ValueError,
        "Forecaster expected teacher_forcing to be a probability, got 7"),
    (lambda x: cm.forecast(FORECASTER, arrays_of(FORECASTER), x, 2, training=True, targets=x, forced=zeros(2, 1, dtype=bool),
        teacher_forcing=ms.Tensor(0.5)), TypeError, "Forecaster expected forced or teacher_forcing, got both"),
    (lambda x: cm.forecast(FORECASTER, arrays_of(FORECASTER), None, 2), TypeError, "Forecaster expected x to be a mindspore.Tensor, got NoneType"),
    (lambda x: cm.forecast(FORECASTER, arrays_of(FORECASTER), x, 2, targets=1, forced=1), TypeError,
        "Forecaster expected targets to be a mindspore.Tensor, got int"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "sentence"), FUNCTIONS, ids=range(len(FUNCTIONS)))
def test_wrong_calls_of_the_functions(call: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind) as caught:
        call(zeros(*X))
    assert str(caught.value).startswith(sentence)


COMPILED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"empty": True}, TypeError, "ConvRNN expected x to be a mindspore.Tensor, got NoneType"),
    ({"masks": {"a": 1}}, ValueError, "ConvRNN masks: unexpected a"),
    ({"state": (1,)}, TypeError, "ConvRNN expected state[0] (h) to be a mindspore.Tensor, got int"),
    ({"state": 1}, TypeError, "ConvRNN expected a state that is a tuple of 1 (one entry for each layer), got int"),
    ({"lengths": [7]}, ValueError, "ConvRNN expected seq_length from 0 to 2 (the time steps of the input), got [7]"),
    ({"last": 1}, TypeError, "ConvRNN expected last_only to be True or False, got 1"),
]


class Caller(ms.nn.Cell):
    """A call of a network inside a graph."""

    def __init__(
        self, state: Any = None, masks: Any = None, last: Any = False, empty: bool = False, lengths: Any = None
    ) -> None:
        super().__init__()
        self.lengths = lengths
        self.net, self.state, self.masks, self.last, self.empty = cm.ConvRNN(3, 4, 1), state, masks, last, empty

    def construct(self, x: Any) -> Any:
        return self.net(None if self.empty else x, self.state, self.lengths, masks=self.masks, last_only=self.last)


@pytest.mark.parametrize(("options", "kind", "sentence"), COMPILED, ids=range(len(COMPILED)))
def test_wrong_calls_in_a_graph(options: Any, kind: type[Exception], sentence: str, graph: str) -> None:
    """The check runs while a graph compiles, and sees constants, shapes and dtypes."""
    with pytest.raises(kind) as caught:
        Caller(**options)(zeros(*X))
    assert str(caught.value).startswith(sentence)


CONTEXT = (1, 12, 5, 5), (1, 6, 5, 5)
EXTRAS: list[tuple[str, Any, type[Exception], str]] = [
    ("gru", lambda: {"seq_length": [2, 1]}, ValueError, "ConvGRU expected seq_length to be 1 integers (one for each sample), got int64 of shape (2,)"),
    ("gru", lambda: {"seq_length": ms.Tensor([3])}, ValueError, "ConvGRU expected seq_length from 0 to 2 (the time steps of the input), got [3]"),
    (
        "gru",
        lambda: {"seq_length": ms.Tensor([1.0])},
        ValueError,
        "ConvGRU expected seq_length to be 1 integers (one for each sample), got float32 of shape (1,)",
    ),
    ("gru", lambda: {"context": (zeros(*CONTEXT[0]),)}, ValueError,
        "ConvGRU expected a context of 2 arrays (one for each layer and direction), got 1"),
    ("gru", lambda: {"context": (zeros(*CONTEXT[0]), zeros(3, *CONTEXT[1]))}, ValueError,
        "ConvGRU context[1] expected shape (2, 1, 6, 5, 5), got (3, 1, 6, 5, 5)"),
    ("gru", lambda: {"context": (zeros(*CONTEXT[0]), zeros(*CONTEXT[1], dtype=np.float16))}, TypeError,
        "ConvGRU expected context[1] of dtype float32 (that of its parameters), got float16"),
    ("gru", lambda: {"context": (zeros(*CONTEXT[0]), np.zeros(CONTEXT[1]))}, TypeError, "ConvGRU expected context[1] to be a mindspore.Tensor, got ndarray"),
    ("gru", lambda: {"masks": {"dropout.0": zeros(2, 1, 4, 5, 5)}}, ValueError, "ConvGRU masks: unexpected dropout.0"),
    ("gru", lambda: {"masks": [zeros(1)]}, TypeError, "ConvGRU expected masks to be a mapping from names to arrays, got list"),
    ("forecaster", lambda: {"targets": zeros(2, 1, 1, 4, 4)}, TypeError, "Forecaster expected targets and forced together"),
    ("forecaster", lambda: {"teacher_forcing": 0.5}, TypeError, "Forecaster expected targets, for teacher_forcing=0.5"),
    ("forecaster", lambda: {"teacher_forcing": 2, "targets": zeros(2, 1, 1, 4, 4)}, ValueError,
        "Forecaster expected teacher_forcing to be a probability, got 2"),
    ("forecaster", lambda: {"teacher_forcing": 0.5, "targets": zeros(2, 1, 1, 4, 4), "forced": zeros(2, 1, dtype=bool)}, TypeError,
        "Forecaster expected forced or teacher_forcing, got both"),
    ("forecaster", lambda: {"targets": zeros(3, 1, 1, 4, 4), "forced": zeros(2, 1, dtype=bool)}, ValueError,
        "Forecaster targets expected shape (2, 1, 1, 4, 4), got (3, 1, 1, 4, 4)"),
    ("forecaster", lambda: {"targets": zeros(2, 1, 1, 4, 4), "forced": zeros(2, 1)}, TypeError,
        "Forecaster expected forced of dtype bool, got float32"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("net", "options", "kind", "sentence"), EXTRAS, ids=[f"{c[0]}-{i}" for i, c in enumerate(EXTRAS)]
)
def test_wrong_extras(net: str, options: Any, kind: type[Exception], sentence: str) -> None:
    arguments = (zeros(2, 1, 1, 4, 4), 2) if net == "forecaster" else (zeros(*X),)
    with pytest.raises(kind) as caught:
        NETS[net]()(*arguments, **options())
    assert str(caught.value) == sentence


ARRAYS: list[tuple[Any, Any, type[Exception], str]] = [
    (SPEC, {}, ValueError, f"ConvRNN parameters: missing {BIAS}, layers.0.fwd.weight_hh, {WEIGHT}"),
    (SPEC, arrays_of(SPEC, bias=zeros(4)), ValueError, "ConvRNN parameters: unexpected bias"),
    (SPEC, arrays_of(SPEC, **{WEIGHT: zeros(4, 3, 3, 3)}), ValueError, f"ConvRNN {WEIGHT} expected shape (4, 3, 1, 1), got (4, 3, 3, 3)"),
    (SPEC, arrays_of(SPEC, **{BIAS: zeros(4, dtype=np.float64)}), TypeError,
        "ConvRNN expected one dtype for all parameters, got float"),
    (FORECASTER, arrays_of(SPEC), ValueError, "Forecaster parameters: missing encoder.layers.0.fwd.bias, "),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "arrays", "kind", "sentence"), ARRAYS, ids=range(len(ARRAYS)))
def test_wrong_arrays(spec: Any, arrays: Any, kind: type[Exception], sentence: str, mode: str) -> None:
    with pytest.raises(kind) as caught:
        cm.run(spec, arrays, zeros(*X)) if spec is SPEC else cm.forecast(spec, arrays, zeros(*X), 1)
    assert str(caught.value).startswith(sentence)


def test_step_is_for_one_direction(mode: str) -> None:
    sentence = "ConvGRU expected a whole sequence: its second direction starts at the last frame"
    with pytest.raises(TypeError, match=sentence):
        cm.ConvGRU(3, 4, bidirectional=True).step(zeros(1, 3, 5, 5))


BFLOAT16 = "MindSpore does not compute in bfloat16 on CPU: use float32, float16 or float64"
CONSTRUCTORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: cm.ConvGRU(3, 4, dtype=ms.bfloat16), UnsupportedError, BFLOAT16),
    (lambda: cm.ConvLSTMCell(3, 4, dtype=ms.bfloat16), UnsupportedError, BFLOAT16),
    (lambda: cm.Forecaster("gru", 3, 4, dtype=ms.bfloat16), UnsupportedError, BFLOAT16),
    (lambda: cm.ConvGRU(3, 4, dtype=ms.int32), TypeError,
        "dtype expected one of mindspore.float64, mindspore.float32, mindspore.float16, got mindspore.int32"),
    (lambda: cm.ConvGRU(3, 4, 0), ValueError, "ConvGRU kernel_size expected a positive integer, got 0"),
    (lambda: cm.ConvGRU(3, [4, 2], num_layers=3), ValueError, "ConvGRU hidden_channels expected a list of 3 (one for each layer), got 2: [4, 2]"),
    (lambda: cm.ConvGRU(3, 4, ndim=4), ValueError, "ndim expected one of 1, 2, 3, got 4"),
    (lambda: cm.ConvGRU(3, 4, padding="full"), ValueError, "ConvGRU padding expected one of 'same', 'valid', 'preserve', got 'full'"),
    (lambda: cm.ConvGRU(3, 4, has_bias=1), TypeError, "ConvGRU bias expected True or False, got 1"),
    (lambda: cm.ConvGRU(3, 4, reset="never"), ValueError, "ConvGRU reset expected one of 'before', 'after', got 'never'"),
    (lambda: cm.ConvRNN(3, 4, activation="gelu"), ValueError, "ConvRNN activation expected one of 'tanh', 'relu', 'leaky_relu',"),
    (lambda: cm.Forecaster("lstm", 3, 4, reset="before"), ValueError, "ConvLSTM has no reset gate: reset expected None, got 'before'"),
    (lambda: cm.ConvGRUCell.from_spec(network("gru", 2, [3, 3])), ValueError, "ConvGRUCell expected a spec of one layer, got 2"),
    (lambda: cm.ConvGRU.from_spec(network("gru", 2, 3), weights=init(network("gru", 2, 4))), ValueError,
        "ConvGRU expected weights of its own spec, got those of"),
    (lambda: cm.ConvGRU.from_spec(network("lstm", 2, 3)), ValueError, "ConvGRU expected a spec of cell 'gru', got 'lstm'"),
    (lambda: cm.ConvLSTMCell.from_spec(network("gru", 2, 3)), ValueError, "ConvLSTMCell expected a spec of cell 'lstm', got 'gru'"),
    (lambda: cm.ConvGRU(3, 4, peephole="conv"), TypeError, "ConvGRU() got an unexpected keyword argument 'peephole'"),
    (lambda: cm.ConvLSTMCell(3, 4, dropout=0.1), TypeError, "ConvLSTMCell() got an unexpected keyword argument 'dropout'"),
    (lambda: cm.ConvGRUCell.from_spec(network("gru", 2, 3, zoneout=0.1)), ValueError, "ConvGRUCell expected a spec of a layer alone, got"),
    (lambda: cm.ConvGRU(), TypeError, "ConvGRU.__init__() missing 2 required positional arguments"),
    (lambda: cm.ConvGRU(3, 4, batch_first="no"), TypeError, "ConvGRU batch_first expected True or False, got 'no'"),
    (lambda: cm.ConvLSTM(3, 4, accurate=True), TypeError, "ConvLSTM() got an unexpected keyword argument 'accurate'"),
    (lambda: cm.Forecaster("gru", 3, 4, batch_first="no"), TypeError, "Forecaster batch_first expected True or False, got 'no'"),
    (lambda: backend.extract(ms.nn.Dense(2, 2)), TypeError, "expected a module of convgru.mindspore, got mindspore.nn"),
    (lambda: backend.execute(init(network("gru", 2, 3)), np.zeros((1, 1, 2, 3, 3), np.float32), device="cuda:0"), UnsupportedError,
        "MindSpore does not compute on 'cuda:0'. MindSpore runs on cpu here: the CUDA plugin"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "sentence"), CONSTRUCTORS, ids=range(len(CONSTRUCTORS)))
def test_wrong_constructors(make: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value).startswith(sentence)
