"""Print by how much each gradient on four devices differs from that on one (test_sharding.py).

A process of its own: how many devices a host has is said before JAX starts.
"""

import json
import os
import sys

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from convgru import forecaster, network
from convgru import jax as face

LINE = {"ndim": 1}
KINDS = {
    "gru-before": network("gru", 2, 3, **LINE),
    "gru-after": network("gru", 2, [3, 2], reset="after", **LINE),
    "lstm": network("lstm", 2, 3, peephole="conv", **LINE),
    "rnn": network("rnn", 2, 3, groups=1, stride=2, **LINE),
    "bidirectional": network("gru", 2, 3, bidirectional=True, **LINE),
    "forecaster": forecaster("lstm", 2, 3, patch=2, decoder=True, **LINE),
}
IMAGES = {
    "gru": (network("gru", 2, 3), "fast", (8, 4)),
    "lstm-plain": (network("lstm", 2, 4, groups=2, stride=(2, 1)), "plain", (8, 4)),
    "rnn-3d": (network("rnn", 2, 3, 2, ndim=3, bidirectional=True), "fast", (4, 4, 3)),
    "line-unequal": (network("gru", 2, 2, stride=3, **LINE), "fast", (8,)),
    "forecaster": (forecaster("gru", 1, 3, patch=2, **LINE), "fast", (16,)),
}


def call(spec, params, x, **options):
    if spec.title == "Forecaster":
        return face.forecast(spec, params, x, 2, **options)
    return face.apply(spec, params, x, **options)


def loss(spec, params, x, **options):
    """Squared output and final state, summed over samples, so that shards add up."""
    return sum((leaf**2).sum() for leaf in jax.tree.leaves(call(spec, params, x, **options)))


def problem(spec, size):
    params = face.init(spec, jax.random.key(0))
    params = {name: a + 0.1 * jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape) for name, a in params.items()}
    return params, jax.random.normal(jax.random.key(1), (2, 4, *size, spec.in_channels))


def difference(got, want):
    pairs = zip(jax.tree.leaves(jax.device_get(got)), jax.tree.leaves(jax.device_get(want)), strict=True)
    return max(float(np.abs(a - b).max() / max(1, np.abs(b).max())) for a, b in pairs)


def mesh_of(kind, *sizes):
    return jax.make_mesh(sizes, ("data", "space")[: len(sizes)], axis_types=(kind,) * len(sizes))


def shard_mapped():
    """In shard_map, gradients of replicated parameters are summed over devices, those of x not."""
    for name, spec in KINDS.items():
        params, x = problem(spec, (8,))
        slopes = jax.grad(lambda params, x, spec=spec: loss(spec, params, x), (0, 1))
        want = jax.jit(slopes)(params, x)
        for mesh, batch in ((mesh_of(AxisType.Auto, 4), "data"), (mesh_of(AxisType.Auto, 2, 2), ("data",))):
            specs = (P(), P(None, batch))
            sharded = jax.jit(jax.shard_map(slopes, mesh=mesh, in_specs=specs, out_specs=specs))
            yield f"shard_map {name} {mesh.axis_sizes}", difference(sharded(params, x), want)


def in_space():
    """Auto and explicit meshes; along one axis of (2, 2) the arrays may be replicated."""
    for name, (spec, method, size) in IMAGES.items():
        params, x = problem(spec, size)
        slopes = jax.grad(lambda params, x, spec=spec, method=method: loss(spec, params, x, method=method), (0, 1))
        want = jax.jit(slopes)(params, x)
        for kind in (AxisType.Auto, AxisType.Explicit):
            for layout in (P(None, None, "space"), P(None, "data", "space")):
                mesh = mesh_of(kind, 2, 2)
                with jax.set_mesh(mesh):
                    given = jax.device_put((params, x), (NamedSharding(mesh, P()), NamedSharding(mesh, layout)))
                    got = jax.jit(slopes)(*given)
                    yield f"{kind.name} {name} {layout}", difference(got, want)


def results_in_space():
    """On an explicit mesh output, state and context are sharded as the input, where sizes allow."""
    spec = network("gru", 2, 3)
    params, x = problem(spec, (8, 3))
    mesh = mesh_of(AxisType.Explicit, 2, 2)
    context = (jnp.ones((4, 8, 3, 9)),)
    want = face.apply(spec, params, x, context=context)
    with jax.set_mesh(mesh):
        x, (context,) = jax.device_put((x, context), (P(None, "data", "space"), (P("data", "space"),)))
        output, (state,) = face.apply(spec, jax.device_put(params, P()), x, context=(context,))
        yield "results", difference((output, (state,)), want)
        good = tuple(output.sharding.spec)[:3] == (None, "data", "space") and tuple(state.sharding.spec)[:2] == (
            "data",
            "space",
        )
        yield "shardings", 0.0 if good else 1.0
        output, (state,) = face.step(spec, jax.device_put(params, P()), x[0], key=jax.random.key(0))
        yield "step", difference(output, face.step(spec, params, jax.device_get(x[0]))[0])


def forecast_by_batch():
    """On an explicit mesh sharded by batch alone forecasters with patches run."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,))
    for decoder in (False, True):
        spec = forecaster("gru", 1, 2, patch=2, decoder=decoder)
        params, x = problem(spec, (4, 4))
        given = jax.device_put(x, NamedSharding(mesh, P(None, "data")))
        want = call(spec, params, x)
        yield f"forecast {decoder}", difference(call(spec, params, given), want)
        targets, forced = jnp.ones((2, 4, 4, 4, 1)), jnp.ones((2, 4), bool)
        want = call(spec, params, x, targets=targets, forced=forced)
        yield f"targets {decoder}", difference(call(spec, params, given, targets=targets, forced=forced), want)


print(json.dumps(dict(pair for part in sys.argv[1:] for pair in globals()[part]())))
