"""Training and evaluation in nnx's idiom: which masks are drawn; an optimizer lowers the loss."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from support import assert_close, relative_error

import convgru.flax as cf
import convgru.jax as cj
from convgru.spec.shapes import parameter_shapes

STACKS = {"gru": cf.ConvGRU, "lstm": cf.ConvLSTM, "rnn": cf.ConvRNN}
DROPPING = {"dropout": 0.3, "recurrent_dropout": 0.4, "zoneout": 0.2}


@pytest.fixture
def x():
    return np.random.default_rng(5).standard_normal((2, 4, 5, 6, 2)).astype("float32")


def images(batch=2, time=4, channels=2, size=(7,)):
    return np.random.default_rng(5).standard_normal((batch, time, *size, channels)).astype("float32")


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


def test_training_and_evaluation_in_nnxs_idiom():
    def make(seed=0, **more):
        return cf.ConvGRU(2, [3, 4], ndim=1, rngs=nnx.Rngs(0, dropout=seed), **DROPPING, **more)

    net, x = make(), images()
    assert net.deterministic is False
    first, second = net(x)[0], net(x)[0]
    assert relative_error(first, second) > 1e-2
    assert relative_error(make()(x)[0], first) == 0
    assert relative_error(make(1)(x)[0], first) > 1e-2
    net.eval()
    still = net(x)[0]
    assert np.array_equal(net(x)[0], still)
    assert relative_error(make(deterministic=True)(x)[0], still) == 0
    assert relative_error(make()(x, deterministic=True)[0], still) == 0
    assert relative_error(nnx.view(make(), deterministic=True)(x)[0], still) == 0
    plain, _ = cj.apply(net.spec, net.arrays(), x.swapaxes(0, 1))
    assert_close(plain.swapaxes(0, 1), still, eps=8)
    net.train()
    assert relative_error(net(x)[0], still) > 1e-2
    key = jax.random.key(7)
    drawn, _ = cj.apply(net.spec, net.arrays(), x.swapaxes(0, 1), key=key)
    assert_close(net(x, rngs=key)[0], drawn.swapaxes(0, 1), eps=8)
    assert relative_error(net.step(x[:, 0])[0], net.step(x[:, 0])[0]) > 1e-2


def test_the_stream_goes_on_under_jit_and_grad():
    net, x = cf.ConvLSTM(2, 3, ndim=1, recurrent_dropout=0.5, rngs=nnx.Rngs(0)), images()

    @nnx.jit
    def train(net, x):
        return nnx.value_and_grad(lambda net: jnp.mean(net(x)[0] ** 2))(net)

    (one, slopes), (two, _) = train(net, x), train(net, x)
    assert one != two
    assert {".".join(map(str, path)) for path, _ in nnx.to_flat_state(slopes)} == set(parameter_shapes(net.spec))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_without_dropout_a_module_keeps_no_stream():
    net = cf.ConvGRU(2, 3, dropout=0.5, rngs=nnx.Rngs(0))  # of one layer: nothing to drop
    assert net.rngs is None
    assert set(nnx.state(net, nnx.RngState)) == set()
    assert np.array_equal(
        net(np.ones((1, 2, 4, 4, 2), "float32"))[0], net.eval() or net(np.ones((1, 2, 4, 4, 2), "float32"))[0]
    )
