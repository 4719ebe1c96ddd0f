"""The convolution of a network: with derivatives that are fast on CPU, or with JAX's own."""

from __future__ import annotations

import jax
from jax import numpy as jnp

from convgru.spec.convolution import Convolution
from convgru_jax import convolution_products as products
from convgru_jax import sharding
from convgru_jax.convolution_geometry import padded, plain
from convgru_jax.convolution_primitives import correlate

METHODS = ("fast", "plain")
"""``fast``: derivatives by ``convolution_primitives``. ``plain``: JAX's own."""


def convolve(method: str, geometry: Convolution, x: jax.Array, w: jax.Array) -> jax.Array:
    """Cross-correlation of x (B, *S, C) with w (*k, C/groups, O).

    The output channels O of w are in the order that ``grouped_rows`` gives them.
    """
    x, window = padded(geometry, x)
    form = correlate
    if method == "plain" or sharding.explicit(x):
        # An explicit mesh asks for the sharding of every result, which JAX knows of its own
        # derivatives alone.
        form = products.correlate if sharding.sums_twice(x, w) else plain
    out = form(window, x, w)
    return _turned(out, geometry.groups, geometry.gates) if geometry.reorders else out


def grouped_rows(geometry: Convolution, w: jax.Array) -> jax.Array:
    """Reorder the output channels of w from (gates, groups, …) to (groups, gates, …).

    That is the order in which XLA's grouped convolution expects kernels (*k, C/groups, O).
    """
    return _turned(w, geometry.gates, geometry.groups) if geometry.reorders else w


def _turned(a: jax.Array, first: int, second: int) -> jax.Array:
    """Reorder the channels of ``a`` from (first, second, …) to (second, first, …)."""
    cut = a.reshape(*a.shape[:-1], first, second, a.shape[-1] // (first * second))
    return jnp.swapaxes(cut, -3, -2).reshape(a.shape)


def on_cpu() -> bool:
    """Return True if JAX's default device is a CPU."""
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    platform = jax.default_backend() if device is None else getattr(device, "platform", device)
    return bool(platform == "cpu")
