"""The contestants of ``convgru bench`` in Flax: ours, linen's, and JAX's plain loop and floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import numpy as jnp

from convgru_jax import bench as on_jax
from convgru_jax.bench_floor import floor

if TYPE_CHECKING:
    from convgru.bench.contest import Contest, Entry

Arrays = Mapping[str, np.ndarray]


def enter(contest: Contest) -> None:
    """Enter convgru's module with each variant of options, linen's, and those of JAX."""
    for name, options in contest.ours.items():
        contest.enter(name, lambda options=options: _ours(contest, options))  # type: ignore[misc]
    contest.enter("linen", lambda: _linen(contest))
    contest.enter("plain loop", lambda: on_jax.plain_loop(contest))
    contest.enter("floor", lambda: floor(contest, on_jax.Program))


def _ours(contest: Contest, options: Mapping[str, Any]) -> Entry:
    graphdef, params = nnx.split(contest.build(deterministic=True, **options))

    def run(params: Any, x: jax.Array, state: Any) -> jax.Array:
        y: jax.Array = nnx.merge(graphdef, params)(x, state)[0]
        return y

    def step(params: Any, x: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        result: tuple[jax.Array, Any] = nnx.merge(graphdef, params).step(x, state)
        return result

    def named(gradients: Any) -> Arrays:
        flat = nnx.to_flat_state(gradients)
        return {".".join(map(str, path)): np.asarray(variable[...]) for path, variable in flat}

    time_major = contest.workload.streaming or options.get("time_major", False)
    return on_jax.entry(contest, run, params, named, step, time_major=time_major)


def _linen(contest: Contest) -> Entry:
    """Flax linen's ConvLSTMCell in its nn.RNN. Raises ValueError where there is none."""
    if contest.cell != "lstm" or contest.workload.streaming:
        raise ValueError("linen has a ConvLSTMCell for nn.RNN, and no cell of ConvGRU")
    rnns = [nn.RNN(nn.ConvLSTMCell(cell.hidden_channels, cell.kernel_size)) for cell in contest.spec.layers]
    nested: Any = unflatten_dict
    flat: Any = flatten_dict
    params = [
        {"params": {"cell": nested({n: jnp.asarray(a) for n, a in layer.items()}, sep="/")}}
        for layer in contest.foreign("linen")
    ]

    def run(params: Any, x: jax.Array, state: Any) -> jax.Array:
        for rnn, p in zip(rnns, params, strict=True):
            x = rnn.apply(p, x)  # type: ignore[assignment]
        return x

    def named(gradients: Sequence[Any]) -> Arrays:
        return contest.canonical("linen", [flat(each["params"]["cell"], sep="/") for each in gradients])

    return on_jax.entry(contest, run, params, named, time_major=False)
