"""Operations of the reference for float32 arrays: the same functions in a form that BLAS runs fast.

They serve ``convgru.reference.run(..., dtype="float32")`` alone. Gradients, complex step and the
budgets of parity stand on ``convgru.reference.ops``, which the results of these here are held to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from convgru.reference import ops
from convgru.reference.ops import Kernel, Params
from convgru.spec import CellSpec, ForecasterSpec
from convgru.spec.convolution import Convolution, pool_matrix

add_channel, norm, split, split_rz_n, concat = ops.add_channel, ops.norm, ops.split, ops.split_rz_n, ops.concat
patch, unpatch = ops.patch, ops.unpatch


@dataclass(frozen=True)
class Slabs(Kernel):
    """A kernel without groups that is also cut into the matrices of ``conv``.

    ``slabs`` is (taps on all axes but the last, taps on the last · channels, rows).
    """

    slabs: np.ndarray


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
    slabs = by_tap.reshape(prod(taps[:-1]), -1, matrix.shape[-1])
    return Slabs(kernel.matrix, kernel.geometry, np.ascontiguousarray(slabs))


def conv(x: np.ndarray, p: Params, name: str) -> np.ndarray:
    """Cross-correlate x (B, *S, C), one matrix product for each tap on all axes but the last.

    Only the taps on the last axis are copied side by side: for a kernel of 5 x 5 a fifth of the
    memory that all windows would take. Grouped kernels take the form of ``ops.conv``.
    """
    kernel = p[name]
    if not isinstance(kernel, Slabs):
        return ops.conv(x, p, name)
    geometry, batch = kernel.geometry, x.shape[0]
    size = geometry.output_size(x.shape[1:-1])
    columns = _columns(_padded(x, geometry), geometry)
    out = np.empty((batch, prod(size), kernel.slabs.shape[-1]), x.dtype)
    product = np.empty_like(out) if len(kernel.slabs) > 1 else out
    for number, tap in enumerate(np.ndindex(*geometry.kernel_size[:-1])):
        rows = [
            slice(k * d, k * d + (n - 1) * s + 1, s)
            for k, n, s, d in zip(tap, size[:-1], geometry.stride[:-1], geometry.dilation[:-1], strict=True)
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


def _columns(image: np.ndarray, geometry: Convolution) -> np.ndarray:
    """The windows along the last axis of an image (B, *S, C): (B, *, taps · C)."""
    taps, step, apart = geometry.kernel_size[-1], geometry.stride[-1], geometry.dilation[-1]
    windows = np.lib.stride_tricks.sliding_window_view(image, (taps - 1) * apart + 1, axis=-2)
    chosen = np.swapaxes(windows[..., ::step, :, ::apart], -1, -2)
    return np.ascontiguousarray(chosen).reshape(*chosen.shape[:-2], -1)


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
