"""Training on JAX: masks and keys, dropout, truncated backpropagation."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from convgru import forecaster, network
from convgru import jax as face

SMALL = {"ndim": 1}


DROPPING = network("lstm", 2, [3, 4], dropout=0.3, recurrent_dropout=0.4, zoneout=0.2, **SMALL)


ONE_WAY = network("lstm", 2, [3, 4], **SMALL)


def run(net, **options):
    return face.apply(net.spec, net.params, net.x, net.state, **options)


def test_masks_have_the_right_scale():
    masks = face.draw_masks(DROPPING, jax.random.key(0), 50, 8, (20,))
    assert set(masks) == {
        "dropout.0",
        *(f"recurrent.{i}" for i in (0, 1)),
        *(f"zoneout.{i}.{p}" for i in (0, 1) for p in "hc"),
    }
    assert {n: m.shape for n, m in masks.items() if ".0" in n} == {
        "dropout.0": (50, 8, 20, 3),
        "recurrent.0": (8, 20, 3),
        "zoneout.0.h": (50, 8, 20, 3),
        "zoneout.0.c": (50, 8, 20, 3),
    }
    for name, mask in masks.items():
        high = {"dropout": 1 / 0.7, "recurrent": 1 / 0.6, "zoneout": 1}[name.split(".")[0]]
        assert np.isin(mask, np.float32([0, high])).all()
        assert abs(mask.mean() - (0.2 if high == 1 else 1)) < 4 * high / np.sqrt(mask.size)
    assert not np.array_equal(masks["zoneout.0.h"], masks["zoneout.0.c"])
    assert {str(m.dtype) for m in face.draw_masks(DROPPING, jax.random.key(0), 2, 1, (4,), "bfloat16").values()} == {
        "bfloat16"
    }
    assert face.draw_masks(ONE_WAY, jax.random.key(0), 2, 1, (4,)) == {}


def test_a_key_draws_the_masks_and_no_key_is_evaluation(net, error):
    one = net(DROPPING, (6,), time=4)
    masks = face.draw_masks(DROPPING, jax.random.key(3), 4, 2, (6,))
    trained = run(one, key=jax.random.key(3))
    assert error(trained, run(one, masks=masks)) < 1e-6
    assert error(trained, run(one, key=jax.random.key(4), masks=masks)) < 1e-6
    assert error(trained, run(one, key=jax.random.key(4))) > 1e-2
    assert error(trained, run(one)) > 1e-2
    one.spec = network("lstm", 2, [3, 4], zoneout=0.2, **SMALL)
    masks = {n: jnp.full_like(m, 0.2) for n, m in masks.items() if n.startswith("zoneout")}
    assert error(run(one), run(one, masks=masks)) < 1e-6
    one.spec = network("lstm", 2, [3, 4], dropout=0.3, recurrent_dropout=0.4, **SMALL)
    unmasked = run(one)
    one.spec = ONE_WAY
    assert error(unmasked, run(one, key=jax.random.key(0))) < 1e-6


def test_dropout_is_right_in_the_mean(net):
    """A linear network: h' = relu(W*x), far from zero, dropped and read by a layer that copies."""
    spec = network("rnn", 1, [1, 1], 1, dropout=0.5, activation="relu", **SMALL)
    params = {
        name: jnp.ones_like(a) if "weight_ih" in name else jnp.zeros_like(a)
        for name, a in face.init(spec, jax.random.key(0)).items()
    }
    x = jnp.ones((1, 1, 4000, 1))
    y, _ = face.apply(spec, params, x, key=jax.random.key(1))
    assert set(np.unique(y)) == {0.0, 2.0}
    assert abs(y.mean() - 1) < 0.1


def test_step_in_training_takes_its_masks_from_the_key(net, error):
    one = net(DROPPING, (6,))
    masks = face.draw_masks(DROPPING, jax.random.key(3), 1, 2, (6,))
    want, _ = face.apply(one.spec, one.params, one.x[:1], one.state, masks=masks)
    for given in ({"masks": masks}, {"key": jax.random.key(3)}):
        got, _ = face.step(one.spec, one.params, one.x[0], one.state, **given)
        assert error(got, want[0]) < 1e-6


def test_detach_cuts_the_past(net, error):
    one = net(ONE_WAY, (6,), time=4)

    def loss(first, keep):
        _, state = face.apply(one.spec, one.params, first, one.state)
        y, _ = face.apply(one.spec, one.params, one.x[2:], state if keep else face.detach(state))
        return (y**2).sum()

    assert np.abs(jax.grad(loss)(jnp.asarray(one.x[:2]), True)).max() > 1e-3
    assert not np.any(jax.grad(loss)(jnp.asarray(one.x[:2]), False))
    assert loss(one.x[:2], True) == pytest.approx(float(loss(one.x[:2], False)))
    state = face.detach(one.state)
    assert jax.tree.structure(state) == jax.tree.structure(one.state)


@pytest.mark.parametrize("frames", [None, 100])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gradients_are_summed_over_time_in_float32(dtype, frames):
    """Each of 600 frames adds one to every gradient; in bfloat16 256 + 1 is 256."""
    spec, time = network("rnn", 1, 1, 1, activation="relu", **SMALL), 600
    params = {
        name: jnp.full(a.shape, name.endswith("bias"), dtype) for name, a in face.init(spec, jax.random.key(0)).items()
    }
    context = (jnp.zeros((1, 1, 1), dtype),)

    def loss(params, context):
        y, _ = face.apply(spec, params, jnp.ones((time, 1, 1, 1), dtype), context=context, checkpoint_frames=frames)
        return y.astype("float32").sum()

    for slope in jax.tree.leaves(jax.grad(loss, (0, 1))(params, context)):
        assert slope.dtype == jnp.dtype(dtype)
        assert float(slope.ravel()[0]) == pytest.approx(time, rel=5e-3)


def test_a_blind_decoders_gradients_are_summed_over_its_steps_in_float32():
    """It reads zeros, convolved once for all steps; 600 of them each add one to its bias."""
    spec = forecaster("rnn", 1, 1, 1, decoder=True, feedback=False, residual=False, activation="relu", **SMALL)
    params = face.init(spec, jax.random.key(0), "bfloat16")
    ones = ("readout.weight", "decoder.layers.0.fwd.bias")
    params = {name: jnp.full_like(a, name in ones) for name, a in params.items()}

    def loss(params):
        return face.forecast(spec, params, jnp.ones((1, 1, 1, 1), "bfloat16"), 600)[0].astype("float32").sum()

    slopes = jax.grad(loss)(params)
    for name in ("decoder.layers.0.fwd.bias", "readout.weight", "readout.bias"):
        assert float(slopes[name].ravel()[0]) == pytest.approx(600, rel=5e-3)
