"""Forecasters on JAX: feeding on predictions, teacher forcing, training, batch first."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from convgru import forecaster
from convgru import jax as face

SMALL = {"ndim": 1}


CASTER = forecaster("lstm", 1, [3, 2], patch=(2, 1))


def test_forecast_is_feeding_on_its_own_predictions(net, error):
    """Three steps are one step, made three times on the frames so far; and the state carries on."""
    one = net(CASTER, (4, 3), steps=3)
    frames, _ = face.forecast(one.spec, one.params, one.x, 3, one.state)
    seen = jnp.asarray(one.x)
    for _ in range(3):
        (frame,), state = face.forecast(one.spec, one.params, seen, 1, one.state)
        seen = jnp.concatenate([seen, frame[None]])
    assert error(frames, seen[-3:]) < 1e-6
    _, before = face.forecast(one.spec, one.params, one.x[:2], 1, one.state)
    (carried, _), (whole, _) = (
        face.forecast(one.spec, one.params, one.x[2:], 1, before),
        face.forecast(one.spec, one.params, one.x, 1, one.state),
    )
    assert error(carried, whole) < 1e-6
    assert not np.allclose(state[0][0], before[0][0])


TEACHABLE = {
    "decoder": forecaster("gru", 1, [3, 2], patch=2, decoder=True, **SMALL),
    "encoder": forecaster("lstm", 1, 3, patch=2, **SMALL),
}


@pytest.mark.parametrize("name", TEACHABLE)
def test_teacher_forcing(name, net, error):
    one = net(TEACHABLE[name], (8,), steps=4)
    targets = np.random.default_rng(1).standard_normal((4, *one.x.shape[1:])).astype("float32")

    @jax.jit
    def taught(probability, key):
        return face.forecast(one.spec, one.params, one.x, 4, targets=targets, teacher_forcing=probability, key=key)

    def forced(where):
        return face.forecast(one.spec, one.params, one.x, 4, targets=targets, forced=where)

    key = jax.random.key(0)
    everywhere, nowhere = forced(np.ones((4, 2), bool)), forced(np.zeros((4, 2), bool))
    assert error(taught(1.0, key), everywhere) < 1e-6
    assert error(taught(0.0, key), nowhere) < 1e-6
    for sure, wanted in ((1, everywhere), (True, everywhere), (np.int64(0), nowhere)):
        forecast = face.forecast(one.spec, one.params, one.x, 4, targets=targets, teacher_forcing=sure, key=key)
        assert error(forecast, wanted) < 1e-6
    assert error(nowhere, face.forecast(one.spec, one.params, one.x, 4)) < 1e-6
    assert error(everywhere, nowhere) > 1e-2
    half = [np.asarray(taught(0.5, jax.random.key(seed))[0]) for seed in range(3)]
    assert not np.array_equal(half[0], half[1]) or not np.array_equal(half[0], half[2])
    first = np.zeros((4, 2), bool)
    first[1, 0] = True
    got = np.asarray(forced(first)[0])
    same = got == np.asarray(nowhere[0])
    assert same[:2].all()
    assert same[:, 1].all()
    assert not same[2, 0].all()


def test_forecaster_in_training_draws_from_its_key(net, error):
    spec = forecaster("gru", 1, [3, 2], patch=2, decoder=True, dropout=0.3, recurrent_dropout=0.2, zoneout=0.2, **SMALL)
    one = net(spec, (8,), steps=3)
    one_key, other = (face.forecast(spec, one.params, one.x, 3, key=jax.random.key(s))[0] for s in (0, 1))
    still = face.forecast(spec, one.params, one.x, 3)[0]
    assert error(one_key, face.forecast(spec, one.params, one.x, 3, key=jax.random.key(0))[0]) == 0
    assert min(error(one_key, other), error(one_key, still)) > 1e-3


def test_blind_decoder_reads_nothing(net, error):
    """Its frames do not depend on the predictions before: a residual chain of readouts alone."""
    spec = forecaster("gru", 1, 3, decoder=True, feedback=False, residual=False, **SMALL)
    one = net(spec, (6,), steps=4)
    targets = np.ones((4, *one.x.shape[1:]), "float32")
    taught = face.forecast(spec, one.params, one.x, 4, targets=targets, forced=np.ones((4, 2), bool))
    assert error(taught, face.forecast(spec, one.params, one.x, 4)) == 0


def test_batch_first_is_a_transpose_of_the_forecast(net, error):
    one = net(TEACHABLE["encoder"], (8,), steps=3)
    targets = np.random.default_rng(1).standard_normal((3, *one.x.shape[1:])).astype("float32")
    forced = np.array([[True, False], [False, True], [True, True]])
    frames, state = face.forecast(one.spec, one.params, one.x, 3, one.state, targets=targets, forced=forced)
    x, targets = np.swapaxes(one.x, 0, 1), np.swapaxes(targets, 0, 1)
    options = {"targets": targets, "forced": forced.T, "time_major": False}
    got, same = face.forecast(one.spec, one.params, x, 3, one.state, **options)
    assert error((np.swapaxes(got, 0, 1), same), (frames, state)) == 0


def test_zero_state_is_what_no_state_means(net, error):
    one = net(CASTER, (4, 3), steps=2)
    state = face.zero_state(CASTER, 2, (4, 3))
    given = face.forecast(CASTER, one.params, one.x, 2, state)
    assert error(face.forecast(CASTER, one.params, one.x, 2), given) == 0
