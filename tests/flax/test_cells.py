"""The cells inside nnx.RNN and nnx.Bidirectional, and against Flax's where equations agree."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict
from support import assert_close, relative_error

import convgru
import convgru.flax as cf
from convgru import reference
from convgru.spec import network
from convgru.weights import Weights

SPECS = {
    "gru-before": network("gru", 2, 3),
    "gru-after-valid": network("gru", 2, 3, (2, 3), reset="after", padding="valid"),
    "gru-1d": network("gru", 2, 3, 4, ndim=1, dilation=2),
    "lstm": network("lstm", 2, 3, recurrent_kernel_size=2),
    "lstm-3d": network("lstm", 1, 2, ndim=3),
    "rnn": network("rnn", 2, 3, bias=False),
    "rnn-relu": network("rnn", 2, 3, activation="relu"),
}
SIZES = {1: (9,), 2: (5, 6), 3: (3, 4, 3)}
CELLS = {"gru": cf.ConvGRUCell, "lstm": cf.ConvLSTMCell, "rnn": cf.ConvRNNCell}
STACKS = {"gru": cf.ConvGRU, "lstm": cf.ConvLSTM, "rnn": cf.ConvRNN}


def pair(weights, name):
    """The same weights as a bare cell and as a stack, and some input (B, T, *S, C)."""
    spec = SPECS[name]
    arrays = weights(spec).arrays
    x = np.random.default_rng(5).standard_normal((2, 4, *SIZES[spec.ndim], spec.in_channels)).astype("float32")
    return CELLS[spec.cell].from_spec(spec, arrays=arrays), STACKS[spec.cell].from_spec(spec, arrays=arrays), x


@pytest.mark.parametrize("name", SPECS)
def test_rnn_of_the_cell_is_the_stack(name, weights):
    cell, stack, x = pair(weights, name)
    want, (last,) = stack(x)
    carry, got = nnx.RNN(cell, return_carry=True)(x)
    assert_close(got, want, eps=8)
    assert jax.tree.structure(carry) == jax.tree.structure(last)
    assert_close((jax.tree.leaves(carry)), (jax.tree.leaves(last)), eps=8)


def test_rnn_options(weights):
    cell, stack, x = pair(weights, "gru-after-valid")
    want, _ = stack(x)
    assert_close(nnx.RNN(cell)(x), want, eps=8)
    turned = nnx.RNN(cell, time_major=True)(x.swapaxes(0, 1))
    assert_close(turned.swapaxes(0, 1), want, eps=8)
    backward = nnx.RNN(cell, reverse=True, keep_order=True)(x)
    assert_close(backward[:, ::-1], stack(x[:, ::-1])[0], eps=8)


def test_rnn_takes_a_carry_and_jit(weights, random_state):
    cell, stack, x = pair(weights, "lstm")
    state = random_state(cell.spec, 2, (5, 6))
    want, _ = stack(x, state)
    rnn = nnx.RNN(cell)
    got = nnx.jit(lambda rnn, x, carry: rnn(x, initial_carry=carry))(rnn, x, jax.tree.map(jnp.asarray, state[0]))
    assert_close(got, want, eps=8)
    assert relative_error(stack(x)[0], want) > 1e-3


def test_bidirectional(weights):
    cell, stack, x = pair(weights, "gru-before")
    other = cf.ConvGRUCell.from_spec(cell.spec, arrays=weights(cell.spec, 7).arrays)
    got = nnx.Bidirectional(nnx.RNN(cell), nnx.RNN(other))(x)
    backward = cf.ConvGRU.from_spec(cell.spec, arrays=other_arrays(other))(x[:, ::-1])[0][:, ::-1]
    assert_close(got, np.concatenate([stack(x)[0], backward], axis=-1), eps=8)


def other_arrays(cell):
    return {f"layers.0.fwd.{name}": array for name, array in cell.arrays().items()}


@pytest.mark.parametrize("name", SPECS)
def test_one_step_is_the_reference(name, weights, random_state):
    cell, _, x = pair(weights, name)
    if cell.spec.layers[0].padding == "valid":
        carry = cell.initialize_carry(x[:, 0].shape)
        state = None
    else:
        (carry,) = random_state(cell.spec, 2, SIZES[cell.spec.ndim])
        turned = jax.tree.map(lambda a: np.moveaxis(a, -1, 1), carry)
        state = (turned,)
    new, y = cell(carry, x[:, 0])
    want, last = reference.run(weights(cell.spec), np.moveaxis(x[:, :1].swapaxes(0, 1), -1, 2), state)
    assert_close(np.moveaxis(np.asarray(y), -1, 1), want[0], eps=17)
    for got, ref in zip(jax.tree.leaves(new), jax.tree.leaves(last), strict=True):
        assert_close(np.moveaxis(np.asarray(got), -1, 1), ref, eps=17)


@pytest.mark.parametrize("name", SPECS)
def test_a_cell_returns_carry_then_output_as_nnx_cells_do(name, weights):
    """Networks return (output, carry); every nnx.RNNCellBase the other way round."""
    cell, stack, x = pair(weights, name)
    carry, y = cell(cell.initialize_carry(x[:, 0].shape), x[:, 0])
    assert np.array_equal(carry[0] if "lstm" in name else carry, y)
    output, (last,) = stack.step(x[:, 0])
    assert_close((y, carry), (output, last), eps=8)
    theirs = nnx.LSTMCell(2, 3, rngs=nnx.Rngs(0)) if "lstm" in name else nnx.GRUCell(2, 3, rngs=nnx.Rngs(0))
    their_carry, _ = theirs(theirs.initialize_carry((2, 2), nnx.Rngs(0)), x[:, 0, ..., 0, :2].reshape(-1, 2)[:2])
    assert jax.tree.structure(carry) == jax.tree.structure(their_carry)


def test_nnx_rnn_starts_from_initialize_carry(weights):
    """nnx.RNN hands it the shape of one frame and a stream."""
    cell, _, x = pair(weights, "lstm")
    calls, initialize = [], cell.initialize_carry
    object.__setattr__(cell, "initialize_carry", lambda *given: calls.append(given) or initialize(*given))
    nnx.RNN(cell)(x)
    ((shape, stream),) = calls
    assert shape == (*x.shape[:1], *x.shape[2:])
    assert isinstance(stream, nnx.RngStream)
    drawn = initialize(shape, stream, jax.nn.initializers.normal(1.0))
    assert all(np.std(part) > 0.5 for part in drawn)


def test_initial_carry():
    cell = cf.ConvLSTMCell(2, 3, 2, padding="valid", rngs=nnx.Rngs(0))
    h, c = cell.initialize_carry((4, 5, 6, 2))
    assert h.shape == c.shape == (4, 4, 5, 3)
    assert not h.any()
    assert not c.any()
    draw = jax.nn.initializers.normal()
    h, c = cell.initialize_carry((4, 5, 6, 2), nnx.Rngs(carry=1), draw)
    assert np.std(h) > 0
    assert not np.array_equal(h, c)
    assert (
        cf.ConvGRUCell(2, 3, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)).initialize_carry((1, 2, 2, 2)).dtype == jnp.bfloat16
    )
    with pytest.raises(ValueError, match=r"ConvLSTMCell.initialize_carry expected rngs with carry_init, got None"):
        cell.initialize_carry((4, 5, 6, 2), carry_init=draw)
    assert cell.num_feature_axes == 3
    assert cf.ConvGRUCell(2, 3, ndim=1, rngs=nnx.Rngs(0)).num_feature_axes == 2


def pointwise(*arrays):
    """Matrices (in, out) as kernels (out, in, 1, 1) of one pixel."""
    return np.concatenate([np.asarray(a).T for a in arrays])[..., None, None]


def kernels(*layers):
    return pointwise(*(layer.kernel[...] for layer in layers))


def randomised(module):
    rng = np.random.default_rng(11)
    state = jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape), a.dtype), nnx.state(module, nnx.Param))
    nnx.update(module, state)
    return module


def ours(spec, **arrays):
    """Our network from short names, checked by Weights."""
    full = Weights(spec, {f"layers.0.fwd.{n}": np.asarray(a, np.float32) for n, a in arrays.items()})
    return STACKS[spec.cell].from_spec(spec, arrays=full.arrays)


def matrices_gru(cell):
    spec = network("gru", 3, 4, 1, reset="after")
    return ours(
        spec,
        weight_ih=kernels(cell.dense_i),
        weight_hh=kernels(cell.dense_h),
        bias=cell.dense_i.bias[...],
        bias_hn=np.zeros(4),
    )


def matrices_simple(cell):
    return ours(
        network("rnn", 3, 4, 1),
        weight_ih=kernels(cell.dense_i),
        weight_hh=kernels(cell.dense_h),
        bias=cell.dense_i.bias[...],
    )


def matrices_optimized(cell):
    return ours(
        network("lstm", 3, 4, 1),
        weight_ih=kernels(cell.dense_i),
        weight_hh=kernels(cell.dense_h),
        bias=cell.dense_h.bias[...],
    )


def matrices_lstm(cell):
    recurrent = (cell.hi, cell.hf, cell.hg, cell.ho)
    return ours(
        network("lstm", 3, 4, 1),
        weight_ih=kernels(cell.ii, cell.if_, cell.ig, cell.io),
        weight_hh=kernels(*recurrent),
        bias=np.concatenate([layer.bias[...] for layer in recurrent]),
    )


OWN = {
    "GRUCell": matrices_gru,
    "SimpleCell": matrices_simple,
    "OptimizedLSTMCell": matrices_optimized,
    "LSTMCell": matrices_lstm,
}


@pytest.mark.parametrize("name", OWN)
def test_one_pixel_is_flax(name):
    theirs = randomised(getattr(nnx, name)(3, 4, rngs=nnx.Rngs(0)))
    x = np.random.default_rng(3).standard_normal((2, 6, 3)).astype("float32")
    carry, want = nnx.RNN(theirs, return_carry=True)(x)
    got, (last,) = OWN[name](theirs)(x[:, :, None, None])
    assert_close(got[:, :, 0, 0], want, eps=17)
    if "LSTM" in name:
        carry = carry[::-1]  # nnx carries (c, h), convgru (h, c)
    for mine, their in zip(jax.tree.leaves(last), jax.tree.leaves(carry), strict=True):
        assert_close(mine[:, 0, 0], their, eps=17)


def test_linen_conv_lstm():
    """linen.ConvLSTMCell: gates i, g, f, o, run-time forget bias one, two biases, carry (c, h)."""
    hidden = 3
    cell = flax.linen.ConvLSTMCell(hidden, kernel_size=(3, 2))
    x = np.random.default_rng(3).standard_normal((2, 4, 5, 6, 2)).astype("float32")
    rng = np.random.default_rng(4)
    variables = cell.init(jax.random.key(0), cell.initialize_carry(jax.random.key(0), x[:, 0].shape), x[:, 0])
    variables = jax.tree.map(lambda a: jnp.asarray(0.5 * rng.standard_normal(a.shape), a.dtype), variables)
    carry, want = flax.linen.RNN(cell, return_carry=True).apply({"params": {"cell": variables["params"]}}, x)

    arrays = flatten_dict(jax.device_get(variables["params"]), sep="/")
    net = cf.ConvLSTM.from_spec(network("lstm", 2, hidden, (3, 2)), arrays=convgru.adopt(arrays, "linen").arrays)
    got, ((h, c),) = net(x)
    assert_close(got, want, eps=42)
    assert_close(h, carry[1], eps=42)
    assert_close(c, carry[0], eps=42)
