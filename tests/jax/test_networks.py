"""Networks on JAX against the float64 reference, Flax linen, and themselves: transformations,
streaming, dtypes.
"""

import jax
import numpy as np
import pytest
from jax import export
from jax import numpy as jnp
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

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


def test_forecast_is_feeding_on_its_own_predictions(net, error):
    """Three steps are one step, made three times on the frames so far; and the state carries on."""
    one = net(*SPECS["forecaster"], steps=3)
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


def test_vmap_over_networks_is_a_loop_over_them(net, error):
    one = net(*SPECS["gru-after"])
    several = {name: jnp.stack([array, 0.5 * array, -array]) for name, array in one.params.items()}
    slopes = jax.grad(lambda params: total(call(one, params)))
    each = [slopes({name: array[i] for name, array in several.items()}) for i in range(3)]
    assert error(jax.vmap(slopes)(several), jax.tree.map(lambda *a: jnp.stack(a), *each)) < 1e-5


def test_an_explicit_mesh_shards_the_batch(net, error):
    """The mesh that jax.make_mesh makes: shardings are part of types there, and every operation
    must say what comes of them.
    """
    one = net(network("lstm", 2, [3, 2], bidirectional=True), (5, 4))

    @jax.jit
    def both(params, x):
        def loss(params):
            y, _ = face.apply(one.spec, params, x, lengths=jnp.array([3, 1]))
            return (y**2).sum(), y

        return jax.grad(loss, has_aux=True)(params)

    wanted = both(one.params, one.x)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        found = both(jax.device_put(one.params, P()), jax.device_put(one.x, P(None, "data")))
        assert found[1].sharding.spec[1] == "data"
    assert error(jax.device_get(found), wanted) < 1e-5


@pytest.mark.usefixtures("x64")
def test_second_order(net, error):
    """A Hessian-vector product, reverse over reverse, against forward over reverse of the plain
    method.
    """
    one = net(*SPECS["lstm"], dtype="float64")
    direction = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), one.params)

    def slope(params, method):
        return jax.grad(lambda p: total(call(one, p, method=method)))(params)

    def along(params):
        return sum(
            (a * b).sum() for a, b in zip(*map(jax.tree.leaves, (slope(params, "fast"), direction)), strict=True)
        )

    _, want = jax.jvp(lambda params: slope(params, "plain"), (one.params,), (direction,))
    assert error(jax.jit(jax.grad(along))(one.params), want) < 1e-12


@pytest.mark.usefixtures("x64")
def test_forward_mode_of_plain_is_a_difference_quotient(net, error):
    one = net(*SPECS["gru-before"], dtype="float64")
    tangent = np.cos(np.arange(one.x.size, dtype=float)).reshape(one.x.shape)
    _, got = jax.jvp(lambda x: call(one, x=x, method="plain"), (one.x,), (tangent,))
    high, low = (call(one, x=one.x + sign * 1e-5 * tangent) for sign in (1, -1))
    assert error(got, jax.tree.map(lambda a, b: (a - b) / 2e-5, high, low)) < 1e-8


def test_spec_as_a_static_argument_does_not_trace_again(net):
    one, traces = net(*SPECS["gru-before"]), []

    def traced(spec, params, x):
        traces.append(spec)
        return face.apply(spec, params, x)

    compiled = jax.jit(traced, static_argnums=0)
    for spec in (one.spec, network("gru", 2, [3, 2]), network("gru", 2, [3, 2], padding=1)):
        compiled(spec, one.params, one.x)
    assert len(traces) == 2


@pytest.mark.parametrize("name", ["gru-before", "lstm", "forecaster"])
def test_export_with_symbolic_batch_time_and_space(name, net, error):
    """What is exported once runs on sizes that it has never seen."""
    spec, _ = SPECS[name]
    t, b, h, w = export.symbolic_shape("t, b, 2*h, w")
    one = net(spec, (6, 5), time=4, batch=3)
    x = jax.ShapeDtypeStruct((t, b, h, w, spec.in_channels), "float32")

    def function(params, x):
        return face.forecast(spec, params, x, 2) if name == "forecaster" else face.apply(spec, params, x)

    exported = export.export(jax.jit(function))(jax.eval_shape(lambda: one.params), x)
    assert error(exported.call(one.params, one.x), function(one.params, one.x)) < 1e-6


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
        own = np.asarray(grouped[name])
        if name.endswith("weight_hh"):
            for each in own.reshape(48, 2, -1):
                np.testing.assert_allclose(each @ each.T, np.eye(2), atol=1e-5)
        elif name.endswith("weight_ih"):
            assert abs(np.abs(own).max() / np.abs(a).max() - 1) < 0.05
        else:
            np.testing.assert_array_equal(own, a)
    other = face.init(spec, jax.random.key(1))
    assert not np.array_equal(other["layers.0.fwd.weight_hh"], w_hh)
    Weights(spec, {name: np.asarray(array) for name, array in face.init(spec, jax.random.key(0), "bfloat16").items()})
