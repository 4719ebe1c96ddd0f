"""Bad calls and bad arguments: the exact sentence, and the kind of exception."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import convgru.flax as cf
from convgru.errors import UnsupportedError
from convgru.initialization import init
from convgru.spec import forecaster, network


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def make(kind, spec, **options):
    return kind.from_spec(spec, arrays=init(spec).arrays, **options)


class Own(cf.ConvRNN):
    """A user's own kind of network."""


GRU = make(cf.ConvGRU, network("gru", 3, [4, 2]))
TIME_MAJOR = make(cf.ConvGRU, network("gru", 3, 2), time_major=True)
LSTM = make(cf.ConvLSTM, network("lstm", 3, 2, ndim=1))
VALID = make(cf.ConvRNN, network("rnn", 1, 2, 5, padding="valid"))
FORECASTER = make(cf.Forecaster, forecaster("gru", 1, 2, patch=2))
CELL = make(cf.ConvGRUCell, network("gru", 3, 2))
LSTM_CELL = make(cf.ConvLSTMCell, network("lstm", 3, 2))
BOTH = make(cf.ConvGRU, network("gru", 3, 2, bidirectional=True))
DROPPING = make(cf.ConvGRU, network("gru", 3, 2, recurrent_dropout=0.5), deterministic=False)
X = zeros(2, 4, 5, 6, 3)
H = (zeros(2, 5, 6, 4), zeros(2, 5, 6, 2))

VALUES = {
    "rank": (lambda: GRU(zeros(4, 5, 6, 3)), "ConvGRU expected an input of 5 axes (B, T, H, W, C), got 4 (input shape (4, 5, 6, 3))"),
    "time-major rank": (lambda: TIME_MAJOR(zeros(5, 6, 3)), "ConvGRU expected an input of 5 axes (T, B, H, W, C), got 3 (input shape (5, 6, 3))"),
    "channels": (lambda: GRU(zeros(2, 4, 5, 6, 4)), "ConvGRU expected 3 input channels on axis 4, got 4 (input shape (2, 4, 5, 6, 4))"),
    "channels first": (lambda: GRU(zeros(2, 4, 3, 5, 6)), "ConvGRU expected 3 input channels on axis 4, got 6 (input shape (2, 4, 3, 5, 6))"),
    "no frames": (lambda: GRU(zeros(2, 0, 5, 6, 3)), "ConvGRU expected at least 1 on axis 1 (time), got 0 (input shape (2, 0, 5, 6, 3))"),
    "no pixels": (lambda: LSTM(zeros(2, 4, 0, 3)), "ConvLSTM expected at least 1 on axis 2 (W), got 0 (input shape (2, 4, 0, 3))"),
    "step of a sequence": (lambda: GRU.step(X), "ConvGRU expected an input of 4 axes (B, H, W, C), got 5 (input shape (2, 4, 5, 6, 3))"),
    "cell on a sequence": (lambda: CELL(H[1], X), "ConvGRUCell expected an input of 4 axes (B, H, W, C), got 5 (input shape (2, 4, 5, 6, 3))"),
    "too small": (
        lambda: VALID(zeros(1, 2, 4, 9, 1)),
        "ConvRNN layer 0 expected at least 5 pixels in spatial dimension 0 of its input "
        "(kernel (5, 5), dilation (1, 1), padding 'valid'), got 4",
    ),
    "layers of the carry": (lambda: GRU(X, H[:1]), "ConvGRU expected a state of 2 (one entry for each layer), got 1"),
    "shape of the carry": (lambda: GRU(X, (H[0], H[0])), "ConvGRU state[1] (h) expected shape (2, 5, 6, 2), got (2, 5, 6, 4)"),
    "batch of the carry": (lambda: GRU(X[:1], H), "ConvGRU state[0] (h) expected shape (1, 5, 6, 4), got (2, 5, 6, 4)"),
    "carry channels first": (
        lambda: GRU(X, (zeros(2, 4, 5, 6), H[1])),
        "ConvGRU state[0] (h) expected shape (2, 5, 6, 4), got (2, 4, 5, 6)",
    ),
    "carry of the cell": (lambda: CELL(H[0], X[:, 0]), "ConvGRUCell state[0] (h) expected shape (2, 5, 6, 2), got (2, 5, 6, 4)"),
    "steps": (
        lambda: FORECASTER(zeros(1, 2, 4, 4, 1), 0),
        "Forecaster expected steps, how many frames to forecast, to be a positive integer, got 0",
    ),
    "traced steps": (
        lambda: FORECASTER(zeros(1, 2, 4, 4, 1), 1.5),
        "Forecaster expected steps, how many frames to forecast, to be a positive integer, got 1.5",
    ),
    "patch": (
        lambda: FORECASTER(zeros(1, 2, 4, 5, 1), 1),
        "Forecaster expected a multiple of 2 (patch (2, 2)) in spatial dimension 1, got 5 (size (4, 5))",
    ),
    "initial carry": (lambda: GRU.initialize_carry((2, 5, 6, 4)), "ConvGRU expected 3 input channels on axis 3, got 4 (input shape (2, 5, 6, 4))"),
    "method": (lambda: cf.ConvGRU(1, 2, method="quick", rngs=nnx.Rngs(0)), "ConvGRU method expected one of 'fast', 'plain', got 'quick'"),
    "kernel": (lambda: cf.ConvGRU(1, 2, 0, rngs=nnx.Rngs(0)), "ConvGRU kernel_size expected a positive integer, got 0"),
    "hidden": (lambda: cf.ConvLSTM(1, [2, -1], rngs=nnx.Rngs(0)), "ConvLSTM hidden_channels expected a positive integer, got -1"),
    "lists": (
        lambda: cf.ConvGRU(1, [2, 3], [3, 3, 3], rngs=nnx.Rngs(0)),
        "ConvGRU kernel_size expected a list of 2 (one for each layer), got 3: [3, 3, 3]",
    ),
    "reset": (lambda: cf.ConvGRU(1, 2, reset="during", rngs=nnx.Rngs(0)), "ConvGRU reset expected one of 'before', 'after', got 'during'"),
    "reset of an lstm": (
        lambda: cf.ConvLSTM(1, 2, reset="after", rngs=nnx.Rngs(0)),
        "ConvLSTM has no reset gate: reset expected None, got 'after'",
    ),
    "spec of another cell": (
        lambda: cf.ConvGRU.from_spec(network("rnn", 1, 2), rngs=nnx.Rngs(0)),
        "ConvGRU.from_spec expected a spec of cell 'gru', got 'rnn'",
    ),
    "spec of two layers": (
        lambda: cf.ConvGRUCell.from_spec(network("gru", 1, [2, 2]), rngs=nnx.Rngs(0)),
        "ConvGRUCell.from_spec expected a spec of one layer, got 2",
    ),
    "step both ways": (
        lambda: BOTH.step(X[:, 0]),
        "ConvGRU expected a network without a backward direction for step (which has seen no later frames), got bidirectional 'layer'",
    ),
    "lengths": (lambda: GRU(X, seq_lengths=[4, 5]), "ConvGRU expected lengths from 0 to 4 (the time steps of the input), got [4, 5]"),
    "number of lengths": (
        lambda: GRU(X, seq_lengths=np.zeros(3, int)),
        "ConvGRU expected lengths to be 2 integers (one for each sample), got int64 of shape (3,)",
    ),
    "context of the cell": (
        lambda: CELL(H[1], X[:, 0], H[1]),
        "ConvGRU context[0] expected shape (2, 5, 6, 6), got (2, 5, 6, 2)",
    ),
    "timed context": (
        lambda: BOTH(X, context=[zeros(4, 2, 5, 6, 6)] * 2),
        "ConvGRU context[0] expected shape (4, 2, 5, 6, 6), got (2, 4, 5, 6, 6)",
    ),
    "no rngs": (
        lambda: DROPPING(X),
        "ConvGRU expected rngs to draw dropout from, at construction or in the call: "
        "it is in training mode (deterministic=False; net.eval() for evaluation)",
    ),
    "merge": (lambda: cf.ConvGRU(1, 2, merge="max", rngs=nnx.Rngs(0)), "ConvGRU merge expected one of 'concat', 'sum', 'mean', 'mul', got 'max'"),
    "arrays missing": (
        lambda: cf.ConvRNN.from_spec(network("rnn", 1, 2, bias=False), arrays={}),
        "ConvRNN params: missing ['layers.0.fwd.weight_hh', 'layers.0.fwd.weight_ih'], unexpected nothing",
    ),
}  # fmt: skip

TYPES = {
    "not an array": (lambda: GRU([[1.0]]), "ConvGRU expected an input array, got list"),
    "float64 input": (lambda: GRU(X.astype("float64")), "ConvGRU expected an input of dtype float32 (that of its parameters), got float64"),
    "half input": (
        lambda: GRU.step(jnp.zeros((2, 5, 6, 3), jnp.bfloat16)),
        "ConvGRU expected an input of dtype float32 (that of its parameters), got bfloat16",
    ),
    "integer input": (lambda: GRU(X.astype("uint8")), "ConvGRU expected an input of dtype float32 (that of its parameters), got uint8"),
    "float64 frames": (
        lambda: FORECASTER(zeros(1, 2, 4, 4, 1, dtype="float64"), 1),
        "Forecaster expected an input of dtype float32 (that of its parameters), got float64",
    ),
    "dtype of the carry": (
        lambda: GRU(X, (H[0], H[1].astype("float16"))),
        "ConvGRU expected state.1.h of dtype float32 (that of its parameters), got float16",
    ),
    "dtype in the cell": (
        lambda: LSTM_CELL((H[1], H[1].astype("float16")), X[:, 0]),
        "ConvLSTMCell expected state.0.c of dtype float32 (that of its parameters), got float16",
    ),
    "carry no tuple": (lambda: TIME_MAJOR(X, H[1]), "ConvGRU expected a state that is a tuple of 1 (one entry for each layer), got ndarray"),
    "lstm without c": (lambda: LSTM(zeros(1, 2, 5, 3), (zeros(1, 5, 2),)), "ConvLSTM expected state[0] to be a pair (h, c), got ndarray"),
    "cell without carry": (lambda: CELL(None, X[:, 0]), "ConvGRUCell state[0] (h) expected an array, got NoneType"),
    "rngs": (lambda: cf.ConvGRU(1, 2, rngs=0), "ConvGRU expected rngs, an nnx.Rngs to draw the initial parameters from, got 0"),
    "no arrays, no rngs": (
        lambda: cf.ConvGRU.from_spec(network("gru", 1, 2)),
        "ConvGRU.from_spec expected rngs, an nnx.Rngs to draw the initial parameters from, got None",
    ),
    "no arguments": (lambda: cf.ConvGRU(), "ConvGRU.__init__() missing 2 required positional arguments: 'in_features' and 'hidden_features'"),
    "no rngs": (lambda: cf.ConvLSTM(1, 2), "ConvLSTM.__init__() missing 1 required keyword-only argument: 'rngs'"),
    "cell without rngs": (lambda: cf.ConvGRUCell(1, 2), "ConvGRUCell.__init__() missing 1 required keyword-only argument: 'rngs'"),
    "own class without rngs": (lambda: Own(1, 2), "Own.__init__() missing 1 required keyword-only argument: 'rngs'"),
    "time_major": (lambda: cf.ConvGRU(1, 2, time_major="no", rngs=nnx.Rngs(0)), "ConvGRU time_major expected True or False, got 'no'"),
    "time_major of a forecaster": (
        lambda: make(cf.Forecaster, forecaster("gru", 1, 2), time_major=1),
        "Forecaster time_major expected True or False, got 1",
    ),
    "deterministic": (lambda: cf.ConvGRU(1, 2, deterministic="no", rngs=nnx.Rngs(0)), "ConvGRU deterministic expected True or False, got 'no'"),
    "spec": (lambda: cf.ConvGRU.from_spec("gru"), "ConvGRU.from_spec expected a NetworkSpec, got str"),
    "forecaster's spec": (lambda: cf.Forecaster.from_spec(network("gru", 1, 2)), "Forecaster.from_spec expected a ForecasterSpec, got NetworkSpec"),
    "network's spec": (lambda: cf.ConvGRU.from_spec(forecaster("gru", 1, 2)), "ConvGRU.from_spec expected a NetworkSpec, got ForecasterSpec"),
    "integer parameters": (
        lambda: cf.ConvGRU(1, 2, param_dtype=jnp.int32, rngs=nnx.Rngs(0)),
        "ConvGRU expected a dtype of float64, float32, float16, bfloat16, got int32",
    ),
    "option": (lambda: cf.ConvGRU(1, 2, drop=0.5, rngs=nnx.Rngs(0)), "ConvGRU got an unexpected option: drop"),
    "option of a cell": (lambda: cf.ConvGRUCell(1, 2, dropout=0.5, rngs=nnx.Rngs(0)), "ConvGRUCell got an unexpected option: dropout"),
    "targets": (lambda: FORECASTER(zeros(1, 2, 4, 4, 1), 1, targets=X), "Forecaster expected targets together with forced or teacher_forcing"),
    "complex": (
        lambda: cf.ConvGRU(1, 2, dtype="complex64", rngs=nnx.Rngs(0)),
        "ConvGRU expected a dtype of float64, float32, float16, bfloat16, got complex64",
    ),
}  # fmt: skip

UNSUPPORTED = {
    "float64 parameters": lambda: cf.ConvGRU(1, 2, param_dtype="float64", rngs=nnx.Rngs(0)),
    "float64 computation": lambda: cf.ConvGRUCell(1, 2, dtype=jnp.float64, rngs=nnx.Rngs(0)),
}


@pytest.mark.parametrize("name", VALUES)
def test_value_errors(name):
    call, sentence = VALUES[name]
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole sentence is compared
        call()
    assert str(caught.value) == sentence


@pytest.mark.parametrize("name", TYPES)
def test_type_errors(name):
    call, sentence = TYPES[name]
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == sentence


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_float64_needs_64_bit_mode(name):
    with pytest.raises(UnsupportedError, match="JAX computes float64 only in 64-bit mode"):
        UNSUPPORTED[name]()
    with jax.enable_x64(True):
        UNSUPPORTED[name]()


def test_errors_under_jit_too():
    with pytest.raises(ValueError, match="ConvGRU expected 3 input channels on axis 4, got 4"):
        nnx.jit(lambda net, x: net(x))(GRU, zeros(2, 4, 5, 6, 4))


def test_parameters_of_two_dtypes():
    net = nnx.clone(GRU)
    net.layers[0].fwd.bias = nnx.Param(jnp.zeros(12, jnp.bfloat16))
    with pytest.raises(TypeError, match=r"ConvGRU expected layers.0.fwd.bias of dtype float32 .*, got bfloat16"):
        net(X)
