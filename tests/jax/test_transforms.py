"""JAX's transformations: vmap, meshes, second order, forward mode, static specs, export."""

import jax
import numpy as np
import pytest
from jax import export
from jax import numpy as jnp
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from convgru import forecaster, network
from convgru import jax as face

SPECS = {
    "gru-before": (network("gru", 2, [3, 2]), (5, 4)),
    "gru-after": (network("gru", 2, 3, reset="after"), (5, 4)),
    "lstm": (network("lstm", 2, [3, 2], [3, 2]), (5, 4)),
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


def test_vmap_over_networks_is_a_loop_over_them(net, error):
    one = net(*SPECS["gru-after"])
    several = {name: jnp.stack([array, 0.5 * array, -array]) for name, array in one.params.items()}
    slopes = jax.grad(lambda params: total(call(one, params)))
    each = [slopes({name: array[i] for name, array in several.items()}) for i in range(3)]
    assert error(jax.vmap(slopes)(several), jax.tree.map(lambda *a: jnp.stack(a), *each)) < 1e-5


def test_an_explicit_mesh_shards_the_batch(net, error):
    """jax.make_mesh's default: shardings are part of types, which every operation must handle."""
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
        sharded = both(jax.device_put(one.params, P()), jax.device_put(one.x, P(None, "data")))
        assert sharded[1].sharding.spec[1] == "data"
    assert error(jax.device_get(sharded), wanted) < 1e-5


@pytest.mark.usefixtures("x64")
def test_second_order(net, error):
    """A Hessian-vector product: reverse over reverse against plain's forward over reverse."""
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
