"""The operations of the equations on JAX: channels last, images (B, *S, C)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import jax
from jax import lax
from jax import numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from convgru.spec import CellSpec, ForecasterSpec
from convgru.spec.cell import Operand
from convgru.spec.convolution import Convolution, pool_matrix
from convgru_jax.convolution import convolve, grouped_rows, on_cpu


@dataclass(frozen=True)
class Kernel:
    """A convolution's weights (*k, in/groups, out), geometry, and the method that computes it.

    The weights are ``wide``.
    """

    weight: jax.Array
    geometry: Convolution
    method: str


@dataclass(frozen=True)
class NormPart:
    """One normalised tensor: number of groups, ε, and the weight and bias (``wide``) by channel."""

    groups: int
    eps: float
    weight: jax.Array
    bias: jax.Array


KEPT = "convgru_kept"
"""Name of the intermediate results that ``loop.lean`` keeps for the derivative of a step."""

Params = Mapping[str, "Kernel | NormPart | jax.Array"]


def prepare(spec: CellSpec, arrays: Mapping[str, jax.Array], method: str) -> Params:
    """Prepare the parameters of one plain cell, given by short name, for the functions below."""
    return {name: _operand(operand, arrays, method) for name, operand in spec.operands.items()}


def _operand(operand: Operand, arrays: Mapping[str, jax.Array], method: str) -> Kernel | NormPart | jax.Array:
    rows = slice(*operand.rows)
    array = wide(arrays[operand.array][rows])
    if operand.use == "norm":
        return NormPart(operand.groups, operand.eps, array, wide(arrays["norm_bias"][rows]))
    if operand.convolution is not None:
        return _kernel(array, operand.convolution, method)
    return array if operand.use == "add" else jnp.moveaxis(array, 0, -1)


def prepare_readout(spec: ForecasterSpec, arrays: Mapping[str, jax.Array], method: str) -> Params:
    """Prepare the parameters of a forecaster's readout for the functions below."""
    ones = (1,) * spec.ndim
    weight, bias = wide(arrays["readout.weight"]), wide(arrays["readout.bias"])
    return {"readout": _kernel(weight, Convolution(ones, ones, ones, padding="valid"), method), "readout_bias": bias}


def wide(a: jax.Array) -> jax.Array:
    """``a`` in float32 at least: what every step of a loop reads, and casts back (exactly).

    The gradient of such an array is a sum over time. In bfloat16 a sum of like terms stops growing
    at 256 of them.
    """
    return a.astype(jnp.float32) if a.dtype.itemsize < 4 else a


def _kernel(weight: jax.Array, geometry: Convolution, method: str) -> Kernel:
    return Kernel(grouped_rows(geometry, jnp.moveaxis(weight, (0, 1), (-1, -2))), geometry, method)


def hoists_input(p: Params) -> bool:
    """Return True if the input convolution of all frames goes before the loop over time.

    On CPU it goes frame by frame, where its result is still in the cache when it is read: 8 to 30 %
    faster. With XLA's own derivatives it goes before: they are slow in a loop.
    """
    kernel = p["ih"]
    assert isinstance(kernel, Kernel)
    return kernel.method == "plain" or not on_cpu()


def conv(x: jax.Array, p: Params, name: str) -> jax.Array:
    """Cross-correlation of x (B, *S, C) with the kernel ``name``."""
    kernel = p[name]
    assert isinstance(kernel, Kernel)
    return convolve(kernel.method, kernel.geometry, x, kernel.weight.astype(x.dtype))


def peep(c: jax.Array, p: Params, name: str) -> jax.Array:
    """P·c: elementwise, or a convolution."""
    weights = p[name]
    return conv(c, p, name) if isinstance(weights, Kernel) else _vector(p, name, c) * c


def norm(a: jax.Array, p: Params, part: str) -> jax.Array:
    """Group norm over space and each group's channels, then weight and bias by channel.

    Statistics are computed in float32 at least.
    """
    normed = p["norm_" + part]
    assert isinstance(normed, NormPart)
    a = checkpoint_name(a, KEPT)
    cut = wide(a.reshape(*a.shape[:-1], normed.groups, a.shape[-1] // normed.groups))
    axes = (*range(1, a.ndim - 1), a.ndim)
    centred = cut - cut.mean(axes, keepdims=True)
    # Not rsqrt, which XLA:CPU approximates: its gradients were off by five times as much.
    scaled = centred / jnp.sqrt((centred * centred).mean(axes, keepdims=True) + normed.eps)
    weight, bias = normed.weight.astype(a.dtype), normed.bias.astype(a.dtype)
    return scaled.reshape(a.shape).astype(a.dtype) * weight + bias


def add_channel(a: jax.Array, p: Params, name: str) -> jax.Array:
    """Add a vector along the channels."""
    return a + _vector(p, name, a)


def _vector(p: Params, name: str, like: jax.Array) -> jax.Array:
    vector = p[name]
    assert not isinstance(vector, (Kernel, NormPart))
    return vector.astype(like.dtype)


def split(a: jax.Array, n: int) -> tuple[jax.Array, ...]:
    """Cut the channels into n equal parts."""
    return tuple(jnp.split(a, n, axis=-1))


def split_rz_n(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cut the channels into the first two thirds and the last third."""
    cut = a.shape[-1] // 3 * 2
    return a[..., :cut], checkpoint_name(a[..., cut:], KEPT)


def concat(a: jax.Array, b: jax.Array) -> jax.Array:
    """Put the channels of b behind those of a."""
    return jnp.concatenate([a, b], axis=-1)


ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": lambda a: jnp.where(a > 0, a, 0.01 * a),
    "sigmoid": lax.logistic,
    "hard_sigmoid": lambda a: jnp.clip(a * (1 / 6) + 0.5, 0, 1),
    "hard_sigmoid_0.2": lambda a: jnp.clip(a * 0.2 + 0.5, 0, 1),
}


def activation(name: str, a: jax.Array) -> jax.Array:
    """The activation called ``name``.

    The derivatives of tanh and sigmoid read their results, those of the others what they are of.
    """
    a = a if name in ("tanh", "sigmoid") else checkpoint_name(a, KEPT)
    return ACTIVATIONS[name](a)


def pool(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Adaptive average pooling of (..., *S, C): a matrix product in each dimension."""
    for axis, m in enumerate(size, start=x.ndim - 1 - len(size)):
        matrix = jnp.asarray(pool_matrix(x.shape[axis], m), x.dtype)
        x = jnp.moveaxis(jnp.tensordot(x, matrix, (axis, 0)), -1, axis)
    return x


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
