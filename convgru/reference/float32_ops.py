"""Operations of the reference for float32 arrays: the same functions in a form that BLAS runs fast.

They serve ``convgru.reference.run(..., dtype="float32")`` alone. Gradients, complex step and the
budgets of parity stand on ``convgru.reference.ops``, which the results of these here are held to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from convgru.reference import ops
from convgru.reference.ops import Kernel, Params
from convgru.spec import CellSpec, ForecasterSpec
from convgru.spec.convolution import Convolution, pool_matrix

add_channel, norm, split, split_rz_n, concat = ops.add_channel, ops.norm, ops.split, ops.split_rz_n, ops.concat
patch, unpatch = ops.patch, ops.unpatch


SMALL = 128
"""Products of fewer terms are too short for BLAS: such kernels have all their taps in one."""


@dataclass(frozen=True)
class Slabs(Kernel):
    """A kernel without groups that is also cut into the matrices of ``conv``.

    ``slabs`` is (taps on the other axes, taps on the last ``joined`` axes · channels, rows).
    """

    slabs: np.ndarray
    joined: int


def prepare(spec: CellSpec, arrays: Mapping[str, np.ndarray]) -> Params:
    """Prepare one cell's parameters, given by their short names, for the operations below."""
    return _cut(ops.prepare(spec, arrays))


def prepare_readout(spec: ForecasterSpec, arrays: Mapping[str, np.ndarray]) -> Params:
    """Prepare the parameters of a forecaster's readout for the operations below."""
    return _cut(ops.prepare_readout(spec, arrays))


def _cut(params: Params) -> Params:
    return {name: _slabs(p) if isinstance(p, Kernel) and p.geometry.groups == 1 else p for name, p in params.items()}


def _slabs(kernel: Kernel) -> Slabs:
    taps, (matrix,) = kernel.geometry.kernel_size, kernel.matrix
    by_tap = np.moveaxis(matrix.reshape(-1, *taps, matrix.shape[-1]), 0, -2)  # (*k, channels, rows)
    joined = len(taps) if len(matrix) <= SMALL else 1
    slabs = by_tap.reshape(prod(taps[: len(taps) - joined]), -1, matrix.shape[-1])
    return Slabs(kernel.matrix, kernel.geometry, np.ascontiguousarray(slabs), joined)


def conv(x: np.ndarray, p: Params, name: str) -> np.ndarray:
    """Cross-correlate x (B, *S, C), one matrix product for each tap on the axes but the last.

    Only the taps on the last axis are copied side by side: for a kernel of 5 x 5 a fifth of the
    memory that all windows would take. A small kernel has all its taps side by side. Grouped
    kernels take the form of ``ops.conv``.
    """
    kernel = p[name]
    if not isinstance(kernel, Slabs):
        return ops.conv(x, p, name)
    geometry, batch = kernel.geometry, x.shape[0]
    size = geometry.output_size(x.shape[1:-1])
    columns = _columns(_padded(x, geometry), geometry, kernel.joined)
    apart = len(size) - kernel.joined
    out = np.empty((batch, prod(size), kernel.slabs.shape[-1]), x.dtype)
    product = np.empty_like(out) if len(kernel.slabs) > 1 else out
    for number, tap in enumerate(np.ndindex(*geometry.kernel_size[:apart])):
        rows = [
            slice(k * d, k * d + (n - 1) * s + 1, s)
            for k, n, s, d in zip(tap, size, geometry.stride, geometry.dilation, strict=False)
        ]
        piece = columns[(slice(None), *rows)].reshape(batch, prod(size), -1)
        np.matmul(piece, kernel.slabs[number], out=product if number else out)
        if number:
            out += product
    return out.reshape(batch, *size, -1)


def _padded(x: np.ndarray, geometry: Convolution) -> np.ndarray:
    """X with its padding."""
    pads = geometry.pads(x.shape[1:-1])
    if not any(map(any, pads)):
        return x
    if geometry.padding_mode != "zeros":
        widths, mode = [(0, 0), *pads, (0, 0)], ops.MODES[geometry.padding_mode]
        return np.asarray(np.pad(x, widths, mode=mode))  # type: ignore[call-overload]
    sizes = [low + n + high for n, (low, high) in zip(x.shape[1:-1], pads, strict=True)]
    image = np.zeros((x.shape[0], *sizes, x.shape[-1]), x.dtype)
    image[(slice(None), *(slice(low, size - high) for size, (low, high) in zip(sizes, pads, strict=True)))] = x
    return image


def _columns(image: np.ndarray, geometry: Convolution, joined: int) -> np.ndarray:
    """The windows along the last ``joined`` axes of an image (B, *S, C): (B, *, taps · C)."""
    taps, steps, gaps = (each[-joined:] for each in (geometry.kernel_size, geometry.stride, geometry.dilation))
    spans = tuple((k - 1) * d + 1 for k, d in zip(taps, gaps, strict=True))
    axes = tuple(range(image.ndim - 1 - joined, image.ndim - 1))
    windows = np.lib.stride_tricks.sliding_window_view(image, spans, axis=axes)  # (B, *, C, *spans)
    strided, spread = ([slice(None, None, n) for n in numbers] for numbers in (steps, gaps))
    chosen: tuple[Any, ...] = (..., *strided, slice(None), *spread)
    tapped = np.moveaxis(windows[chosen], -1 - joined, -1)
    return np.ascontiguousarray(tapped).reshape(*tapped.shape[: image.ndim - 1], -1)


def peep(c: np.ndarray, p: Params, name: str) -> np.ndarray:
    """P·c: elementwise, or a convolution."""
    weights = p[name]
    return weights * c if isinstance(weights, np.ndarray) else conv(c, p, name)


def pool(x: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Adaptive average pooling of (..., *S, C), as ``ops.pool``."""
    for axis, m in enumerate(size, start=x.ndim - 1 - len(size)):
        matrix = np.array(pool_matrix(x.shape[axis], m), x.dtype)
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ matrix, -1, axis)
    return x


def activation(name: str, a: np.ndarray) -> np.ndarray:
    """The activation called ``name``; the sigmoid is 1 / (1 + exp(−a)) in three passes."""
    if name != "sigmoid":
        return ops.activation(name, a)
    out: np.ndarray = np.negative(a)
    with np.errstate(over="ignore"):  # exp is inf then, and the sigmoid 0
        np.exp(out, out=out)
    out += 1
    np.reciprocal(out, out=out)
    return out
