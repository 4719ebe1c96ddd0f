"""Bad calls and bad arguments: the exact sentence, and the kind of exception."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import convgru
import convgru.flax as cf
from convgru.errors import UnsupportedError, WeightsError
from convgru.initialization import init
from convgru.spec import forecaster, network


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def make(kind, spec, **options):
    return kind.from_spec(spec, arrays=init(spec).arrays, **options)


class Own(cf.ConvRNN):
    """A user's own kind of network."""


OWN = make(Own, network("rnn", 3, 2))
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
    "channels first": (lambda: GRU(zeros(2, 4, 3, 5, 6)), "ConvGRU expected 3 input channels on axis 4, got 6 (input shape (2, 4, 3, 5, 6))"),
    "step of a sequence": (lambda: GRU.step(X), "ConvGRU expected an input of 4 axes (B, H, W, C), got 5 (input shape (2, 4, 5, 6, 3))"),
    "cell on a sequence": (lambda: CELL(H[1], X), "ConvGRUCell expected an input of 4 axes (B, H, W, C), got 5 (input shape (2, 4, 5, 6, 3))"),
    "carry channels first": (
        lambda: GRU(X, (zeros(2, 4, 5, 6), H[1])),
        "ConvGRU state[0] (h) expected shape (2, 5, 6, 4), got (2, 4, 5, 6)",
    ),
    "carry of the cell": (lambda: CELL(H[0], X[:, 0]), "ConvGRUCell state[0] (h) expected shape (2, 5, 6, 2), got (2, 5, 6, 4)"),
    "initial carry": (lambda: GRU.initialize_carry((2, 5, 6, 4)), "ConvGRU.initialize_carry expected the shape of one frame, (B, H, W, 3), got (2, 5, 6, 4)"),
    "checkpoint_frames": (
        lambda: make(cf.Forecaster, forecaster("gru", 1, 2), checkpoint_frames=0),
        "Forecaster checkpoint_frames expected a positive integer, got 0",
    ),
    "method": (lambda: cf.ConvGRU(1, 2, method="quick", rngs=nnx.Rngs(0)), "ConvGRU method expected one of 'fast', 'plain', got 'quick'"),
    "kernel": (lambda: cf.ConvGRU(1, 2, 0, rngs=nnx.Rngs(0)), "ConvGRU kernel_size expected a positive integer, got 0"),
    "hidden": (lambda: cf.ConvLSTM(1, [2, -1], rngs=nnx.Rngs(0)), "ConvLSTM hidden_channels expected a positive integer, got -1"),
    "lists": (
        lambda: cf.ConvGRU(1, [2, 3], [3, 3, 3], rngs=nnx.Rngs(0)),
        "ConvGRU kernel_size expected a list of 2 (one for each layer), got 3: [3, 3, 3]",
    ),
    "reset": (lambda: cf.ConvGRU(1, 2, reset="during", rngs=nnx.Rngs(0)), "ConvGRU reset expected one of 'before', 'after', got 'during'"),
    "spec of another cell": (
        lambda: cf.ConvGRU.from_spec(network("rnn", 1, 2), rngs=nnx.Rngs(0)),
        "ConvGRU expected a spec of cell 'gru', got 'rnn'",
    ),
    "spec of two layers": (
        lambda: cf.ConvGRUCell.from_spec(network("gru", 1, [2, 2]), rngs=nnx.Rngs(0)),
        "ConvGRUCell expected one layer in one direction, without dropout, got network('gru', 1, 2, kernel_size=3, num_layers=2)",
    ),
    "context of the cell": (
        lambda: CELL(H[1], X[:, 0], H[1]),
        "ConvGRUCell context[0] expected shape (2, 5, 6, 6), got (2, 5, 6, 2)",
    ),
    "timed context": (
        lambda: BOTH(X, context=[zeros(4, 2, 5, 6, 6)] * 2),
        "ConvGRU context[0] expected shape (2, 4, 5, 6, 6), got (4, 2, 5, 6, 6)",
    ),
    "no rngs": (
        lambda: DROPPING(X),
        "ConvGRU expected rngs to draw dropout from, in the constructor, in the call or in convgru.build: "
        "it is in training mode (deterministic=False); call eval() for evaluation",
    ),
    "param_dtype beside arrays": (
        lambda: make(cf.ConvGRU, network("gru", 1, 2), param_dtype=jnp.bfloat16),
        "ConvGRU expected arrays of param_dtype bfloat16, got float32: given arrays are kept as they are, weights.astype rounds them",
    ),
    "metadata beside parameters": (
        lambda: cf.ConvGRUCell.from_spec(
            CELL.spec,
            arrays={f"layers.0.fwd.{name}": getattr(CELL, name) for name in CELL.arrays()},
            bias_metadata={"note": "mine"},
        ),
        "ConvGRUCell expected no bias_metadata beside layers.0.fwd.bias, an nnx.Param that keeps its own",
    ),
    "merge": (lambda: cf.ConvGRU(1, 2, merge="max", rngs=nnx.Rngs(0)), "ConvGRU merge expected one of 'concat', 'sum', 'mean', 'mul', got 'max'"),
}  # fmt: skip

TYPES = {
    "no features": (lambda: cf.ConvGRU(1, rngs=nnx.Rngs(0)), "ConvGRU expected hidden_features, the channels of the hidden state, got None"),
    "no rngs": (lambda: cf.ConvLSTM(1, 2), "ConvLSTM expected rngs, an nnx.Rngs to draw the initial parameters from, got None"),
    "rngs": (lambda: cf.ConvGRU(1, 2, rngs=0), "ConvGRU expected rngs, an nnx.Rngs to draw the initial parameters from, got 0"),
    "cell without rngs": (lambda: cf.ConvGRUCell(1, 2), "ConvGRUCell expected rngs, an nnx.Rngs to draw the initial parameters from, got None"),
    "own class without rngs": (lambda: Own(1, 2), "Own expected rngs, an nnx.Rngs to draw the initial parameters from, got None"),
    "forecaster without rngs": (
        lambda: cf.Forecaster("gru", 1, 2),
        "Forecaster expected rngs, an nnx.Rngs to draw the initial parameters from, got None",
    ),
    "rngs beside arrays": (
        lambda: make(cf.ConvGRU, network("gru", 1, 2, zoneout=0.1), rngs=0),
        "ConvGRU expected rngs to be an nnx.Rngs or an nnx.RngStream, got int",
    ),
    "option": (lambda: cf.ConvGRU(1, 2, drop=0.5, rngs=nnx.Rngs(0)), "ConvGRU() got an unexpected keyword argument 'drop'"),
    "option of a network": (lambda: cf.ConvGRUCell(1, 2, dropout=0.5, rngs=nnx.Rngs(0)), "ConvGRUCell() got an unexpected keyword argument 'dropout'"),
    "option of another": (lambda: cf.ConvLSTM(1, 2, reset="after", rngs=nnx.Rngs(0)), "ConvLSTM() got an unexpected keyword argument 'reset'"),
    "beside a spec": (
        lambda: cf.ConvGRU(network("gru", 1, 2), 4, 5, stride=2, rngs=nnx.Rngs(0)),
        "ConvGRU expected a spec alone to describe the network, got hidden_features, kernel_size, stride beside it",
    ),
    "beside a forecaster's spec": (
        lambda: cf.Forecaster(forecaster("gru", 1, 2), 1, rngs=nnx.Rngs(0)),
        "Forecaster expected a spec alone to describe the network, got channels beside it",
    ),
    "text for a spec": (lambda: cf.ConvGRU.from_spec("gru"), "ConvGRU.from_spec expected a NetworkSpec, got str"),
    "spec of a network": (lambda: cf.Forecaster.from_spec(network("gru", 1, 2)), "Forecaster.from_spec expected a ForecasterSpec, got NetworkSpec"),
    "spec of a forecaster": (lambda: cf.ConvGRUCell.from_spec(forecaster("gru", 1, 2)), "ConvGRUCell.from_spec expected a NetworkSpec, got ForecasterSpec"),
    "forecaster for a network": (
        lambda: cf.ConvGRU(forecaster("gru", 1, 2), rngs=nnx.Rngs(0)),
        "ConvGRU expected a number of channels or a NetworkSpec, got a ForecasterSpec",
    ),
    "network for a forecaster": (
        lambda: cf.Forecaster(network("gru", 1, 2), rngs=nnx.Rngs(0)),
        "Forecaster expected the name of a cell or a ForecasterSpec, got a NetworkSpec",
    ),
    "cell without carry": (lambda: CELL(None, X[:, 0]), "ConvGRUCell expected state[0] (h) to be an array, got NoneType"),
    "cell in torch's order": (lambda: CELL(X[:, 0], None), "ConvGRUCell expected (carry, inputs), the order of nnx, got None for inputs"),
    "own class names itself": (lambda: OWN("abc"), "Own expected x to be an array, got str"),
    "time_major": (lambda: cf.ConvGRU(1, 2, time_major="no", rngs=nnx.Rngs(0)), "ConvGRU time_major expected True or False, got 'no'"),
    "time_major of a forecaster": (
        lambda: make(cf.Forecaster, forecaster("gru", 1, 2), time_major=1),
        "Forecaster time_major expected True or False, got 1",
    ),
    "deterministic": (lambda: cf.ConvGRU(1, 2, deterministic="no", rngs=nnx.Rngs(0)), "ConvGRU deterministic expected True or False, got 'no'"),
    "integer parameters": (
        lambda: cf.ConvGRU(1, 2, param_dtype=jnp.int32, rngs=nnx.Rngs(0)),
        "ConvGRU expected a dtype of float64, float32, float16, bfloat16, got int32",
    ),
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


OTHERS = {
    "spec": lambda: cf.ConvGRUCell(3, 2, activation="relu", rngs=nnx.Rngs(0)),
    "dtype": lambda: cf.ConvGRUCell(3, 2, dtype="float16", rngs=nnx.Rngs(0)),
    "method": lambda: cf.ConvGRUCell(3, 2, method="plain", rngs=nnx.Rngs(0)),
    "type": lambda: cf.ConvRNNCell(3, 2, rngs=nnx.Rngs(0)),
}


@pytest.mark.parametrize("different", OTHERS)
def test_a_cell_that_computes_something_else_is_not_ignored(different):
    net = make(cf.ConvGRU, network("gru", 3, 2))
    net.layers[0].fwd = make(cf.ConvGRUCell, network("gru", 3, 2))
    net(X)
    net.layers[0].fwd = OTHERS[different]()
    for call in (lambda: net(X), net.arrays, lambda: convgru.extract(net)):
        with pytest.raises(ValueError, match=rf"^ConvGRU layers\.0\.fwd expected a cell of {different} .*, got "):
            call()


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_network_that_computes_something_else_is_not_ignored(part):
    """A forecaster runs its spec, which knows nothing of a network put in the place of another."""
    net = make(cf.Forecaster, forecaster("gru", 1, 2, decoder=True))
    old = getattr(net, part)
    setattr(net, part, cf.ConvGRU.from_spec(old.spec, arrays=old.arrays()))
    net.arrays()
    setattr(net, part, cf.ConvGRU(1, 2, activation="relu", rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=rf"^Forecaster {part} expected a network of spec .*, got "):
        net(zeros(1, 1, 4, 4, 1), 2)


ABSTRACT = {
    "network": lambda: cf.ConvGRU(2, 3, rngs=nnx.Rngs(0)),
    "cell": lambda: cf.ConvLSTMCell(2, 3, rngs=nnx.Rngs(0)),
    "forecaster": lambda: cf.Forecaster("gru", 1, 2, rngs=nnx.Rngs(0)),
}


@pytest.mark.parametrize("name", ABSTRACT)
def test_abstract_modules_list_their_arrays_and_hold_no_numbers(name):
    abstract = nnx.eval_shape(ABSTRACT[name])
    shapes = {name: array.shape for name, array in ABSTRACT[name]().arrays().items()}
    assert {name: array.shape for name, array in abstract.arrays().items()} == shapes
    with pytest.raises(WeightsError, match=r"extract expected a \w+ that holds numbers, got one whose \S+ is abstract"):
        convgru.extract(abstract)


def test_parameters_of_two_dtypes():
    """They promote, as those of any nnx module; a file has one dtype."""
    net = nnx.clone(GRU)
    net.layers[0].fwd.bias = nnx.Param(jnp.zeros(12, jnp.bfloat16))
    assert np.array_equal(net(X)[0], GRU(X)[0])
    with pytest.raises(WeightsError, match="dtype"):
        convgru.extract(net)
