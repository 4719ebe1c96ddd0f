"""The networks under nnx and JAX transformations: split, merge, copies, jit, grad, vmap, detach."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import assert_close, relative_error

import convgru.flax as cf


@pytest.fixture
def net():
    return cf.ConvGRU(2, [4, 3], rngs=nnx.Rngs(0))


@pytest.fixture
def x():
    return np.random.default_rng(5).standard_normal((2, 4, 5, 6, 2)).astype("float32")


def images(batch=2, time=4, channels=2, size=(7,)):
    return np.random.default_rng(5).standard_normal((batch, time, *size, channels)).astype("float32")


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


def test_jit_traces_once(net, x):
    traces = []

    @nnx.jit
    def call(net, x, carry):
        traces.append(1)
        return net(x, carry)

    y, carry = net(x)
    got, again = call(net, x, net.initialize_carry(x[:, 0].shape))
    assert_close(got, y, eps=8)
    call(net, x, again)
    call(nnx.clone(net), x, carry)
    assert len(traces) == 1


def test_grad_is_that_of_the_pure_function(net, x):
    def loss(net):
        return jnp.sum(jnp.sin(net(x)[0]))

    by_nnx = nnx.grad(loss)(net)
    graphdef, state = nnx.split(net)
    by_jax = jax.grad(lambda s: loss(nnx.merge(graphdef, s)))(state)
    flat = dict(nnx.to_flat_state(by_nnx))
    for path, want in nnx.to_flat_state(by_jax):
        assert_close(flat[path][...], want[...], eps=8)
    plain = nnx.grad(loss)(cf.ConvGRU.from_spec(net.spec, arrays=net.arrays(), method="plain"))
    for path, want in nnx.to_flat_state(plain):
        assert_close(flat[path][...], want[...], eps=84)
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


def test_an_ensemble_by_vmap(x):
    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def create(rngs):
        return cf.ConvLSTM(2, 3, rngs=rngs)

    nets = create(nnx.Rngs(0))
    assert nets.layers[0].fwd.weight_hh[...].shape == (3, 12, 3, 3, 3)
    ys, _ = nnx.vmap(lambda net, x: net(x), in_axes=(0, None))(nets, x)
    graphdef, state = nnx.split(nets)
    one, _ = nnx.merge(graphdef, jax.tree.map(lambda a: a[1], state))(x)
    assert_close(ys[1], one, eps=8)
    assert relative_error(ys[0], one) > 1e-2


def test_detach():
    net, x = cf.ConvLSTM(2, 3, ndim=1, rngs=nnx.Rngs(0)), jnp.asarray(images())

    def loss(x, cut):
        _, carry = net(x)
        return jnp.sum(net(x[:, :1] * 0, cf.detach(carry) if cut else carry)[0])

    assert np.any(jax.grad(loss)(x, False))
    assert not np.any(jax.grad(loss)(x, True))
