"""Convolutions on MindSpore tensors with every kind of padding; in float64 as matrix products."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import mindspore as ms
import mindspore.ops as mops
import numpy as np
from mindspore.ops import constexpr, operations
from mindspore.ops.operations import _grad_ops as slopes

from convgru.errors import UnsupportedError
from convgru.spec.convolution import Convolution, pool_matrix
from convgru_mindspore.graphs import known

Tensor = Any
MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""What NumPy calls the padding modes."""


def convolve(x: Tensor, weight: Tensor, geometry: Any) -> Tensor:
    """Cross-correlate x (B, C, *S) with a weight that ``ordered`` prepared.

    Computed in the weight's dtype, which mixed precision may have lowered; the result has x's dtype
    and its channels in the canonical order.
    """
    dtype = x.dtype
    if dtype != weight.dtype:
        x = x.astype(weight.dtype)
    y = _by_product(x, weight, geometry) if weight.dtype == ms.float64 else _by_primitive(x, weight, geometry)
    if dtype != weight.dtype:
        y = y.astype(dtype)
    restore = restore_order(geometry, weight.shape[0])
    if len(restore) > 0:
        y = mops.gather(y, indices(restore), 1)
    return y


def ordered(weight: Tensor, geometry: Any) -> Tensor:
    """The rows of a weight in the order that MindSpore's grouped convolution expects."""
    order = row_order(geometry, weight.shape[0])
    if len(order) > 0:
        weight = mops.gather(weight, indices(order), 0)
    return weight


def _by_primitive(x: Tensor, weight: Tensor, geometry: Any) -> Tensor:
    """Convolve with Conv2D or Conv3D; one dimension becomes two."""
    picks, pads, stride, dilation = plan(geometry, known(x.shape))
    for axis in range(len(picks)):
        if len(picks[axis]) > 0:
            x = mops.gather(x, indices(picks[axis]), axis + 2)
    flat = len(x.shape) == 3
    if flat:
        x, weight = mops.expand_dims(x, 2), mops.expand_dims(weight, 2)
    rows, kernel, groups = weight.shape[0], weight.shape[2:], geometry[3]
    if len(x.shape) == 4:
        y = mops.Conv2D(rows, kernel, pad_mode="pad", pad=pads, stride=stride, dilation=dilation, group=groups)(
            x, weight
        )
    else:
        y = mops.Conv3D(rows, kernel, pad_mode="pad", pad=pads, stride=stride, dilation=dilation, group=groups)(
            x, weight
        )
    return mops.squeeze(y, 2) if flat else y


def straight(x: Tensor, weight: Tensor, geometry: Any) -> Tensor:
    """``convolve`` for what is ``direct``, for ``kept``, which shares nothing with it."""
    _, pads, stride, dilation = plan(geometry, known(x.shape))
    rows, taps, groups = weight.shape[0], weight.shape[2:], geometry[3]
    kind = mops.Conv2D if len(x.shape) == 4 else mops.Conv3D
    convolution = kind(rows, taps, pad_mode="pad", pad=pads, stride=stride, dilation=dilation, group=groups)
    return operations.Cast()(convolution(operations.Cast()(x, weight.dtype), weight), x.dtype)


def slope(x: Tensor, weight: Tensor, geometry: Any, dy: Tensor) -> Any:
    """The gradients of ``straight`` with respect to x and the weight, from that of its result."""
    dtype = x.dtype
    x, dy = operations.Cast()(x, weight.dtype), operations.Cast()(dy, weight.dtype)
    _, pads, stride, dilation = plan(geometry, known(x.shape))
    rows, taps, groups = weight.shape[0], weight.shape[2:], geometry[3]
    if len(x.shape) == 4:
        dx = operations.Conv2DBackpropInput(
            rows, taps, pad_mode="pad", pad=pads, pad_list=pads, stride=stride, dilation=dilation, group=groups
        )(dy, weight, mops.shape(x))
        dweight = slopes.Conv2DBackpropFilter(
            rows, taps, pad_mode="pad", pad=pads, pad_list=pads, stride=stride, dilation=dilation, group=groups
        )(dy, x, weight.shape)
    else:
        dx = operations.nn_ops.Conv3DBackpropInput(
            rows, taps, pad_mode="pad", pad=pads, stride=stride, dilation=dilation, group=groups
        )(weight, dy, mops.shape(x))
        dweight = slopes.Conv3DBackpropFilter(
            rows, taps, pad_mode="pad", pad=pads, stride=stride, dilation=dilation, group=groups
        )(x, dy, weight.shape)
    return operations.Cast()(dx, dtype), dweight


def direct(convolution: Convolution) -> bool:
    """Whether ``straight`` and ``slope`` serve, in float32 and float16."""
    return not convolution.reorders and convolution.padding_mode == "zeros" and len(convolution.kernel_size) > 1


def _by_product(x: Tensor, weight: Tensor, geometry: Any) -> Tensor:
    """Convolve as one matrix product over gathered windows: the primitives refuse float64.

    Windows that reach into the padding read one more pixel, a zero. No ``mops.pad``: its gradient
    in a loop of ``SEQUENCE`` is wrong.
    """
    padded, size, windows, pixels = window_plan(geometry, known(x.shape))
    batch, rows, groups = x.shape[0], weight.shape[0], geometry[3]
    x = x.reshape((batch, x.shape[1], -1))
    if padded:
        x = mops.concat((x, operations.ZerosLike()(mops.gather(x, indices((0,)), 2))), 2)
    columns = mops.gather(x, windows, 2)
    if groups == 1:
        product = mops.matmul(weight.reshape((rows, -1)), columns.reshape((batch, -1, pixels)))
    else:
        product = mops.matmul(
            weight.reshape((groups, rows // groups, -1)), columns.reshape((batch, groups, -1, pixels))
        )
    return product.reshape((batch, rows, *size))


def pool(x: Tensor, size: Any) -> Tensor:
    """Adaptive average pooling of (N, C, *S) to a fixed size."""
    for axis in range(len(size)):
        x = mops.swapaxes(x, axis + 2, -1)
        x = mops.matmul(x, pooling(known(x.shape)[-1], size[axis], x.dtype))
        x = mops.swapaxes(x, axis + 2, -1)
    return x


@constexpr
def pointwise(ndim: int) -> Any:
    """The geometry of a convolution with a kernel of 1."""
    ones = (1,) * ndim
    return plain(Convolution(ones, ones, ones, padding="valid"))


def plain(c: Convolution) -> Any:
    """A `Convolution` as nested tuples (graph mode has no objects).

    Explicit pads are flat, (low, high, low, high, ...): graphs nest no more than six levels.
    """
    padding = c.padding if isinstance(c.padding, str) else tuple(n for pair in c.padding for n in pair)
    return c.kernel_size, c.stride, c.dilation, c.groups, padding, c.padding_mode, c.gates


def _convolution(geometry: Any) -> Convolution:
    """The nested tuples of ``plain`` as a `Convolution` again."""
    kernel, stride, dilation, groups, padding, mode, gates = geometry
    pairs = padding if isinstance(padding, str) else tuple(zip(padding[::2], padding[1::2], strict=True))
    return Convolution(kernel, stride, dilation, groups, pairs, mode, gates)


@constexpr
def row_order(geometry: Any, rows: int) -> Any:
    """``Convolution.row_order``; empty where it changes nothing."""
    convolution = _convolution(geometry)
    return convolution.row_order(rows) if convolution.reorders else ()


@constexpr
def restore_order(geometry: Any, rows: int) -> Any:
    """``Convolution.restore_order``; empty where it changes nothing."""
    return _restore_order(geometry, rows)


@lru_cache
def _restore_order(geometry: Any, rows: int) -> Any:
    convolution = _convolution(geometry)
    return convolution.restore_order(rows) if convolution.reorders else ()


@constexpr
def indices(numbers: Any) -> Any:
    """Constant indices as a tensor."""
    return _indices(numbers)


@lru_cache
def _indices(numbers: Any) -> Any:
    return ms.Tensor(np.asarray(numbers, np.int32))


@constexpr
def plan(geometry: Any, shape: Any) -> Any:
    """Precomputed constants for Conv2D/Conv3D: pixels to gather, pads, stride, dilation.

    Pixels along each axis, empty where the padding is zeros; pads as one flat tuple.
    """
    return _plan(geometry, tuple(shape[2:]))


@lru_cache
def _plan(geometry: Any, size: Any) -> Any:
    convolution = _convolution(geometry)
    pads, picks = _pads(convolution, size), [()] * len(size)
    if convolution.padding_mode != "zeros":
        picks = [
            tuple(np.pad(np.arange(n), pair, MODES[convolution.padding_mode]).tolist()) if any(pair) else ()  # type: ignore[call-overload]
            for n, pair in zip(size, pads, strict=True)
        ]
        pads = ((0, 0),) * len(size)
    extra = (0,) * (2 - len(size))
    flat = (*extra, *extra, *(n for pair in pads for n in pair))
    one = (1,) * len(extra)
    return tuple(picks), flat, (*one, *convolution.stride), (*one, *convolution.dilation)


def _pads(convolution: Convolution, size: Any) -> Any:
    """The padding of an image, some of whose sizes may be free (-1).

    Raises UnsupportedError where it would depend on these.
    """
    if -1 not in size:
        return convolution.pads(size)
    tried = {
        convolution.pads([some if n == -1 else n for n in size]) for some in range(64, 64 + max(convolution.stride) + 1)
    }
    padded = any(n == -1 and any(pair) for n, pair in zip(size, next(iter(tried)), strict=True))
    if len(tried) > 1 or (padded and convolution.padding_mode != "zeros"):
        raise UnsupportedError(
            f"MindSpore expected images of a fixed size (free: {size}, -1) for a convolution of stride "
            f"{convolution.stride}, padding {convolution.padding!r} and padding_mode {convolution.padding_mode!r}, "
            "whose padding depends on the size"
        )
    return tried.pop()


@constexpr
def window_plan(geometry: Any, shape: Any) -> Any:
    """Precomputed constants for the matrix product: padded, output size, windows, pixels.

    Whether windows read zeros around the image; the windows are the index of the pixel that each
    tap reads, that of a zero being the number of pixels.
    """
    return _window_plan(geometry, tuple(shape[2:]))


@lru_cache
def _window_plan(geometry: Any, size: Any) -> Any:
    if -1 in size:
        raise UnsupportedError(f"MindSpore expected images of a fixed size in float64 (free: {size}, -1)")
    convolution = _convolution(geometry)
    pads = convolution.pads(size)
    padded = convolution.padding_mode == "zeros" and any(map(any, pads))
    source = np.arange(int(np.prod(size)), dtype=np.int32).reshape(size)
    how: Any = {"constant_values": source.size} if padded else {"mode": MODES[convolution.padding_mode]}
    source = np.pad(source, pads, **how)
    spans = [d * (k - 1) + 1 for k, d in zip(convolution.kernel_size, convolution.dilation, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(source, spans)
    windows = windows[
        (*(slice(None, None, s) for s in convolution.stride), *(slice(None, None, d) for d in convolution.dilation))
    ]
    out = windows.shape[: len(size)]
    taps_first = np.moveaxis(windows, range(len(size)), range(-len(size), 0))
    return padded, out, ms.Tensor(np.ascontiguousarray(taps_first).reshape(-1)), int(np.prod(out))


@constexpr
def pooling(n: int, m: int, dtype: Any) -> Any:
    """Precomputed constants for ``pool``: the matrix (n, m) that averages n pixels to m."""
    if n == -1:
        raise UnsupportedError("MindSpore expected images of a fixed size for output_size, which pools them")
    return ms.Tensor(np.asarray(pool_matrix(n, m)), dtype)
