"""Both directions, lengths, context, training and evaluation, teacher forcing, as nnx users write them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import convgru
import convgru.flax as cf
import convgru.jax as cj
from convgru import registry
from convgru.spec import Norm, forecaster, network
from convgru.spec.shapes import layer_prefix, parameter_shapes
from convgru_flax import checkpoint

CELLS = {"gru": cf.ConvGRUCell, "lstm": cf.ConvLSTMCell, "rnn": cf.ConvRNNCell}
STACKS = {"gru": cf.ConvGRU, "lstm": cf.ConvLSTM, "rnn": cf.ConvRNN}
ONE_LAYER = {
    "gru-norm": ("gru", {"norm": 1, "reset": "after"}),
    "gru-updates": ("gru", {"updates": (3, 1)}),
    "gru-groups-strided": ("gru", {"in_channels": 4, "hidden_channels": 4, "groups": 2, "stride": 2}),
    "lstm-peephole": ("lstm", {"peephole": "conv", "padding_mode": "circular"}),
    "lstm-tied": ("lstm", {"peephole": "hadamard", "state_size": 7, "recurrent_activation": "hard_sigmoid"}),
}
DROPPING = {"dropout": 0.3, "recurrent_dropout": 0.4, "zoneout": 0.2}
LENGTHS = np.array([2, 4, 0])


def images(batch=2, time=4, channels=2, size=(7,)):
    return np.random.default_rng(5).standard_normal((batch, time, *size, channels)).astype("float32")


def both(name, weights):
    """A network of one layer that runs both ways, its two cells, and some input."""
    cell, options = ONE_LAYER[name]
    arguments = {"in_channels": 2, "hidden_channels": 3, "ndim": 1, **options}
    spec, one = network(cell, bidirectional=True, **arguments), network(cell, **arguments)
    arrays = weights(spec).arrays
    own = [{n.replace(d, "fwd"): a for n, a in arrays.items() if f".{d}." in n} for d in ("fwd", "bwd")]
    cells = [CELLS[cell].from_spec(one, arrays=each) for each in own]
    return STACKS[cell].from_spec(spec, arrays=arrays), cells, images(channels=spec.in_channels)


@pytest.mark.parametrize("name", ONE_LAYER)
def test_both_directions_are_nnx_bidirectional(name, weights, error):
    stack, (forward, backward), x = both(name, weights)
    y, carry = stack(x)
    rnns = nnx.RNN(forward, return_carry=True), nnx.RNN(backward, return_carry=True)
    carries, want = nnx.Bidirectional(*rnns, return_carry=True)(x)
    assert error(y, want) < 1e-6
    assert jax.tree.structure(carry) == jax.tree.structure(tuple(carries))
    assert all(error(a, b) < 1e-6 for a, b in zip(jax.tree.leaves(carry), jax.tree.leaves(carries), strict=True))


def test_lengths_are_those_of_nnx_rnn_where_that_is_defined(weights, error):
    stack, (cell, _), x = both("gru-norm", weights)
    one = cf.ConvGRU.from_spec(cell.spec, arrays={layer_prefix(0) + n: a for n, a in cell.arrays().items()})
    lengths = jnp.array([2, 4])
    y, (h,) = one(x, seq_lengths=lengths)
    carry, want = nnx.RNN(cell, return_carry=True)(x, seq_lengths=lengths)
    assert error(h, carry) < 1e-6
    assert error(y[1], want[1]) < 1e-6
    assert error(y[0, :2], want[0, :2]) < 1e-6
    assert not np.any(y[0, 2:])
    assert stack.out_features == 6


@pytest.mark.parametrize("time_major", [False, True])
def test_call_options_are_those_of_jax(time_major, weights, error):
    """Lengths, timed context, masks, all layers and the last frame, in both layouts; NaN in the padding."""
    spec = network("lstm", 2, [3, 4], ndim=1, bidirectional=True, **DROPPING)
    x, rng = images(3), np.random.default_rng(1)
    x[np.arange(4) >= LENGTHS[:, None]] = np.nan
    net = cf.ConvLSTM.from_spec(spec, arrays=weights(spec).arrays, time_major=time_major)
    context = [rng.standard_normal((4, 3, 7, 4 * h)).astype("float32") for h in (3, 3, 4, 4)]
    masks = cj.draw_masks(spec, jax.random.key(0), 4, 3, (7,))

    def turned(a):
        return a if time_major else a.swapaxes(0, 1)

    shared = {"masks": masks, "return_all_layers": True}
    want, last = cj.apply(spec, net.arrays(), x.swapaxes(0, 1), lengths=LENGTHS, context=context, **shared)
    given = {"seq_lengths": LENGTHS, "context": list(map(turned, context)), **shared}
    got, carry = net(turned(x.swapaxes(0, 1)), **given)
    for one, other in zip(got, want, strict=True):
        assert error(turned(one), other) < 1e-6
    for one, other in zip(jax.tree.leaves(carry), jax.tree.leaves(last), strict=True):
        assert error(one, other) < 1e-6
    ends, _ = net(turned(x.swapaxes(0, 1)), **given, last_only=True)
    assert error(ends[1][0], want[1][1, 0]) < 1e-6
    assert error(ends[1][1], want[1][3, 1]) < 1e-6
    assert not np.any(ends[1][2])


def test_training_and_evaluation_in_nnxs_idiom(error):
    def make(seed=0, **more):
        return cf.ConvGRU(2, [3, 4], ndim=1, rngs=nnx.Rngs(0, dropout=seed), **DROPPING, **more)

    net, x = make(), images()
    assert net.deterministic is False
    first, second = net(x)[0], net(x)[0]
    assert error(first, second) > 1e-2
    assert error(make()(x)[0], first) == 0
    assert error(make(1)(x)[0], first) > 1e-2
    net.eval()
    still = net(x)[0]
    assert error(net(x)[0], still) == 0
    assert error(make(deterministic=True)(x)[0], still) == 0
    assert error(make()(x, deterministic=True)[0], still) == 0
    assert error(nnx.view(make(), deterministic=True)(x)[0], still) == 0
    plain, _ = cj.apply(net.spec, net.arrays(), x.swapaxes(0, 1))
    assert error(plain.swapaxes(0, 1), still) < 1e-6
    net.train()
    assert error(net(x)[0], still) > 1e-2
    key = jax.random.key(7)
    drawn, _ = cj.apply(net.spec, net.arrays(), x.swapaxes(0, 1), key=key)
    assert error(net(x, rngs=key)[0], drawn.swapaxes(0, 1)) < 1e-6
    assert error(net.step(x[:, 0])[0], net.step(x[:, 0])[0]) > 1e-2


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


@pytest.mark.parametrize("timed", [False, True], ids=["fixed", "timed"])
def test_steps_with_context(timed, weights, error):
    spec = network("gru", 2, [3, 2], ndim=1, zoneout=0.3)
    net, x = cf.ConvGRU.from_spec(spec, arrays=weights(spec).arrays), images()
    rng = np.random.default_rng(0)
    context = [rng.standard_normal((2, *(4,) * timed, 7, 3 * h)).astype("float32") for h in (3, 2)]
    y, last = net(x, context=context)
    carry = None
    for t in range(4):
        frame, carry = net.step(x[:, t], carry, context=[a[:, t] if timed else a for a in context])
        assert error(frame, y[:, t]) < 1e-6
    assert all(error(a, b) < 1e-6 for a, b in zip(carry, last, strict=True))
    cell = net.layers[0].fwd
    _, h = cell(cell.initialize_carry(x[:, 0].shape), x[:, 0], context[0][:, 0] if timed else context[0])
    first = cj.apply(network("gru", 2, 3, ndim=1), {layer_prefix(0) + n: a for n, a in cell.arrays().items()}, x[:, 0][None],
                     context=[context[0][:, 0] if timed else context[0]])[0][0]  # fmt: skip
    assert error(h, first) < 1e-6


def test_detach():
    net, x = cf.ConvLSTM(2, 3, ndim=1, rngs=nnx.Rngs(0)), jnp.asarray(images())

    def loss(x, cut):
        _, carry = net(x)
        return jnp.sum(net(x[:, :1] * 0, cf.detach(carry) if cut else carry)[0])

    assert np.any(jax.grad(loss)(x, False))
    assert not np.any(jax.grad(loss)(x, True))


WHOLE = {
    "everything": network(
        "lstm", 2, [4, 2], bidirectional="stack", merge="mean", peephole="conv", norm=Norm((2,)), **DROPPING
    ),
    "updates": network("gru", 2, 4, updates=((1, 5), (5, 1)), groups=2, bidirectional=True),
    "pooled": network("rnn", 2, 3, output_size=4, stride=2, padding_mode="reflect"),
    "decoder": forecaster("gru", 1, [3, 2], decoder=True, feedback=False, dropout=0.2),
}


@pytest.mark.parametrize("name", WHOLE)
def test_names_and_round_trips(name, weights, tmp_path):
    backend, given = registry.get("flax"), weights(WHOLE[name])
    net = backend.build(given)
    assert net.spec == WHOLE[name]
    assert net.deterministic
    assert list(net.arrays()) == list(parameter_shapes(WHOLE[name]))
    assert {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(net))} == set(net.arrays())
    assert backend.extract(net).equal(given)
    assert nnx.clone(net).spec == net.spec
    checkpoint.write(given, tmp_path / "net.msgpack")
    assert convgru.read(tmp_path / "net.msgpack").equal(given)


def test_teacher_forcing(weights, error):
    spec = forecaster("gru", 1, 3, ndim=1, patch=2, decoder=True)
    arrays = weights(spec).arrays
    x, targets = images(2, 3, 1, (8,)), images(2, 4, 1, (8,))
    forced = np.random.default_rng(0).random((2, 4)) < 0.5
    forced[:, 0] = True, False
    net = cf.Forecaster.from_spec(spec, arrays=arrays, deterministic=False)
    turned = cf.Forecaster.from_spec(spec, arrays=arrays, time_major=True)
    taught, _ = net(x, 4, targets=targets, forced=forced)
    other, _ = turned(x.swapaxes(0, 1), 4, targets=targets.swapaxes(0, 1), forced=forced.T)
    assert error(other.swapaxes(0, 1), taught) < 1e-6
    free, _ = net(x, 4)
    assert error(taught, free) > 1e-3
    always, _ = net(x, 4, targets=targets, forced=np.ones((2, 4), bool))
    assert error(net(x, 4, targets=targets, teacher_forcing=1.0, rngs=nnx.Rngs(0))[0], always) < 1e-6
    assert error(net(x, 4, targets=targets, teacher_forcing=1.0, deterministic=True)[0], free) < 1e-6
    with pytest.raises(
        ValueError, match="Forecaster expected rngs to draw dropout from, at construction or in the call"
    ):
        net(x, 4, targets=targets, teacher_forcing=0.5)


def test_a_forecaster_in_training(error):
    net = cf.Forecaster("gru", 1, [3, 2], ndim=1, decoder=True, dropout=0.4, rngs=nnx.Rngs(0))
    x = images(2, 3, 1)
    assert error(net(x, 3)[0], net(x, 3)[0]) > 1e-4
    net.eval()
    assert error(net(x, 3)[0], net(x, 3)[0]) == 0
    assert net.step(x[:, 0])[0].shape == x[:, 0].shape
