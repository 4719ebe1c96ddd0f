"""What a call may bring and ask for: lengths, context, the last frame, all layers, batch first."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from convgru import jax as face
from convgru import network
from convgru.spec.shapes import context_shapes

SMALL = {"ndim": 1}


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


SPECS = {"one-way": ONE_WAY, "both": BOTH, "stack": STACK, "pooled": network("gru", 2, 3, output_size=4, **SMALL)}


@pytest.mark.parametrize("name", SPECS)
def test_lengths_are_each_sample_alone(name, net, error):
    """Traced lengths act as concrete ones; padding, even NaN, changes no sample's results."""
    one = net(SPECS[name], (7,), time=5, batch=3)
    past = np.arange(5)[:, None] >= LENGTHS
    one.x = np.where(past[..., None, None], np.nan, one.x).astype("float32")
    context = [np.where(past[..., None, None], np.nan, a).astype("float32") for a in timed_context(one, time=5)]
    y, final = run(one, lengths=LENGTHS, context=context)

    @jax.jit
    def traced(params, x, state, lengths):
        def loss(params, x, state):
            results = face.apply(one.spec, params, x, state, lengths=lengths, context=context)
            return sum((leaf**2).sum() for leaf in jax.tree.leaves(results)), results

        return jax.grad(loss, (0, 1, 2), has_aux=True)(params, x, state)

    slopes, results = traced(one.params, one.x, one.state, LENGTHS)
    assert error(results, (y, final)) < 1e-6
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    assert not np.asarray(slopes[1])[past].any()
    assert np.asarray(slopes[1])[~past].any()
    for b, n in enumerate(LENGTHS):
        begin = jax.tree.map(lambda a, b=b: a[b : b + 1], one.state)
        if n:
            contexts = [a[:n, b : b + 1] for a in context]
            alone = face.apply(one.spec, one.params, one.x[:n, b : b + 1], begin, context=contexts)
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
    """No array of the program has the shape of the top layer's outputs, or of one direction's."""
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


def test_batch_first_is_a_transpose_of_the_call(net, error):
    one = net(BOTH, (6,), time=3)
    context = timed_context(one, time=3)
    y, final = run(one, context=context, lengths=np.array([2, 3]))
    turned = [np.swapaxes(a, 0, 1) for a in context]
    x = np.swapaxes(one.x, 0, 1)
    options = {"context": turned, "lengths": np.array([2, 3]), "time_major": False}
    got, same = face.apply(one.spec, one.params, x, one.state, **options)
    assert error((np.swapaxes(got, 0, 1), same), (y, final)) == 0
    layers, _ = face.apply(one.spec, one.params, x, one.state, return_all_layers=True, **options)
    assert error(np.swapaxes(layers[-1], 0, 1), y) < 1e-6
    with pytest.raises(ValueError, match=r"context\[0\] expected shape \(2, 3, 6, 9\), got \(3, 2, 6, 9\)"):
        face.apply(one.spec, one.params, x, one.state, context=context, time_major=False)


def test_traced_lengths_are_clipped(net):
    """A length of 9 is one of 5, and -2 is 0: no NaN, and no frame that is not there."""
    one = net(BOTH, (4,), time=5)
    last = jax.jit(lambda lengths: run(one, lengths=lengths, last_only=True, return_all_layers=True))
    jax.tree.map(np.testing.assert_array_equal, last(jnp.array([9, -2])), last(jnp.array([5, 0])))


EMPTY = {
    "norm": network("lstm", 2, 2, norm=2, **SMALL),
    "groups": network("gru", 2, 2, groups=2, **SMALL),
    "many-groups": network("rnn", 18, 18, groups=9, **SMALL),
}


@pytest.mark.parametrize("method", ["fast", "plain"])
@pytest.mark.parametrize("name", EMPTY)
def test_a_batch_may_be_empty(name, method):
    spec = EMPTY[name]
    params, x = face.init(spec, jax.random.key(0)), jnp.zeros((2, 0, 4, spec.in_channels))
    (total, y), slopes = jax.value_and_grad(
        lambda params: (lambda y: (y.sum(), y))(face.apply(spec, params, x, method=method)[0]), has_aux=True
    )(params)
    assert (float(total), y.shape) == (0, (2, 0, 4, spec.out_channels))
    assert not any(np.any(slope) for slope in slopes.values())
