"""The operations of the equations on JAX: channels last, images (B, *S, C)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import jax
from jax import numpy as jnp

from convgru.convolution import Convolution
from convgru.spec import CellSpec, ForecasterSpec
from convgru_jax.conv import CONVOLUTIONS


@dataclass(frozen=True)
class Kernel:
    """A convolution's weights (*k, in, out), its geometry, and which convolution is to take them."""

    weight: jax.Array
    geometry: Convolution
    method: str


Params = Mapping[str, "Kernel | jax.Array"]


def prepare(spec: CellSpec, arrays: Mapping[str, jax.Array], method: str) -> Params:
    """The parameters of one layer, given by their short names, in the form that the functions below take."""
    hh = spec.recurrent_convolution
    kernels = {"ih": _kernel(arrays["weight_ih"], spec.input_convolution, method)}
    if spec.reset == "before":
        cut = 2 * spec.hidden_channels
        kernels["hh_rz"] = _kernel(arrays["weight_hh"][:cut], hh, method)
        kernels["hh_n"] = _kernel(arrays["weight_hh"][cut:], hh, method)
    else:
        kernels["hh"] = _kernel(arrays["weight_hh"], hh, method)
    return kernels | {name: arrays[name] for name in ("bias", "bias_hn") if name in arrays}


def prepare_readout(spec: ForecasterSpec, arrays: Mapping[str, jax.Array], method: str) -> Params:
    """The parameters of a forecaster's readout in the form that the functions below take."""
    ones = (1,) * spec.ndim
    readout = _kernel(arrays["readout.weight"], Convolution(ones, ones, "valid"), method)
    return {"readout": readout, "readout_bias": arrays["readout.bias"]}


def _kernel(weight: jax.Array, geometry: Convolution, method: str) -> Kernel:
    return Kernel(jnp.moveaxis(weight, (0, 1), (-1, -2)), geometry, method)


def conv(x: jax.Array, p: Params, name: str) -> jax.Array:
    """Cross-correlation of x (B, *S, C) with the kernel ``name``."""
    kernel = p[name]
    assert isinstance(kernel, Kernel)
    out: jax.Array = CONVOLUTIONS[kernel.method](kernel.geometry, x, kernel.weight)
    return out


def add_channel(a: jax.Array, p: Params, name: str) -> jax.Array:
    """Add a vector along the channels."""
    vector = p[name]
    assert not isinstance(vector, Kernel)
    return a + vector


def split(a: jax.Array, n: int) -> tuple[jax.Array, ...]:
    """Cut the channels into n equal parts."""
    return tuple(jnp.split(a, n, axis=-1))


def split_rz_n(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cut the channels into the first two thirds and the last third."""
    cut = a.shape[-1] // 3 * 2
    return a[..., :cut], a[..., cut:]


def sigmoid(a: jax.Array) -> jax.Array:
    """1 / (1 + exp(−a))."""
    return jax.nn.sigmoid(a)


def tanh(a: jax.Array) -> jax.Array:
    """The hyperbolic tangent."""
    return jnp.tanh(a)


def activation(name: str, a: jax.Array) -> jax.Array:
    """The activation called ``name``."""
    return {"tanh": tanh, "relu": jax.nn.relu}[name](a)


def patch(x: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    """Pixel unshuffle: (..., *S, c) to (..., *S/p, c·∏p), channels in the order (c, i, j)."""
    ndim, base = len(sizes), x.ndim - len(sizes) - 1
    lead, channels = x.shape[:base], x.shape[-1]
    inside = [n for s, p in zip(x.shape[base:-1], sizes, strict=True) for n in (s // p, p)]
    cut = x.reshape(*lead, *inside, channels)
    order = [*range(base), *range(base, base + 2 * ndim, 2), cut.ndim - 1, *range(base + 1, base + 2 * ndim, 2)]
    return cut.transpose(order).reshape(*lead, *inside[::2], channels * prod(sizes))


def unpatch(a: jax.Array, patch: tuple[int, ...]) -> jax.Array:
    """Pixel shuffle: the inverse of ``patch``."""
    ndim, base = len(patch), a.ndim - len(patch) - 1
    lead, size, channels = a.shape[:base], a.shape[base:-1], a.shape[-1] // prod(patch)
    cut = a.reshape(*lead, *size, channels, *patch)
    pairs = [axis for i in range(ndim) for axis in (base + i, base + ndim + 1 + i)]
    whole = cut.transpose([*range(base), *pairs, base + ndim])
    return whole.reshape(*lead, *(s * p for s, p in zip(size, patch, strict=True)), channels)
