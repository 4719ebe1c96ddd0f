"""The forecaster: against the reference, layouts, streaming step, gradient through predictions."""

import inspect

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from support import assert_close, relative_error

import convgru.flax as cf
from convgru import reference
from convgru.spec import forecaster
from convgru.spec.shapes import parameter_shapes

SPECS = {
    "gru-patch": forecaster("gru", 2, [4, 3], patch=(2, 3)),
    "lstm": forecaster("lstm", 1, 3, residual=False),
    "rnn-1d": forecaster("rnn", 2, 3, ndim=1, patch=2),
}
SIZES = {1: (8,), 2: (4, 6)}


def frames(spec, batch=2, time=3):
    shape = (batch, time, *SIZES[spec.ndim], spec.channels)
    return np.random.default_rng(8).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", SPECS)
def test_reference(name, steps, weights, random_state):
    spec = SPECS[name]
    net, x = cf.Forecaster.from_spec(spec, arrays=weights(spec).arrays), frames(spec)
    got, carry = net(x, steps)
    want, last = reference.run(weights(spec), np.moveaxis(x.swapaxes(0, 1), -1, 2), steps=steps)
    assert_close(np.moveaxis(np.asarray(got).swapaxes(0, 1), -1, 2), want, eps=84)
    h, ref = (carry[0][0], last[0][0]) if name == "lstm" else (carry[0], last[0])
    assert_close(np.moveaxis(np.asarray(h), -1, 1), ref, eps=84)


def test_time_major_and_carry(weights, random_state):
    spec = SPECS["gru-patch"]
    net, x = cf.Forecaster.from_spec(spec, arrays=weights(spec).arrays), frames(spec)
    state = random_state(spec, 2, SIZES[2])
    want, _ = net(x, 3, state)
    turned = cf.Forecaster.from_spec(spec, arrays=weights(spec).arrays, time_major=True)
    assert_close(turned(x.swapaxes(0, 1), 3, state)[0].swapaxes(0, 1), want, eps=8)
    assert relative_error(net(x, 3)[0], want) > 1e-3
    assert net.initialize_carry(x[:, 0].shape)[0].shape == (2, 2, 2, 4)


def test_steps_one_by_one(weights):
    spec = SPECS["gru-patch"]
    net, x = cf.Forecaster.from_spec(spec, arrays=weights(spec).arrays), frames(spec)
    want, last = net(x, 3)
    carry = None
    for t in range(x.shape[1]):
        frame, carry = net.step(x[:, t], carry)
    for t in range(3):
        assert_close(frame, want[:, t], eps=8)
        if t < 2:
            frame, carry = net.step(frame, carry)
    assert_close(carry[1], last[1], eps=8)


def test_names_and_repr():
    net = cf.Forecaster("lstm", 1, [4, 3], patch=2, rngs=nnx.Rngs(0))
    paths = {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(net))}
    assert paths == set(parameter_shapes(net.spec)) == set(net.arrays())
    assert net.spec == forecaster("lstm", 1, [4, 3], patch=2)
    assert isinstance(net.encoder, cf.ConvLSTM)
    assert "forecaster('lstm', 1, [4, 3], kernel_size=3, num_layers=2, patch=2)" in repr(net)


def test_training_through_its_own_predictions():
    """Frames move one pixel a step; the second prediction's loss trains readout and encoder."""
    net = cf.Forecaster("gru", 1, 8, rngs=nnx.Rngs(0))
    start = np.random.default_rng(1).standard_normal((4, 8, 8)).astype("float32")
    movie = jnp.stack([jnp.roll(start, t, axis=2) for t in range(6)], axis=1)[..., None]
    optimizer = nnx.Optimizer(net, optax.adam(2e-2), wrt=nnx.Param)

    @nnx.jit
    def train(net, optimizer):
        def loss(net):
            return jnp.mean((net(movie[:, :4], steps=2)[0][:, 1] - movie[:, 5]) ** 2)

        value, slopes = nnx.value_and_grad(loss)(net)
        optimizer.update(net, slopes)
        return value

    losses = [float(train(net, optimizer)) for _ in range(40)]
    assert losses[-1] < 0.7 * losses[0]


def images(batch=2, time=4, channels=2, size=(7,)):
    return np.random.default_rng(5).standard_normal((batch, time, *size, channels)).astype("float32")


def test_teacher_forcing(weights):
    spec = forecaster("gru", 1, 3, ndim=1, patch=2, decoder=True)
    arrays = weights(spec).arrays
    x, targets = images(2, 3, 1, (8,)), images(2, 4, 1, (8,))
    forced = np.random.default_rng(0).random((2, 4)) < 0.5
    forced[:, 0] = True, False
    net = cf.Forecaster.from_spec(spec, arrays=arrays, deterministic=False)
    turned = cf.Forecaster.from_spec(spec, arrays=arrays, time_major=True)
    taught, _ = net(x, 4, targets=targets, forced=forced)
    other, _ = turned(x.swapaxes(0, 1), 4, targets=targets.swapaxes(0, 1), forced=forced.T)
    assert_close(other.swapaxes(0, 1), taught, eps=8)
    free, _ = net(x, 4)
    assert relative_error(taught, free) > 1e-3
    always, _ = net(x, 4, targets=targets, forced=np.ones((2, 4), bool))
    assert_close(net(x, 4, targets=targets, teacher_forcing=1.0, rngs=nnx.Rngs(0))[0], always, eps=8)
    assert_close(net(x, 4, targets=targets, teacher_forcing=1.0, deterministic=True)[0], free, eps=8)
    with pytest.raises(
        ValueError,
        match=r"Forecaster expected rngs to draw teacher forcing from, in the constructor, in the call or in convgru.build",
    ):
        net(x, 4, targets=targets, teacher_forcing=0.5)


def test_a_forecaster_in_training():
    net = cf.Forecaster("gru", 1, [3, 2], ndim=1, decoder=True, dropout=0.4, rngs=nnx.Rngs(0))
    x = images(2, 3, 1)
    assert relative_error(net(x, 3)[0], net(x, 3)[0]) > 1e-4
    net.eval()
    assert relative_error(net(x, 3)[0], net(x, 3)[0]) == 0
    assert net.step(x[:, 0])[0].shape == x[:, 0].shape


def test_the_signature_leaves_reset_to_the_cell():
    """Only a GRU's default is ``before``; tools that make a network from its signature pass it."""
    assert inspect.signature(cf.Forecaster.__init__).parameters["reset"].default is None
