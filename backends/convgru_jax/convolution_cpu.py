"""Forward pass and gradients of a convolution, as XLA:CPU runs them fastest.

XLA:CPU has a fast kernel for the labels ``b01f_01io->b01f`` alone. Autodiff of a convolution gives
other labels, which are 11 to 55 times slower inside a loop. Groups are split here, since XLA's own
are three times slower; gaps are filled with zeros before a convolution; and in 3-D the depth is
stacked on the channels.
"""

from __future__ import annotations

from math import prod

import jax
from jax import lax
from jax import numpy as jnp

from convgru.spec.convolution import Pads
from convgru_jax import convolution_products as products
from convgru_jax.convolution_geometry import Form, Window, collect_by, native, spread_by
from convgru_jax.convolution_products import pad

UNROLLED = 8
"""How many groups stand side by side in a program; more are a loop, which compiles in one time."""


def by_group(form: Form) -> Form:
    """Run a function of one group group by group.

    In forward pass and both gradients, all operands and the result have the groups on their last
    axis.
    """

    def split(window: Window, a: jax.Array, b: jax.Array) -> jax.Array:
        groups, one = window.groups, window.one_group()
        if groups == 1:
            return form(window, a, b)
        if groups <= UNROLLED:
            pairs = zip(*(jnp.split(each, groups, axis=-1) for each in (a, b)), strict=True)
            return jnp.concatenate([form(one, *pair) for pair in pairs], axis=-1)
        stacks = (jnp.moveaxis(products.cut(each, groups), -2, 0) for each in (a, b))
        out = jnp.moveaxis(lax.map(lambda pair: form(one, *pair), tuple(stacks)), 0, -2)
        return products.joined(out)

    return split


def correlate(window: Window, x: jax.Array, w: jax.Array) -> jax.Array:
    """Forward: out[s] = Σ_k x[stride·s + d·k] w[k]."""
    if window.groups == x.shape[-1] > 1:
        return products.depthwise(window, x, w)
    return by_group(_correlate)(window, x, w)


def spread(window: Window, w: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient of x: dx[stride·s + d·k] = Σ g[s] w[k], summed over all such pairs (s, k)."""
    if w.shape[-2] == 1 < window.groups:
        return spread_by(products.depthwise, window, w, g)
    return by_group(_spread)(window, w, g)


def collect(window: Window, x: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient of w: dw[k] = Σ_s x[stride·s + d·k] g[s]."""
    if window.groups == x.shape[-1] > 1:
        return collect_by(products.depthwise, window, x, g)
    return by_group(_collect)(window, x, g)


def _correlate(window: Window, x: jax.Array, w: jax.Array) -> jax.Array:
    if len(window.stride) < 3:
        return _canonical(x, w, window.pads, window.stride, window.dilation)
    planes = _stack_depth(window, x)
    depth = planes.shape[1]
    flat = planes.reshape(planes.shape[0] * depth, *planes.shape[2:])
    kernel = jnp.moveaxis(w, 0, 2).reshape(*w.shape[1:3], -1, w.shape[-1])
    out = _canonical(flat, kernel, window.pads[1:], window.stride[1:], window.dilation[1:])
    return out.reshape(x.shape[0], depth, *out.shape[1:])


def _spread(window: Window, w: jax.Array, g: jax.Array) -> jax.Array:
    """A convolution of g, its stride's gaps filled with zeros, with the flipped kernel."""
    ndim = len(window.stride)
    turned = jnp.swapaxes(jnp.flip(w, range(ndim)), -1, -2)
    ones = (1,) * ndim
    ends = zip(window.pads, window.reach, window.rest, strict=True)
    pads = tuple((reach - low, reach - high + rest) for (low, high), reach, rest in ends)
    if any(s > 1 for s in window.stride):
        # Not lhs_dilation, which takes nearly twice as long.
        g = pad(g, [(0, 0, s - 1) for s in window.stride])
    return _correlate(Window(window.kernel_size, ones, window.dilation, pads, (0,) * ndim), g, turned)


def _collect(window: Window, x: jax.Array, g: jax.Array) -> jax.Array:
    if len(window.stride) < 3:
        return _collect_taps(window, x, g)
    taps, channels = window.kernel_size[0], x.shape[-1]
    planes = _stack_depth(window, x)
    flat = planes.reshape(prod(planes.shape[:2]), *planes.shape[2:])
    w = _collect_taps(window.without_depth(), flat, g.reshape(prod(g.shape[:2]), *g.shape[2:]))
    return jnp.moveaxis(w.reshape(*w.shape[:2], taps, channels, -1), 2, 0)


def _canonical(x: jax.Array, w: jax.Array, pads: Pads, stride: tuple[int, ...], dilation: tuple[int, ...]) -> jax.Array:
    """XLA's convolution of x (B, *S, C) with w (*k, C, O), which keeps its labels when compiled.

    XLA exchanges the two where w has more pixels than x. The zeros are then put around x here.
    """
    kernel, image = w.shape[:-2], x.shape[1:-1]
    if any(type(k) is type(n) and k > n for k, n in zip(kernel, image, strict=True)):
        x, pads = lax.optimization_barrier(pad(x, [(low, high, 0) for low, high in pads])), ((0, 0),) * len(pads)
    return native(x, w, pads, stride, dilation)


def _stack_depth(window: Window, x: jax.Array) -> jax.Array:
    """Turn x (B, D, H, W, C) into (B, D', H, W, taps·C).

    The planes that each depth tap reads stand side by side on the channels.
    """
    (low, high), reach, stride = window.pads[0], window.reach[0], window.stride[0]
    image = pad(x, [(low, high - window.rest[0], 0), (0, 0, 0), (0, 0, 0)])
    depth = image.shape[1] - reach
    starts = range(0, reach + 1, window.dilation[0])
    return jnp.concatenate([image[:, k : k + depth : stride] for k in starts], axis=-1)


def _collect_taps(window: Window, x: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient of w as a convolution: its batch is the input channels, its kernel the image g."""
    rows = window.kernel_size[-1] * x.shape[-1]
    if len(window.stride) == 2 and 3 * g.shape[-1] >= 2 * rows:
        return _collect_by_columns(window, x, g)
    pads = tuple((low, high - rest) for (low, high), rest in zip(window.pads, window.rest, strict=True))
    out = _canonical(jnp.swapaxes(x, 0, -1), jnp.moveaxis(g, 0, -2), pads, window.dilation, window.stride)
    return jnp.moveaxis(out, 0, -2)


def _collect_by_columns(window: Window, x: jax.Array, g: jax.Array) -> jax.Array:
    """The same in 2-D as a convolution over the rows alone, for many more outputs than inputs.

    The columns that each tap reads are stacked on the input channels, and summed over as features:
    up to three times faster where w has few input channels.
    """
    pads = [(low, high - rest) for (low, high), rest in zip(window.pads, window.rest, strict=True)]
    image, width = pad(x, [(0, 0, 0), (*pads[1], 0)]), g.shape[2]
    starts = range(0, window.reach[1] + 1, window.dilation[1])
    span = (width - 1) * window.stride[1] + 1
    seen = jnp.stack([image[:, :, k : k + span : window.stride[1]] for k in starts])
    rows = seen.transpose(0, 4, 2, 1, 3).reshape(len(starts) * x.shape[-1], x.shape[1], -1)
    kernel = g.transpose(1, 0, 2, 3).reshape(g.shape[1], -1, g.shape[-1])
    out = _canonical(rows, kernel, tuple(pads[:1]), window.dilation[:1], window.stride[:1])
    return out.reshape(len(starts), x.shape[-1], *out.shape[1:]).transpose(2, 0, 1, 3)
