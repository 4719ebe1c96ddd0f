"""Geometry of one convolution on images of one size, and XLA's convolution of that geometry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from convgru.spec.convolution import Convolution, Pads

Form = Callable[..., jax.Array]
"""One of the three forms of a convolution: a function of a window and two arrays."""
SPATIAL = {1: "0", 2: "01", 3: "012"}
MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""What jax.numpy.pad calls the padding modes that are not zeros."""


@dataclass(frozen=True)
class Window:
    """A convolution on images of one size, in plain numbers.

    ``pads`` are zeros before and after each dimension; ``rest`` is the number of pixels at the end
    of each dimension that the stride leaves unread.
    """

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: Pads
    rest: tuple[int, ...]
    groups: int = 1

    @property
    def reach(self) -> tuple[int, ...]:
        """How far a kernel extends beyond its first tap."""
        return tuple(d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True))

    @property
    def growth(self) -> tuple[int, ...]:
        """By how many pixels the output, its stride's gaps filled, is larger than the input."""
        parts = zip(self.pads, self.reach, self.rest, strict=True)
        return tuple(low + high - reach - rest for (low, high), reach, rest in parts)

    def output_size(self, size: tuple[Any, ...]) -> tuple[Any, ...]:
        """Spatial size of the output of an input of that size."""
        steps = zip(size, self.stride, self.growth, strict=True)
        return tuple((n + more - 1) // s + 1 if s > 1 else n + more for n, s, more in steps)

    def input_size(self, size: tuple[Any, ...]) -> tuple[Any, ...]:
        """Spatial size of the input whose output is of that size."""
        steps = zip(size, self.stride, self.growth, strict=True)
        return tuple((m - 1) * s + 1 - more if s > 1 else m - more for m, s, more in steps)

    def one_group(self) -> Window:
        """The same geometry for the channels of one group."""
        return replace(self, groups=1)

    def without_depth(self) -> Window:
        """The same geometry without the first spatial dimension."""
        return Window(
            self.kernel_size[1:], self.stride[1:], self.dilation[1:], self.pads[1:], self.rest[1:], self.groups
        )


def window_of(geometry: Convolution, size: tuple[Any, ...]) -> Window:
    """Return the window of ``geometry`` on an image of ``size``.

    Sizes may be symbolic where the stride is 1.
    """
    pads = geometry.pads(size)
    steps = zip(size, pads, geometry.kernel_size, geometry.stride, geometry.dilation, strict=True)
    rest = tuple((n + sum(pair) - d * (k - 1) - 1) % s if s > 1 else 0 for n, pair, k, s, d in steps)
    return Window(geometry.kernel_size, geometry.stride, geometry.dilation, pads, rest, geometry.groups)


def padded(geometry: Convolution, x: jax.Array) -> tuple[jax.Array, Window]:
    """Return x (B, *S, C) and its window; padding other than zeros is applied to x here."""
    window = window_of(geometry, x.shape[1:-1])
    if geometry.padding_mode == "zeros" or not any(map(any, window.pads)):
        return x, window
    x = jnp.pad(x, [(0, 0), *window.pads, (0, 0)], mode=MODES[geometry.padding_mode])
    return x, replace(window, pads=((0, 0),) * len(window.pads))


def native(
    x: jax.Array,
    w: jax.Array,
    pads: Pads,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int = 1,
) -> jax.Array:
    """XLA's cross-correlation of x (B, *S, C) with w (*k, C/groups, O)."""
    axes = SPATIAL[len(dilation)]
    labels = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return lax.conv_general_dilated(
        x, w, stride, pads, rhs_dilation=dilation, dimension_numbers=labels, feature_group_count=groups
    )


def plain(window: Window, x: jax.Array, w: jax.Array) -> jax.Array:
    """XLA's convolution of this window, with JAX's derivatives in forward and reverse mode."""
    return native(x, w, window.pads, window.stride, window.dilation, window.groups)


def spread_by(form: Form, window: Window, w: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient of x as JAX's transpose of ``form``, which computes the forward pass."""
    channels = w.shape[-2] * window.groups
    like = jax.ShapeDtypeStruct((g.shape[0], *window.input_size(g.shape[1:-1]), channels), g.dtype)
    (x,) = jax.linear_transpose(lambda x: form(window, x, w), like)(g)
    return x  # type: ignore[no-any-return]


def collect_by(form: Form, window: Window, x: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient of w as JAX's transpose of ``form``."""
    like = jax.ShapeDtypeStruct((*window.kernel_size, x.shape[-1] // window.groups, g.shape[-1]), g.dtype)
    (w,) = jax.linear_transpose(lambda w: form(window, x, w), like)(g)
    return w  # type: ignore[no-any-return]
