"""The convolution, with gradients that XLA compiles to its fast kernels on CPU, and a plain one with native autodiff.

XLA:CPU has a fast kernel for convolutions labelled ``b01f_01io->b01f`` alone. Autodiff of a convolution gives others,
which are 11 to 55 times slower inside a loop. The trilinear form Σ x[s + d·k] w[k] g[s] has three partial sums:
``correlate`` (over k: the forward pass), ``spread`` (over w: what reaches x) and ``collect`` (over s: what reaches w).
Each is written with the fast labels only, and the derivatives of each are the other two: so every order of
reverse-mode derivative stays fast.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from math import prod
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from convgru.convolution import Convolution, Pads

SPATIAL = {1: "0", 2: "01", 3: "012"}


def plain(geometry: Convolution, x: jax.Array, w: jax.Array) -> jax.Array:
    """Cross-correlation of x (B, *S, C) with w (*k, C, O), with JAX's own derivatives of every mode."""
    return _native(x, w, geometry.pads, geometry.dilation)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def correlate(geometry: Convolution, x: jax.Array, w: jax.Array) -> jax.Array:
    """Cross-correlation of x (B, *S, C) with w (*k, C, O): Σ_k x[s + d·k] w[k]. Reverse mode only."""
    return _by_platform(_correlate_cpu, plain, geometry, x, w)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def spread(geometry: Convolution, w: jax.Array, g: jax.Array) -> jax.Array:
    """The transpose of ``correlate`` in x: g (B, *S', O) to (B, *S, C)."""
    return _by_platform(_spread_cpu, _spread, geometry, w, g)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def collect(geometry: Convolution, x: jax.Array, g: jax.Array) -> jax.Array:
    """The transpose of ``correlate`` in w: x (B, *S, C) and g (B, *S', O) to (*k, C, O)."""
    return _by_platform(_collect_cpu, _collect, geometry, x, g)


def _by_platform(cpu: Any, default: Any, geometry: Convolution, a: jax.Array, b: jax.Array) -> jax.Array:
    """One form on CPU, another elsewhere: both are right anywhere, so that the default device of the moment may decide.

    Not lax.platform_dependent: in a scan that is differentiated twice, JAX 0.10 makes the index of the platform a
    residual of the derivative rules above, and then takes their residuals for one another.
    """
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    platform = jax.default_backend() if device is None else getattr(device, "platform", device)
    form = cpu if platform == "cpu" else default
    return form(geometry, a, b)  # type: ignore[no-any-return]


def _keep(function: Any) -> Any:
    """The forward rule of a bilinear function: its operands are what the backward rule needs."""
    return lambda geometry, a, b: (function(geometry, a, b), (a, b))


correlate.defvjp(
    _keep(correlate),
    lambda geometry, kept, g: (spread(geometry, kept[1], g), collect(geometry, kept[0], g)),
)
spread.defvjp(
    _keep(spread),
    lambda geometry, kept, x: (collect(geometry, x, kept[1]), correlate(geometry, x, kept[0])),
)
collect.defvjp(
    _keep(collect),
    lambda geometry, kept, w: (spread(geometry, w, kept[1]), correlate(geometry, kept[0], w)),
)


def _native(
    x: jax.Array, w: jax.Array, pads: Pads, dilation: tuple[int, ...], stride: tuple[int, ...] | None = None
) -> jax.Array:
    ndim = len(dilation)
    axes = SPATIAL[ndim]
    labels = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    strides = (1,) * ndim if stride is None else stride
    return lax.conv_general_dilated(x, w, strides, pads, rhs_dilation=dilation, dimension_numbers=labels)


def _spread(geometry: Convolution, w: jax.Array, g: jax.Array) -> jax.Array:
    size = [n - more for n, more in zip(g.shape[1:-1], geometry.growth, strict=True)]
    like = jax.ShapeDtypeStruct((g.shape[0], *size, w.shape[-2]), g.dtype)
    (x,) = jax.linear_transpose(lambda x: plain(geometry, x, w), like)(g)
    return x  # type: ignore[no-any-return]


def _collect(geometry: Convolution, x: jax.Array, g: jax.Array) -> jax.Array:
    like = jax.ShapeDtypeStruct((*geometry.kernel_size, x.shape[-1], g.shape[-1]), g.dtype)
    (w,) = jax.linear_transpose(lambda w: plain(geometry, x, w), like)(g)
    return w  # type: ignore[no-any-return]


def _correlate_cpu(geometry: Convolution, x: jax.Array, w: jax.Array) -> jax.Array:
    return _correlate(x, w, geometry.pads, geometry.dilation)


def _correlate(x: jax.Array, w: jax.Array, pads: Pads, dilation: tuple[int, ...]) -> jax.Array:
    if len(dilation) < 3:
        return _native(x, w, pads, dilation)
    planes = _stack_depth(x, w.shape[0], pads[0], dilation[0])
    depth = planes.shape[1]
    flat = planes.reshape(planes.shape[0] * depth, *planes.shape[2:])
    kernel = jnp.moveaxis(w, 0, 2).reshape(*w.shape[1:3], -1, w.shape[-1])
    out = _native(flat, kernel, pads[1:], dilation[1:])
    return out.reshape(x.shape[0], depth, *out.shape[1:])


def _stack_depth(x: jax.Array, taps: int, pads: tuple[int, int], dilation: int) -> jax.Array:
    """Turn x (B, D, H, W, C) into (B, D', H, W, taps·C): what every depth tap sees, side by side on the channels."""
    padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (*pads, 0), *[(0, 0, 0)] * 3])
    depth = padded.shape[1] - dilation * (taps - 1)
    return jnp.concatenate([padded[:, k * dilation : k * dilation + depth] for k in range(taps)], axis=-1)


def _spread_cpu(geometry: Convolution, w: jax.Array, g: jax.Array) -> jax.Array:
    ndim = len(geometry.dilation)
    turned = jnp.swapaxes(jnp.flip(w, range(ndim)), -1, -2)
    reach = [d * (k - 1) for k, d in zip(geometry.kernel_size, geometry.dilation, strict=True)]
    pads = tuple((r - low, r - high) for r, (low, high) in zip(reach, geometry.pads, strict=True))
    return _correlate(g, turned, pads, geometry.dilation)


def _collect_cpu(geometry: Convolution, x: jax.Array, g: jax.Array) -> jax.Array:
    if len(geometry.dilation) < 3:
        return _collect_taps(x, g, geometry)
    taps, channels = geometry.kernel_size[0], x.shape[-1]
    planes = _stack_depth(x, taps, geometry.pads[0], geometry.dilation[0])
    flat = planes.reshape(prod(planes.shape[:2]), *planes.shape[2:])
    within = Convolution(geometry.kernel_size[1:], geometry.dilation[1:], geometry.pads[1:])
    w = _collect_taps(flat, g.reshape(prod(g.shape[:2]), *g.shape[2:]), within)
    return jnp.moveaxis(w.reshape(*w.shape[:2], taps, channels, -1), 2, 0)


def _collect_taps(x: jax.Array, g: jax.Array, geometry: Convolution) -> jax.Array:
    """The weights' gradient as a convolution whose batch is the input channels and whose kernel is the image g."""
    if any(more > 0 for more in geometry.growth):
        return _collect_products(x, g, geometry)
    ones = (1,) * len(geometry.dilation)
    out = _native(jnp.swapaxes(x, 0, -1), jnp.moveaxis(g, 0, -2), geometry.pads, ones, geometry.dilation)
    return jnp.moveaxis(out, 0, -2)


def _collect_products(x: jax.Array, g: jax.Array, geometry: Convolution) -> jax.Array:
    """The weights' gradient as a matrix product for each tap: where g is larger than x, XLA would swap the two and lose its labels."""
    padded = lax.pad(
        x, jnp.zeros((), x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in geometry.pads), (0, 0, 0)]
    )
    axes = tuple(range(g.ndim - 1))
    taps = []
    for tap in product(*map(range, geometry.kernel_size)):
        starts = [k * d for k, d in zip(tap, geometry.dilation, strict=True)]
        windows = (slice(start, start + n) for start, n in zip(starts, g.shape[1:-1], strict=True))
        taps.append(lax.dot_general(padded[(slice(None), *windows)], g, ((axes, axes), ((), ()))))
    return jnp.stack(taps).reshape(*geometry.kernel_size, x.shape[-1], g.shape[-1])


CONVOLUTIONS: dict[str, Any] = {"fast": correlate, "plain": plain}
