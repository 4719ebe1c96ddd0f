"""Networks on JAX against the float64 reference, Flax linen and themselves."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from convgru import Weights, forecaster, init, network, reference
from convgru import jax as face
from convgru.spec.shapes import parameter_shapes

SPECS = {
    "gru-before": (network("gru", 2, [3, 2]), (5, 4)),
    "gru-after": (network("gru", 2, 3, reset="after"), (5, 4)),
    "lstm": (network("lstm", 2, [3, 2], [3, 2]), (5, 4)),
    "rnn-1d": (network("rnn", 2, 3, 4, ndim=1, activation="relu"), (7,)),
    "gru-3d": (network("gru", 2, 3, 2, ndim=3), (3, 4, 3)),
    "lstm-valid": (network("lstm", 2, 3, padding="valid", dilation=(1, 2)), (5, 6)),
    "gru-strided-groups": (network("gru", 4, 4, groups=2, stride=2, bidirectional=True, merge="mean"), (5, 4)),
    "lstm-norm-peephole": (network("lstm", 2, 3, norm=1, peephole="conv", padding_mode="circular"), (5, 4)),
    "gru-updates": (network("gru", 2, 3, updates=((1, 3), (3, 1)), activation="leaky_relu"), (5, 4)),
    "forecaster": (forecaster("lstm", 1, [3, 2], patch=(2, 1)), (4, 3)),
}


def call(net, params=None, x=None, state=None, **options):
    """The public function that runs this network, on its own arrays unless others are given."""
    params = net.params if params is None else params
    x, state = net.x if x is None else x, net.state if state is None else state
    if net.spec.title == "Forecaster":
        return face.forecast(net.spec, params, x, 3, state, **options)
    return face.apply(net.spec, params, x, state, **options)


def total(tree):
    return sum((leaf**2).sum() for leaf in jax.tree.leaves(tree))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", SPECS)
def test_fast_and_plain_are_the_reference_and_differentiate_alike(name, net, error, channels_last):
    spec, size = SPECS[name]
    steps = 3 if name == "forecaster" else None
    one = net(spec, size, "float64", steps=steps)
    y, state = reference.run(one.problem.weights, one.problem.x, one.problem.state, steps=steps)

    @jax.jit
    def both(params, x, state):
        def loss(method):
            return jax.grad(lambda *leaves: total(call(one, *leaves, method=method)), (0, 1, 2))(params, x, state)

        return [(call(one, params, x, state, method=m), loss(m)) for m in ("fast", "plain")]

    (fast, fast_slopes), (plain, plain_slopes) = both(one.params, one.x, one.state)
    want = (np.moveaxis(y, 2, -1), channels_last(spec, state))
    assert error(fast, want) < 1e-14
    assert error(plain, want) < 1e-14
    assert error(fast_slopes, plain_slopes) < 1e-13


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dtype_stays(dtype, net):
    """Output, every state and every gradient have the dtype of the parameters, from zeros too."""
    one = net(network("lstm", 2, [3, 2]), (4, 4), dtype)
    results = face.apply(one.spec, one.params, one.x)
    slopes = jax.grad(lambda p: total(face.apply(one.spec, p, one.x)).astype(jnp.float32))(one.params)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves((results, slopes))} == {dtype}


@pytest.mark.parametrize("name", ["gru-before", "lstm"])
def test_step_is_apply_frame_by_frame(name, net, error):
    one = net(*SPECS[name], time=4)
    y, final = face.apply(one.spec, one.params, one.x)
    state, frames = None, []
    for frame in one.x:
        out, state = face.step(one.spec, one.params, frame, state)
        frames.append(out)
    assert error((jnp.stack(frames), state), (y, final)) < 1e-6


def test_convlstm_is_flax_linens(net, error):
    """Weights moved by hand: linen orders the gates i, g, f, o and adds one to f's at run time."""
    nn = pytest.importorskip("flax.linen", reason="Flax is not installed")
    one = net(network("lstm", 2, 3), (5, 4), time=4)
    p = {name.rpartition(".")[2]: array for name, array in one.params.items()}
    order = np.r_[0:3, 6:9, 3:6, 9:12]
    kernels = {name: jnp.moveaxis(p[f"weight_{name}"][order], (0, 1), (-1, -2)) for name in ("ih", "hh")}
    bias = p["bias"].at[3:6].add(-1)[order]
    cell = {
        "ih": {"kernel": kernels["ih"], "bias": bias},
        "hh": {"kernel": kernels["hh"], "bias": jnp.zeros_like(bias)},
    }
    h, c = one.state[0]
    rnn = nn.RNN(nn.ConvLSTMCell(3, (3, 3)), time_major=True, return_carry=True)
    (last_c, last_h), y = rnn.apply({"params": {"cell": cell}}, one.x, initial_carry=(c, h))
    assert error(call(one), (y, ((last_h, last_c),))) < 2e-6


def test_initial_parameters_have_the_distributions_of_convgru_init():
    spec = network("lstm", 3, 8)
    params = face.init(spec, jax.random.key(0))
    assert {name: a.shape for name, a in params.items()} == parameter_shapes(spec)
    w_ih, w_hh, bias = (np.asarray(params[f"layers.0.fwd.{name}"]) for name in ("weight_ih", "weight_hh", "bias"))
    bound = np.sqrt(6 / ((3 + 8) * 9))
    assert 0.97 * bound < np.abs(w_ih).max() <= bound
    assert abs(w_ih.std() - bound / np.sqrt(3)) < 0.05 * bound
    for gate in np.split(w_hh.reshape(32, -1), 4):
        np.testing.assert_allclose(gate @ gate.T, np.eye(8), atol=1e-5)
    np.testing.assert_array_equal(bias, np.repeat([0, 1, 0, 0], 8))
    grouped = face.init(network("gru", 16, 32, groups=16, norm=4, updates=((1, 5), (5, 1))), jax.random.key(0))
    for name, a in init(network("gru", 16, 32, groups=16, norm=4, updates=((1, 5), (5, 1)))).arrays.items():
        drawn = np.asarray(grouped[name])
        if name.endswith("weight_hh"):
            for each in drawn.reshape(48, 2, -1):
                np.testing.assert_allclose(each @ each.T, np.eye(2), atol=1e-5)
        elif name.endswith("weight_ih"):
            assert abs(np.abs(drawn).max() / np.abs(a).max() - 1) < 0.05
        else:
            np.testing.assert_array_equal(drawn, a)
    other = face.init(spec, jax.random.key(1))
    assert not np.array_equal(other["layers.0.fwd.weight_hh"], w_hh)
    Weights(spec, {name: np.asarray(array) for name, array in face.init(spec, jax.random.key(0), "bfloat16").items()})


def test_a_readout_is_drawn_from_its_key_as_one_block():
    """Unlike a layer's weights, whose key is split for each gate and group."""
    spec = forecaster("gru", 2, 3, ndim=1)
    key, names = jax.random.key(0), list(parameter_shapes(spec))
    readout = jax.random.split(key, len(names))[names.index("readout.weight")]
    bound = (6 / (2 + 3)) ** 0.5
    want = jax.random.uniform(readout, (2, 3, 1), jnp.float32, -bound, bound)
    np.testing.assert_array_equal(face.init(spec, key)["readout.weight"], want)
