"""The networks: layouts, directions, streaming, lengths, context, masks, names, printing."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import assert_close, relative_error

import convgru.flax as cf
import convgru.jax as cj
from convgru import reference
from convgru.spec import forecaster, network
from convgru.spec.shapes import layer_prefix, parameter_shapes, state_leaves

STACKS = {"gru": cf.ConvGRU, "lstm": cf.ConvLSTM, "rnn": cf.ConvRNN}
CELLS = {"gru": cf.ConvGRUCell, "lstm": cf.ConvLSTMCell, "rnn": cf.ConvRNNCell}
SPECS = {
    "gru": network("gru", 2, [4, 3], [3, (2, 4)]),
    "gru-after": network("gru", 2, [4, 3], reset="after"),
    "lstm-valid": network("lstm", 2, [3, 2], padding="valid"),
    "rnn-1d": network("rnn", 2, 3, num_layers=2, ndim=1, activation="relu", bias=False),
    "gru-3d": network("gru", 1, 2, ndim=3),
}
SIZES = {1: (9,), 2: (7, 6), 3: (3, 4, 3)}
ONE_LAYER = {
    "gru-norm": ("gru", {"norm": 1, "reset": "after"}),
    "gru-updates": ("gru", {"updates": (3, 1)}),
    "gru-groups-strided": ("gru", {"in_channels": 4, "hidden_channels": 4, "groups": 2, "stride": 2}),
    "lstm-peephole": ("lstm", {"peephole": "conv", "padding_mode": "circular"}),
    "lstm-tied": ("lstm", {"peephole": "hadamard", "state_size": 7, "recurrent_activation": "hard_sigmoid"}),
}
DROPPING = {"dropout": 0.3, "recurrent_dropout": 0.4, "zoneout": 0.2}
LENGTHS = np.array([2, 4, 0])


def make(weights, name, **options):
    spec = SPECS[name]
    x = np.random.default_rng(5).standard_normal((2, 4, *SIZES[spec.ndim], spec.in_channels)).astype("float32")
    return STACKS[spec.cell].from_spec(spec, arrays=weights(spec).arrays, **options), x


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


@pytest.fixture
def net():
    return cf.ConvGRU(2, [4, 3], rngs=nnx.Rngs(0))


@pytest.fixture
def x():
    return np.random.default_rng(5).standard_normal((2, 4, 5, 6, 2)).astype("float32")


def names(module):
    return {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(module))}


@pytest.mark.parametrize("name", SPECS)
def test_reference_both_layouts_and_steps(name, weights, random_state):
    net, x = make(weights, name)
    state = random_state(net.spec, 2, x.shape[2:-1])
    y, carry = net(x, state)
    first = tuple(
        tuple(np.moveaxis(a, -1, 1) for a in e) if isinstance(e, tuple) else np.moveaxis(e, -1, 1) for e in state
    )
    want, last = reference.run(weights(net.spec), np.moveaxis(x.swapaxes(0, 1), -1, 2), first)
    assert_close(np.moveaxis(np.asarray(y).swapaxes(0, 1), -1, 2), want, eps=42)
    for (_, got), (_, ref) in zip(state_leaves(net.spec, carry), state_leaves(net.spec, last), strict=True):
        assert_close(np.moveaxis(np.asarray(got), -1, 1), ref, eps=42)
    turned, _ = make(weights, name, time_major=True)[0](x.swapaxes(0, 1), state)
    assert_close(turned.swapaxes(0, 1), y, eps=8)
    running = state
    for t in range(x.shape[1]):
        frame, running = net.step(x[:, t], running)
        assert_close(frame, y[:, t], eps=8)
    assert jax.tree.all(jax.tree.map(lambda a, b: relative_error(a, b) < 1e-6, running, carry))


@pytest.mark.parametrize("name", SPECS)
def test_paths_are_the_canonical_names(name, weights):
    net, _ = make(weights, name)
    shapes = parameter_shapes(net.spec)
    assert names(net) == set(shapes)
    assert {n: a.shape for n, a in net.arrays().items()} == shapes
    assert list(net.arrays()) == list(shapes)


def test_carry_goes_on(net, x):
    y, last = net(x)
    a, carry = net(x[:, :2])
    b, end = net(x[:, 2:], carry)
    assert_close(jnp.concatenate([a, b], axis=1), y, eps=8)
    assert_close((end), (last), eps=8)
    assert relative_error(net(x[:, 2:])[0], b) > 1e-4


@pytest.mark.parametrize("name", ONE_LAYER)
def test_both_directions_are_nnx_bidirectional(name, weights):
    stack, (forward, backward), x = both(name, weights)
    y, carry = stack(x)
    rnns = nnx.RNN(forward, return_carry=True), nnx.RNN(backward, return_carry=True)
    carries, want = nnx.Bidirectional(*rnns, return_carry=True)(x)
    assert_close(y, want, eps=8)
    assert jax.tree.structure(carry) == jax.tree.structure(tuple(carries))
    assert_close((jax.tree.leaves(carry)), (jax.tree.leaves(carries)), eps=8)


def test_lengths_are_those_of_nnx_rnn_where_that_is_defined(weights):
    stack, (cell, _), x = both("gru-norm", weights)
    one = cf.ConvGRU.from_spec(cell.spec, arrays={layer_prefix(0) + n: a for n, a in cell.arrays().items()})
    lengths = jnp.array([2, 4])
    y, (h,) = one(x, seq_lengths=lengths)
    carry, want = nnx.RNN(cell, return_carry=True)(x, seq_lengths=lengths)
    assert_close(h, carry, eps=8)
    assert_close(y[1], want[1], eps=8)
    assert_close(y[0, :2], want[0, :2], eps=8)
    assert not np.any(y[0, 2:])
    assert stack.out_features == 6


@pytest.mark.parametrize("time_major", [False, True])
def test_call_options_are_those_of_jax(time_major, weights):
    """Lengths, timed context, masks, all layers, last frame; both layouts; NaN in the padding."""
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
        assert_close(turned(one), other, eps=8)
    for one, other in zip(jax.tree.leaves(carry), jax.tree.leaves(last), strict=True):
        assert_close(one, other, eps=8)
    ends, _ = net(turned(x.swapaxes(0, 1)), **given, last_only=True)
    assert_close(ends[1][0], want[1][1, 0], eps=8)
    assert_close(ends[1][1], want[1][3, 1], eps=8)
    assert not np.any(ends[1][2])


@pytest.mark.parametrize("timed", [False, True], ids=["fixed", "timed"])
def test_steps_with_context(timed, weights):
    spec = network("gru", 2, [3, 2], ndim=1, zoneout=0.3)
    net, x = cf.ConvGRU.from_spec(spec, arrays=weights(spec).arrays, deterministic=True), images()
    rng = np.random.default_rng(0)
    context = [rng.standard_normal((2, *(4,) * timed, 7, 3 * h)).astype("float32") for h in (3, 2)]
    y, last = net(x, context=context)
    carry = None
    for t in range(4):
        frame, carry = net.step(x[:, t], carry, context=[a[:, t] if timed else a for a in context])
        assert_close(frame, y[:, t], eps=8)
    assert_close((carry), (last), eps=8)
    cell = net.layers[0].fwd
    _, h = cell(cell.initialize_carry(x[:, 0].shape), x[:, 0], context[0][:, 0] if timed else context[0])
    first = cj.apply(network("gru", 2, 3, ndim=1), {layer_prefix(0) + n: a for n, a in cell.arrays().items()}, x[:, 0][None],
                     context=[context[0][:, 0] if timed else context[0]])[0][0]  # fmt: skip
    assert_close(h, first, eps=8)


def test_repr_and_attributes(net):
    text = repr(net)
    for part in (
        "ConvGRU(",
        "weight_ih=Param(",
        "shape=(12, 2, 3, 3)",
        "network('gru', 2, [4, 3], kernel_size=3",
        "time_major=False",
    ):
        assert part in text
    assert (net.in_features, net.out_features) == (2, 3)
    assert (net.layers[1].fwd.in_features, net.layers[1].fwd.hidden_features) == (4, 3)
    assert net.spec == network("gru", 2, [4, 3])
    assert net.layers[1].fwd.spec == network("gru", 4, 3)


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_stands_for_the_arguments_and_is_stored_once(name, weights):
    spec = SPECS[name]
    for net in (STACKS[spec.cell](spec, rngs=nnx.Rngs(0)), STACKS[spec.cell].from_spec(spec, rngs=nnx.Rngs(0))):
        assert net.spec is spec
        assert nnx.clone(net).spec == spec
        assert [layer.fwd.spec for layer in net.layers] == [type(spec)((layer,)) for layer in spec.layers]
    encoder = forecaster(spec.cell, 1, 2, ndim=spec.ndim)
    net = cf.Forecaster(encoder, rngs=nnx.Rngs(0))
    assert net.spec is encoder
    assert net.encoder.spec is encoder.encoder


class Mine(cf.ConvGRU):
    """A user's network, with a constructor of its own."""

    def __init__(self, width, *, rngs):
        super().__init__(2, width, rngs=rngs)
        self.head = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, x):
        return self.head(super().__call__(x)[0])


def test_subclasses_are_constructed_as_any_class(x):
    net = Mine(4, rngs=nnx.Rngs(0))
    assert net(x).shape == (2, 4, 5, 6, 1)
    assert type(nnx.clone(net)) is Mine
    assert list(inspect.signature(Mine.__init__).parameters) == ["self", "width", "rngs"]
    with pytest.raises(ValueError, match="Mine expected 2 input channels on axis 4, got 3"):
        net(jnp.ones((2, 4, 5, 6, 3)))

    class Same(cf.ConvLSTM):
        """A user's network that adds nothing to the constructor."""

    assert type(Same.from_spec(network("lstm", 2, 3), rngs=nnx.Rngs(0))) is Same


@pytest.mark.parametrize("kind", [cf.ConvLSTM, cf.Forecaster])
def test_checkpoint_frames_change_the_program_alone(kind):
    x = images(time=5)
    spec = network("lstm", 2, 3, ndim=1) if kind is cf.ConvLSTM else forecaster("lstm", 2, 3, ndim=1)
    whole, parts = (kind.from_spec(spec, checkpoint_frames=n, rngs=nnx.Rngs(0)) for n in (None, 2))

    def loss(net):
        return (net(x, *((3,) if kind is cf.Forecaster else ()))[0] ** 2).sum()

    gradients = [nnx.grad(loss)(net) for net in (whole, parts)]
    assert relative_error(*map(jax.tree.leaves, gradients)) < 1e-5
    programs = [str(jax.make_jaxpr(lambda: loss(net))()).count("remat") for net in (whole, parts)]  # noqa: B023
    assert programs[0] < programs[1]


def test_signatures_list_every_option():
    for kind, there, missing in (
        (cf.ConvGRU, {"reset", "bidirectional", "kernel_init", "time_major"}, {"peephole", "bias"}),
        (cf.ConvLSTMCell, {"peephole", "use_bias", "bias_metadata"}, {"reset", "dropout", "deterministic"}),
        (cf.ConvRNN, {"activation", "zoneout", "param_dtype", "arrays"}, {"reset", "peephole"}),
        (cf.Forecaster, {"patch", "decoder", "reset", "peephole", "dropout"}, {"merge", "output_size"}),
    ):
        parameters = inspect.signature(kind.__init__).parameters
        assert there <= set(parameters)
        assert not missing & set(parameters)
        assert inspect.Parameter.VAR_KEYWORD not in {parameter.kind for parameter in parameters.values()}


def test_nnx_display_shows_a_network(net, capsys):
    nnx.display(net)
    printed = capsys.readouterr().out
    assert "ConvGRU" in printed
    assert "weight_hh" in printed
