"""Convolution with custom gradients that XLA:CPU compiles to its fast kernel, and a plain one.

The trilinear form Σ x[stride·s + d·k] w[k] g[s] has three derivatives: ``correlate`` with respect
to g (the forward pass), ``spread`` with respect to x (the gradient of x) and ``collect`` with
respect to w (the gradient of w). The gradients of each of them are the other two, so reverse-mode
derivatives of every order are fast if these three are; see ``convgru_jax.convolution_cpu``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from jax import numpy as jnp

from convgru.spec.convolution import Convolution
from convgru_jax import convolution_cpu, sharding
from convgru_jax import convolution_products as products
from convgru_jax.convolution_geometry import Window, padded, plain

METHODS = ("fast", "plain")
"""``fast``: custom gradients, reverse mode only. ``plain``: JAX's own, in forward mode too."""


def convolve(method: str, geometry: Convolution, x: jax.Array, w: jax.Array) -> jax.Array:
    """Cross-correlation of x (B, *S, C) with w (*k, C/groups, O).

    The output channels O of w are in the order that ``grouped_rows`` gives them.
    """
    x, window = padded(geometry, x)
    out: Any
    if method == "plain" or sharding.explicit(x):
        # An explicit mesh asks for the sharding of every result, which JAX knows of its own
        # derivatives alone.
        out = (products.correlate if sharding.sums_twice(x, w) else plain)(window, x, w)
    elif window.groups == x.shape[-1] > 1 and _on_cpu():
        out = products.depthwise(window, x, w)
    else:
        out = correlate(window, x, w)
    return _turned(out, geometry.groups, geometry.gates) if geometry.reorders else out


def grouped_rows(geometry: Convolution, w: jax.Array) -> jax.Array:
    """Reorder the output channels of w from (gates, groups, …) to (groups, gates, …).

    That is the order in which XLA's grouped convolution expects kernels (*k, C/groups, O).
    """
    return _turned(w, geometry.gates, geometry.groups) if geometry.reorders else w


def _turned(a: jax.Array, first: int, second: int) -> jax.Array:
    """Reorder the channels of ``a`` from (first, second, …) to (second, first, …)."""
    cut = a.reshape(*a.shape[:-1], first, second, -1)
    return jnp.swapaxes(cut, -3, -2).reshape(a.shape)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def correlate(window: Window, x: jax.Array, w: jax.Array) -> jax.Array:
    """Forward: out[s] = Σ_k x[stride·s + d·k] w[k], for x (B, *S, C) and w (*k, C/groups, O).

    Differentiable in reverse mode only.
    """
    return _by_platform(convolution_cpu.correlate, plain, window, x, w)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def spread(window: Window, w: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient of x: the transpose of ``correlate`` in x, from g (B, *S', O) to (B, *S, C)."""
    return _by_platform(convolution_cpu.spread, _spread, window, w, g)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def collect(window: Window, x: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient of w: the transpose of ``correlate`` in w, of shape (*k, C/groups, O).

    From x (B, *S, C) and g (B, *S', O).
    """
    if sharding.sums_twice(x, g):
        return convolution_cpu.by_group(products.collect)(window, x, g)
    return _by_platform(convolution_cpu.collect, _collect, window, x, g)


def _by_platform(cpu: Any, default: Any, window: Window, a: jax.Array, b: jax.Array) -> jax.Array:
    """Call the CPU implementation if JAX's default device is a CPU, else the default one.

    Both are right on every device. Not lax.platform_dependent: in a scan that is
    differentiated twice, JAX 0.10 makes the index of the platform a residual of the derivative
    rules above, and then takes their residuals for one another.
    """
    return (cpu if _on_cpu() else default)(window, a, b)  # type: ignore[no-any-return]


def _on_cpu() -> bool:
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    platform = jax.default_backend() if device is None else getattr(device, "platform", device)
    return bool(platform == "cpu")


def _keep(function: Any) -> Any:
    """custom_vjp forward rule: call the function and save both operands as residuals."""
    return lambda window, a, b: (function(window, a, b), (a, b))


correlate.defvjp(
    _keep(correlate),
    lambda window, kept, g: (spread(window, kept[1], g), collect(window, kept[0], g)),
)
spread.defvjp(
    _keep(spread),
    lambda window, kept, x: (collect(window, x, kept[1]), correlate(window, x, kept[0])),
)
collect.defvjp(
    _keep(collect),
    lambda window, kept, w: (spread(window, w, kept[1]), correlate(window, kept[0], w)),
)


def _spread(window: Window, w: jax.Array, g: jax.Array) -> jax.Array:
    channels = w.shape[-2] * window.groups
    like = jax.ShapeDtypeStruct((g.shape[0], *window.input_size(g.shape[1:-1]), channels), g.dtype)
    (x,) = jax.linear_transpose(lambda x: plain(window, x, w), like)(g)
    return x  # type: ignore[no-any-return]


def _collect(window: Window, x: jax.Array, g: jax.Array) -> jax.Array:
    like = jax.ShapeDtypeStruct((*window.kernel_size, x.shape[-1] // window.groups, g.shape[-1]), g.dtype)
    (w,) = jax.linear_transpose(lambda w: plain(window, x, w), like)(g)
    return w  # type: ignore[no-any-return]
