"""Time our ConvLSTM on JAX against Flax linen's nn.RNN(nn.ConvLSTMCell), forward and backward.

Both compute with the same numbers.

Run it in an environment with JAX and Flax, from the checkout:

    PYTHONPATH=.:backends python benchmarks/flax_linen.py [--frames 5] [--batch 4] [--size 64]
    [--hidden 32] [--runs 3]

Both compute the same loss and the same gradients (checked first), compiled, in turn and in one
process; the medians and their ratio are printed. XLA takes every core that it may: pin with
``taskset -c 0`` to time one. Exit code 1 below --at-least (default 0: just report).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from jax import numpy as jnp

import convgru
import convgru.jax
from convgru.importers import export

Compiled = Callable[[], Any]


def mean_square(y: jax.Array) -> jax.Array:
    return (y**2).mean((-3, -2, -1)).mean()  # in two steps, so that float32 loses little


def ours(spec: convgru.NetworkSpec, params: dict[str, jax.Array], x: jax.Array, method: str) -> Compiled:
    def loss(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return mean_square(convgru.jax.apply(spec, params, jnp.swapaxes(x, 0, 1), method=method)[0])

    compiled = jax.jit(jax.value_and_grad(loss)).lower(params, x).compile()
    return lambda: compiled(params, x)


def linen(params: Any, x: jax.Array, hidden: int) -> Compiled:
    rnn = nn.RNN(nn.ConvLSTMCell(hidden, (3, 3)))

    def loss(params: Any, x: jax.Array) -> jax.Array:
        return mean_square(rnn.apply(params, x))

    compiled = jax.jit(jax.value_and_grad(loss)).lower(params, x).compile()
    return lambda: compiled(params, x)


def to_linen(spec: convgru.NetworkSpec, params: dict[str, jax.Array]) -> Any:
    """Our parameters as linen's RNN holds them."""
    weights = convgru.Weights(spec, {name: np.asarray(array) for name, array in params.items()})
    cell = unflatten_dict({name: jnp.asarray(a) for name, a in export(weights, "linen").items()}, sep="/")
    return {"params": {"cell": cell}}


def main() -> int:
    parser = argparse.ArgumentParser(description="Our ConvLSTM against Flax linen's, forward and backward.")
    for name, default in (("frames", 5), ("batch", 4), ("size", 64), ("channels", 1), ("hidden", 32), ("runs", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--plain", action="store_true", help="also time method='plain', with XLA's own autodiff")
    parser.add_argument("--at-least", type=float, default=0.0, help="the ratio below which to exit with 1")
    given = parser.parse_args()

    spec = convgru.network("lstm", given.channels, given.hidden)
    params = convgru.jax.init(spec, jax.random.key(0))
    shape = (given.batch, given.frames, given.size, given.size, given.channels)
    x = jax.random.normal(jax.random.key(1), shape)
    print(f"jax {jax.__version__}, flax {flax.__version__}, {jax.devices()[0].device_kind}; x (B, T, H, W, C) {shape}")
    calls = {"linen": linen(to_linen(spec, params), x, given.hidden), "convgru": ours(spec, params, x, "fast")}
    if given.plain:
        calls["convgru, plain"] = ours(spec, params, x, "plain")

    losses = {name: float(jax.block_until_ready(call())[0]) for name, call in calls.items()}  # and warms up
    np.testing.assert_allclose(list(losses.values()), losses["linen"], rtol=1e-4)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(given.runs):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:16s}{median * 1e3:10.1f} ms   {medians['linen'] / median:6.1f} times linen's speed")
    return int(medians["linen"] / medians["convgru"] < given.at_least)


if __name__ == "__main__":
    sys.exit(main())
