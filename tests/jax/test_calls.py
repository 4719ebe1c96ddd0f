"""What a call may bring: lengths, context, masks, keys; what it may ask for; streaming, truncation,
teacher forcing.
"""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from convgru import forecaster, network
from convgru import jax as face
from convgru.spec.shapes import context_shapes

SMALL = {"ndim": 1}
DROPPING = network("lstm", 2, [3, 4], dropout=0.3, recurrent_dropout=0.4, zoneout=0.2, **SMALL)
BOTH = network("gru", 2, [3, 4], bidirectional=True, **SMALL)
STACK = network("gru", 2, [3, 4], bidirectional="stack", merge="sum", **SMALL)
ONE_WAY = network("lstm", 2, [3, 4], **SMALL)
LENGTHS = np.array([2, 5, 0])


def run(net, **options):
    return face.apply(net.spec, net.params, net.x, net.state, **options)


def timed_context(net, *, time):
    """For each entry of the state random numbers (T, B, *S, G·H)."""
    rng = np.random.default_rng(2)
    shapes = context_shapes(net.spec, net.x.shape[1], net.x.shape[2:-1])
    return [rng.standard_normal((time, b, *size, rows)).astype("float32") for b, rows, *size in shapes]


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
    """Where everything is linear: h' = relu(W*x), far from zero, dropped and read by a layer that
    copies.
    """
    spec = network("rnn", 1, [1, 1], 1, dropout=0.5, activation="relu", **SMALL)
    params = {
        name: jnp.ones_like(a) if "weight_ih" in name else jnp.zeros_like(a)
        for name, a in face.init(spec, jax.random.key(0)).items()
    }
    x = jnp.ones((1, 1, 4000, 1))
    y, _ = face.apply(spec, params, x, key=jax.random.key(1))
    assert set(np.unique(y)) == {0.0, 2.0}
    assert abs(y.mean() - 1) < 0.1


SPECS = {"one-way": ONE_WAY, "both": BOTH, "stack": STACK, "pooled": network("gru", 2, 3, output_size=4, **SMALL)}


@pytest.mark.parametrize("name", SPECS)
def test_lengths_are_each_sample_alone(name, net, error):
    """Traced lengths are concrete ones, NaN in the padding does nothing, and every sample is what
    it is without padding.
    """
    one = net(SPECS[name], (7,), time=5, batch=3)
    past = np.arange(5)[:, None] >= LENGTHS
    one.x = np.where(past[..., None, None], np.nan, one.x).astype("float32")
    context = [np.where(past[..., None, None], np.nan, a).astype("float32") for a in timed_context(one, time=5)]
    y, final = run(one, lengths=LENGTHS, context=context)

    @jax.jit
    def traced(params, x, state, lengths):
        def loss(params, x, state):
            found = face.apply(one.spec, params, x, state, lengths=lengths, context=context)
            return sum((leaf**2).sum() for leaf in jax.tree.leaves(found)), found

        return jax.grad(loss, (0, 1, 2), has_aux=True)(params, x, state)

    slopes, found = traced(one.params, one.x, one.state, LENGTHS)
    assert error(found, (y, final)) < 1e-6
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    assert not np.asarray(slopes[1])[past].any()
    assert np.asarray(slopes[1])[~past].any()
    for b, n in enumerate(LENGTHS):
        begin = jax.tree.map(lambda a, b=b: a[b : b + 1], one.state)
        if n:
            own = [a[:n, b : b + 1] for a in context]
            alone = face.apply(one.spec, one.params, one.x[:n, b : b + 1], begin, context=own)
            assert error((y[:n, b : b + 1], jax.tree.map(lambda a, b=b: a[b : b + 1], final)), alone) < 1e-6
        else:
            assert error(jax.tree.map(lambda a, b=b: a[b : b + 1], final), begin) == 0
        assert not np.asarray(y[n:, b]).any()


def test_unsigned_lengths_do_not_wrap(net):
    """Frame 255 is not the last one of a sample without frames, though 0 - 1 is 255 in 8 bits."""
    one = net(network("gru", 1, 1, bidirectional=True, **SMALL), (2,), time=257)
    y, _ = run(one, lengths=np.array([0, 200], np.uint8), last_only=True)
    wanted, _ = run(one, lengths=np.array([0, 200]), last_only=True)
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", SPECS)
def test_last_frame_and_all_layers(name, lengths, net, error):
    one = net(SPECS[name], (7,), time=5, batch=3)
    y, final = run(one, lengths=lengths)
    layers, same = run(one, lengths=lengths, return_all_layers=True)
    assert len(layers) == len(one.spec.layers)
    assert error((layers[-1], same), (y, final)) < 1e-6

    def last(a):
        ends = [5] * 3 if lengths is None else lengths
        return np.stack([a[n - 1, b] if n else np.zeros_like(a[0, b]) for b, n in enumerate(ends)])

    got, same = run(one, lengths=lengths, last_only=True)
    assert error((got, same), (last(y), final)) < 1e-6
    got, _ = run(one, lengths=lengths, last_only=True, return_all_layers=True)
    assert error(got, tuple(map(last, layers))) < 1e-6


@pytest.mark.parametrize("name", ["one-way", "both"])
def test_last_only_keeps_no_other_frames(name, net):
    """No array of the program has the shape of the top layer's outputs, or with both directions of
    their parts.
    """
    one = net(SPECS[name], (7,), time=6)
    programs = {
        last: str(jax.make_jaxpr(lambda p, last=last: face.apply(one.spec, p, one.x, last_only=last))(one.params))
        for last in (False, True)
    }
    assert "f32[6,2,7,4]" in programs[False]
    assert "f32[6,2,7,4]" not in programs[True]


@pytest.mark.parametrize("timed", [False, True], ids=["fixed", "timed"])
def test_step_with_context_is_apply_frame_by_frame(timed, net, error):
    one = net(network("gru", 2, [3, 2], reset="after", zoneout=0.3, output_size=4, **SMALL), (7,), time=3)
    rng = np.random.default_rng(0)
    context = [rng.standard_normal((*(3,) * timed, 2, 4, 3 * h)).astype("float32") for h in (3, 2)]
    y, final = run(one, context=context)
    assert error(y, run(one)[0]) > 1e-2
    state = one.state
    for t, frame in enumerate(one.x):
        out, state = face.step(one.spec, one.params, frame, state, context=[a[t] if timed else a for a in context])
        assert error(out, y[t]) < 1e-6
    assert error(state, final) < 1e-6


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
        found = face.forecast(one.spec, one.params, one.x, 4, targets=targets, teacher_forcing=sure, key=key)
        assert error(found, wanted) < 1e-6
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
