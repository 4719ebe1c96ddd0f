"""The networks as nnx users use them: names, split and merge, jit, grad, training, streaming, dtypes, copies."""

import copy
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import convgru.flax as cf
from convgru import reference
from convgru.spec import network
from convgru.spec.shapes import parameter_shapes, state_leaves

STACKS = {"gru": cf.ConvGRU, "lstm": cf.ConvLSTM, "rnn": cf.ConvRNN}
SPECS = {
    "gru": network("gru", 2, [4, 3], [3, (2, 4)]),
    "gru-after": network("gru", 2, [4, 3], reset="after"),
    "lstm-valid": network("lstm", 2, [3, 2], padding="valid"),
    "rnn-1d": network("rnn", 2, 3, num_layers=2, ndim=1, activation="relu", bias=False),
    "gru-3d": network("gru", 1, 2, ndim=3),
}
SIZES = {1: (9,), 2: (7, 6), 3: (3, 4, 3)}


def make(weights, name, **options):
    spec = SPECS[name]
    x = np.random.default_rng(5).standard_normal((2, 4, *SIZES[spec.ndim], spec.in_channels)).astype("float32")
    return STACKS[spec.cell].from_spec(spec, arrays=weights(spec).arrays, **options), x


@pytest.fixture
def net():
    return cf.ConvGRU(2, [4, 3], rngs=nnx.Rngs(0))


@pytest.fixture
def x():
    return np.random.default_rng(5).standard_normal((2, 4, 5, 6, 2)).astype("float32")


def names(module):
    return {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(module))}


@pytest.mark.parametrize("name", SPECS)
def test_reference_both_layouts_and_steps(name, weights, random_state, error):
    net, x = make(weights, name)
    state = random_state(net.spec, 2, x.shape[2:-1])
    y, carry = net(x, state)
    first = tuple(
        tuple(np.moveaxis(a, -1, 1) for a in e) if isinstance(e, tuple) else np.moveaxis(e, -1, 1) for e in state
    )
    want, last = reference.run(weights(net.spec), np.moveaxis(x.swapaxes(0, 1), -1, 2), first)
    assert error(np.moveaxis(np.asarray(y).swapaxes(0, 1), -1, 2), want) < 5e-6
    for (_, got), (_, ref) in zip(state_leaves(net.spec, carry), state_leaves(net.spec, last), strict=True):
        assert error(np.moveaxis(np.asarray(got), -1, 1), ref) < 5e-6
    turned, _ = make(weights, name, time_major=True)[0](x.swapaxes(0, 1), state)
    assert error(turned.swapaxes(0, 1), y) < 1e-6
    running = state
    for t in range(x.shape[1]):
        frame, running = net.step(x[:, t], running)
        assert error(frame, y[:, t]) < 1e-6
    assert jax.tree.all(jax.tree.map(lambda a, b: error(a, b) < 1e-6, running, carry))


@pytest.mark.parametrize("name", SPECS)
def test_paths_are_the_canonical_names(name, weights):
    net, _ = make(weights, name)
    shapes = parameter_shapes(net.spec)
    assert names(net) == set(shapes)
    assert {n: a.shape for n, a in net.arrays().items()} == shapes
    assert list(net.arrays()) == list(shapes)


def test_split_merge_state_round_trip(net, x):
    want, _ = net(x)
    graphdef, state = nnx.split(net)
    assert hash(graphdef) == hash(nnx.split(cf.ConvGRU(2, [4, 3], rngs=nnx.Rngs(1)))[0])
    assert np.array_equal(nnx.merge(graphdef, state)(x)[0], want)
    fresh = cf.ConvGRU(2, [4, 3], rngs=nnx.Rngs(1))
    assert not np.array_equal(fresh(x)[0], want)
    pure = nnx.to_pure_dict(nnx.state(net))
    target = nnx.state(fresh)
    nnx.replace_by_pure_dict(target, pure)
    nnx.update(fresh, target)
    assert np.array_equal(fresh(x)[0], want)


@pytest.mark.parametrize("copier", [copy.deepcopy, nnx.clone])
def test_copies_are_independent(copier, net, x):
    want, _ = net(x)
    other = copier(net)
    assert type(other) is cf.ConvGRU
    assert other.spec == net.spec
    assert np.array_equal(other(x)[0], want)
    other.layers[0].fwd.bias[...] = other.layers[0].fwd.bias[...] + 1
    assert not np.array_equal(other(x)[0], want)
    assert np.array_equal(net(x)[0], want)


def test_jit_traces_once(net, x, error):
    traces = []

    @nnx.jit
    def call(net, x, carry):
        traces.append(1)
        return net(x, carry)

    y, carry = net(x)
    got, again = call(net, x, net.initialize_carry(x[:, 0].shape))
    assert error(got, y) < 1e-6
    call(net, x, again)
    call(nnx.clone(net), x, carry)
    assert len(traces) == 1


def test_grad_is_that_of_the_pure_function(net, x, error):
    def loss(net):
        return jnp.sum(jnp.sin(net(x)[0]))

    by_nnx = nnx.grad(loss)(net)
    graphdef, state = nnx.split(net)
    by_jax = jax.grad(lambda s: loss(nnx.merge(graphdef, s)))(state)
    flat = dict(nnx.to_flat_state(by_nnx))
    for path, want in nnx.to_flat_state(by_jax):
        assert error(flat[path][...], want[...]) < 1e-6
    plain = nnx.grad(loss)(cf.ConvGRU.from_spec(net.spec, arrays=net.arrays(), method="plain"))
    for path, want in nnx.to_flat_state(plain):
        assert error(flat[path][...], want[...]) < 1e-5
    path = ("layers", 1, "fwd", "bias")
    step, index = 1e-2, (2,)
    bias = net.layers[1].fwd.bias
    values = []
    for sign in (1, -1):
        kept = bias[...]
        bias[...] = kept.at[index].add(sign * step)
        values.append(float(loss(net)))
        bias[...] = kept
    assert flat[path][...][index] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-2)


@pytest.mark.parametrize("kind", STACKS)
def test_training_lowers_the_loss(kind, x):
    net = STACKS[kind](2, 4, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(net, optax.adam(1e-2), wrt=nnx.Param)
    target = jnp.tanh(jnp.cumsum(jnp.asarray(x), axis=1))[..., [0, 1, 0, 1]]

    @nnx.jit
    def train(net, optimizer):
        loss, slopes = nnx.value_and_grad(lambda net: jnp.mean((net(x)[0] - target) ** 2))(net)
        optimizer.update(net, slopes)
        return loss

    losses = [float(train(net, optimizer)) for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    assert all(later < earlier for earlier, later in pairwise(losses[:6]))


def test_an_ensemble_by_vmap(x, error):
    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def create(rngs):
        return cf.ConvLSTM(2, 3, rngs=rngs)

    nets = create(nnx.Rngs(0))
    assert nets.layers[0].fwd.weight_hh[...].shape == (3, 12, 3, 3, 3)
    ys, _ = nnx.vmap(lambda net, x: net(x), in_axes=(0, None))(nets, x)
    graphdef, state = nnx.split(nets)
    one, _ = nnx.merge(graphdef, jax.tree.map(lambda a: a[1], state))(x)
    assert error(ys[1], one) < 1e-6
    assert error(ys[0], one) > 1e-2


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, "float32"])
def test_dtype_casts_all_three(dtype, net, x, error):
    half = cf.ConvGRU.from_spec(net.spec, arrays=net.arrays(), dtype=dtype)
    y, carry = half(x, net.initialize_carry(x[:, 0].shape))
    assert y.dtype == carry[0].dtype == jnp.dtype(dtype)
    assert names(half) == names(net)
    assert half.arrays()["layers.0.fwd.bias"].dtype == jnp.float32
    assert error(y, net(x)[0]) < 8 * float(jnp.finfo(dtype).eps)
    cell = cf.ConvGRUCell(2, 3, dtype=dtype, rngs=nnx.Rngs(0))
    assert nnx.RNN(cell)(x).dtype == jnp.dtype(dtype)


def test_param_dtype(x):
    net = cf.ConvGRU(2, 3, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert {array.dtype for array in net.arrays().values()} == {jnp.dtype(jnp.bfloat16)}
    assert net(jnp.asarray(x, jnp.bfloat16))[0].dtype == jnp.bfloat16
    assert net.initialize_carry((1, 4, 4, 2))[0].dtype == jnp.bfloat16


def test_float64_follows_the_parameters(x, error):
    single = cf.ConvGRU(2, 3, rngs=nnx.Rngs(0))
    with jax.enable_x64(True):
        net = cf.ConvGRU(2, 3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        y, carry = net(x.astype("float64"))
        assert y.dtype == carry[0].dtype == jnp.float64
        assert single(x)[0].dtype == jnp.float32


def test_initial_parameters():
    net = cf.ConvLSTM(3, 4, 5, rngs=nnx.Rngs(0))
    arrays = {name.rpartition(".")[2]: np.asarray(array) for name, array in net.arrays().items()}
    assert np.array_equal(arrays["bias"], np.repeat([0, 1, 0, 0], 4))
    bound = np.sqrt(6 / ((3 + 4) * 25))
    assert 0.9 * bound < np.abs(arrays["weight_ih"]).max() <= bound
    for gate in arrays["weight_hh"].reshape(4, 4, -1):
        assert np.allclose(gate @ gate.T, np.eye(4), atol=1e-5)
    same, other = cf.ConvLSTM(3, 4, 5, rngs=nnx.Rngs(0)), cf.ConvLSTM(3, 4, 5, rngs=nnx.Rngs(1))
    assert np.array_equal(same.layers[0].fwd.weight_ih[...], arrays["weight_ih"])
    assert not np.array_equal(other.layers[0].fwd.weight_ih[...], arrays["weight_ih"])


def test_repr_and_attributes(net):
    text = repr(net)
    for part in ("ConvGRU(", "weight_ih=Param(", "shape=(12, 2, 3, 3)", "kernel_size=(3, 3)", "time_major=False"):
        assert part in text
    assert (net.in_features, net.out_features) == (2, 3)
    assert (net.layers[1].fwd.in_features, net.layers[1].fwd.hidden_features) == (4, 3)
    assert net.spec == network("gru", 2, [4, 3])
    assert net.layers[1].fwd.spec == network("gru", 4, 3)


def test_abstract_modules():
    net = nnx.eval_shape(lambda: cf.ConvGRU(2, [4, 3], rngs=nnx.Rngs(0)))
    found = {".".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(nnx.state(net))}
    assert {n: leaf.shape for n, leaf in found.items()} == parameter_shapes(net.spec)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in found.values())


def test_carry_goes_on(net, x, error):
    y, last = net(x)
    a, carry = net(x[:, :2])
    b, end = net(x[:, 2:], carry)
    assert error(jnp.concatenate([a, b], axis=1), y) < 1e-6
    assert all(error(one, two) < 1e-6 for one, two in zip(end, last, strict=True))
    assert error(net(x[:, 2:])[0], b) > 1e-4
