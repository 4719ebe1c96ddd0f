"""Convolution as a sum of one matrix product for each kernel tap.

Half as slow again as XLA's convolutions, or more, where the channels are many; but it consists of
slices, products and sums only, whose derivatives XLA partitions correctly for every sharding.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import product

import jax
from jax import lax
from jax import numpy as jnp

from convgru_jax.convolution_geometry import Window

Tap = tuple[int, ...]


def correlate(window: Window, x: jax.Array, w: jax.Array) -> jax.Array:
    """Forward: out[s] = Σ_k x[stride·s + d·k] w[k]."""
    groups = window.groups
    rows = w.reshape(*window.kernel_size, x.shape[-1] // groups, groups, -1)

    def part(tap: Tap, seen: jax.Array) -> jax.Array:
        return jnp.einsum("...gc,cgo->...go", cut(seen, groups), rows[tap])

    total = reduce(jnp.add, (part(*each) for each in _taps(window, pad(x, [(*ends, 0) for ends in window.pads]))))
    return joined(total)


def depthwise(window: Window, x: jax.Array, w: jax.Array) -> jax.Array:
    """Forward, where each channel is a group: 40 times faster on CPU than a grouped convolution."""
    rows = w.reshape(*window.kernel_size, x.shape[-1], -1)
    image = pad(x, [(*ends, 0) for ends in window.pads])
    total = reduce(jnp.add, (seen[..., None] * rows[tap] for tap, seen in _taps(window, image)))
    return joined(total)


def collect(window: Window, x: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient of w: dw[k] = Σ_s x[stride·s + d·k] g[s], for one group."""
    ends = zip(window.pads, window.rest, strict=True)
    image = pad(x, [(low, high - rest, 0) for (low, high), rest in ends])
    axes = tuple(range(g.ndim - 1))
    parts = [lax.dot_general(seen, g, ((axes, axes), ((), ()))) for _, seen in _taps(window, image)]
    return jnp.stack(parts).reshape(*window.kernel_size, x.shape[-1], g.shape[-1])


def cut(a: jax.Array, groups: int) -> jax.Array:
    """(..., C) as (..., groups, C/groups), of an empty batch too, for which -1 has no meaning."""
    return a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups)


def joined(a: jax.Array) -> jax.Array:
    """(..., groups, C/groups) as (..., C)."""
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])


def pad(x: jax.Array, widths: list[tuple[int, int, int]]) -> jax.Array:
    """Insert zeros before, after and between the pixels of x (B, *S, C): (low, high, gap) each."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *widths, (0, 0, 0)])


def _taps(window: Window, image: jax.Array) -> Iterator[tuple[Tap, jax.Array]]:
    """Yield each tap of the kernel and the slice of the padded image that it reads."""
    for tap in product(*map(range, window.kernel_size)):
        parts = zip(image.shape[1:-1], tap, window.stride, window.dilation, window.reach, strict=True)
        spans = (
            slice(k * d, n - reach + k * d, s) if s > 1 else slice(k * d, n - reach + k * d)
            for n, k, s, d, reach in parts
        )
        yield tap, image[(slice(None), *spans)]
