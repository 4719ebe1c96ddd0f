"""JAX's transformations: vmap, meshes, derivatives of both modes, static specs, export."""

from functools import partial

import jax
import pytest
from jax import export
from jax import numpy as jnp
from jax.extend.core import jaxprs_in_params
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
        jaxpr = str(jax.make_jaxpr(both)(one.params, jax.device_put(one.x, P(None, "data"))))
        assert "convgru_collect" in jaxpr  # the fast convolution
        assert "conv_general_dilated" not in jaxpr
    assert error(jax.device_get(sharded), wanted) < 1e-5


DERIVATIVES = {
    "gru-before": (network("gru", 1, 2, 2, ndim=1, recurrent_stride=2, norm=1), (4,)),
    "gru-after": (network("gru", 1, 1, 2, ndim=1, stride=2, reset="after"), (4,)),
    "lstm": (network("lstm", 1, 1, 2, ndim=1, peephole="conv", dilation=2), (3,)),
    "rnn-groups": (network("rnn", 2, 2, 2, groups=2, activation="relu"), (3, 2)),
}
QUICK = {"xla_backend_optimization_level": 0}
"""Compile for one call: XLA's own passes all run, LLVM's do not."""


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_of_both_modes_are_those_of_plain(name, net, error):
    """Through the scan: forward, reverse, each over each, and vmap over one and over all operands.

    One program, whose second derivatives meet every derivative rule of the convolution; jacfwd is
    a vmap of forward mode.
    """
    one = net(*DERIVATIVES[name], dtype="float64", time=2, batch=1)
    direction = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), one.params)
    x = jnp.asarray(one.x)

    @partial(jax.jit, compiler_options=QUICK)
    def derivatives(params, x):
        def of(method):
            def value(params, x):
                return total(call(one, params, x, method=method))

            slope = jax.grad(value, (0, 1))

            def along(params, x):
                return jax.jvp(lambda params: value(params, x), (params,), (direction,))[1]

            scaled = jnp.array([1.0, -0.5])
            several = jax.tree.map(lambda a: scaled.reshape(-1, *(1,) * a.ndim) * a, (params, x))
            return {
                "forward": along(params, x),
                "forward over reverse": jax.jvp(lambda *a: slope(*a), (params, x), (direction, x))[1],
                "reverse over forward": jax.grad(along, (0, 1))(params, x),
                "reverse over reverse": jax.grad(lambda *a: total(slope(*a)), (0, 1))(params, x),
                "vmap": jax.vmap(slope)(*several),
                "jacfwd": jax.jacfwd(lambda x: call(one, params, x, method=method)[0])(x),
            }

        return of("fast"), of("plain")

    fast, plain = derivatives(one.params, x)
    for kind, got in fast.items():
        assert error(got, plain[kind]) < 1e-12, kind


@pytest.mark.usefixtures("x64")
def test_the_hessian_of_an_input_is_a_difference_quotient(net, error):
    """jax.hessian is forward over reverse under vmap."""
    one = net(network("gru", 1, 2), (2, 2), dtype="float64", time=2, batch=1)
    x = jnp.asarray(one.x)
    tangent = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
    slope = jax.jit(jax.grad(lambda x: total(call(one, x=x))))
    hessian = jax.jit(jax.hessian(lambda x: total(call(one, x=x))))(x)
    want = (slope(x + 1e-5 * tangent) - slope(x - 1e-5 * tangent)) / 2e-5
    assert error(jnp.tensordot(hessian, tangent, x.ndim), want) < 1e-8


@pytest.mark.parametrize("name", SPECS)
def test_a_program_does_not_grow_with_time(name, net):
    """Neither forward, nor its gradient, nor with checkpoints."""

    def equations(jaxpr):
        return sum(1 + sum(map(equations, jaxprs_in_params(each.params))) for each in jaxpr.eqns)

    def size(time, **options):
        one = net(*SPECS[name], time=time)
        run = jax.make_jaxpr(jax.value_and_grad(lambda params: total(call(one, params, **options))))
        return equations(run(one.params).jaxpr)

    assert size(3) == size(60)
    assert size(4, checkpoint_frames=2) == size(60, checkpoint_frames=20)


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


def test_a_key_that_varies_over_a_mesh_where_nothing_else_does(error):
    """Inside shard_map: masks differ between devices, though parameters and images are the same."""
    mesh = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Auto,))
    keys = jax.random.split(jax.random.key(0), 1)
    for spec in (network("gru", 1, 2, zoneout=0.5, ndim=1), forecaster("gru", 1, 2, recurrent_dropout=0.5, ndim=1)):
        params, x = face.init(spec, jax.random.key(1)), jnp.ones((2, 1, 3, 1))

        def train(params, x, keys, spec=spec):
            if spec.title == "Forecaster":
                return face.forecast(spec, params, x, 2, key=keys[0])[0]
            return face.apply(spec, params, x, key=keys[0])[0]

        several = jax.shard_map(train, mesh=mesh, in_specs=(P(), P(), P("i")), out_specs=P("i"))
        assert error(several(params, x, keys), train(params, x, keys)) < 1e-6


def test_jit_may_be_switched_off(net, error):
    one = net(network("gru", 2, 2, ndim=1), (3,), time=2)
    want = call(one)
    with jax.disable_jit():
        assert error(call(one), want) < 1e-6
