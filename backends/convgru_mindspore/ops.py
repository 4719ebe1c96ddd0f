"""The ops of the equations on MindSpore tensors, channels first, alike in PyNative and graph mode."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore.ops import constexpr

from convgru.convolution import Convolution
from convgru.shapes import layer_prefix

Tensor = Any


def prepare(cell: Any, arrays: Any, layer: Any, prefix: str = "") -> Any:
    """The parameters of one layer in the form that the ops below take: (weight, pads, dilation) by kernel, and vectors."""
    own = prefix + layer_prefix(layer)
    weight_hh = arrays[own + "weight_hh"]
    pads, dilation = geometry(cell.input_convolution)
    p = {"ih": (arrays[own + "weight_ih"], pads, dilation)}
    pads, dilation = geometry(cell.recurrent_convolution)
    if cell.reset == "before":
        cut = 2 * cell.hidden_channels
        p["hh_rz"] = (weight_hh[:cut], pads, dilation)
        p["hh_n"] = (weight_hh[cut:], pads, dilation)
    else:
        p["hh"] = (weight_hh, pads, dilation)
    if cell.bias:
        p["bias"] = arrays[own + "bias"]
        if cell.reset == "after":
            p["bias_hn"] = arrays[own + "bias_hn"]
    return p


def prepare_readout(spec: Any, arrays: Any) -> Any:
    """The parameters of a forecaster's readout in the form that the ops below take."""
    pads, dilation = pointwise(spec.ndim)
    return {"readout": (arrays["readout.weight"], pads, dilation), "readout_bias": arrays["readout.bias"]}


@constexpr
def geometry(convolution: Convolution) -> Any:
    """Pads as one flat tuple (low, high, low, high ...) and dilation, of at least two dimensions."""
    flat = tuple(n for pair in convolution.pads for n in pair)
    if len(convolution.dilation) == 1:
        return (0, 0, *flat), (1, *convolution.dilation)
    return flat, convolution.dilation


@constexpr
def pointwise(ndim: int) -> Any:
    """The geometry of a convolution with a kernel of 1."""
    count = max(ndim, 2)
    return (0, 0) * count, (1,) * count


def conv(x: Tensor, p: Any, name: str) -> Tensor:
    """Cross-correlation through the primitives; one dimension goes through two, float64 tap by tap."""
    weight, pads, dilation = p[name]
    flat = len(x.shape) == 3
    if flat:
        x, weight = mops.expand_dims(x, 2), mops.expand_dims(weight, 2)
    if x.dtype == ms.float64:
        y = _conv_by_taps(x, weight, pads, dilation)
    elif len(x.shape) == 4:
        y = mops.Conv2D(weight.shape[0], weight.shape[2:], pad_mode="pad", pad=pads, dilation=dilation)(x, weight)
    else:
        y = mops.Conv3D(weight.shape[0], weight.shape[2:], pad_mode="pad", pad=pads, dilation=dilation)(x, weight)
    return mops.squeeze(y, 2) if flat else y


def _conv_by_taps(x: Tensor, weight: Tensor, pads: Any, dilation: Any) -> Tensor:
    """Cross-correlation as one matrix product over the shifted images: MindSpore's kernels refuse float64."""
    widths, starts, size, order, pixels = _taps(x.shape, weight.shape, pads, dilation)
    x = mops.pad(x, widths)
    batch, channels = x.shape[0], x.shape[1]
    columns = []
    for start in starts:
        columns.append(mops.slice(x, start, (batch, channels, *size)).reshape((batch, channels, pixels)))
    rows = mops.transpose(weight, order).reshape((weight.shape[0], -1))
    product = mops.matmul(rows, mops.concat(columns, 1))
    return product.reshape((batch, weight.shape[0], *size))


@constexpr
def _taps(shape: Any, weight: Any, pads: Any, dilation: Any) -> Any:
    """Pad widths (last dimension first), where each tap's slice starts, output size, order of the weight's axes, pixels."""
    kernel, ndim = weight[2:], len(weight) - 2
    widths = tuple(n for axis in reversed(range(ndim)) for n in pads[2 * axis : 2 * axis + 2])
    size = tuple(shape[2 + i] + pads[2 * i] + pads[2 * i + 1] - dilation[i] * (kernel[i] - 1) for i in range(ndim))
    starts: list[tuple[int, ...]] = [(0, 0)]
    for i in range(ndim):
        starts = [(*start, tap * dilation[i]) for start in starts for tap in range(kernel[i])]
    pixels = 1
    for n in size:
        pixels *= n
    return widths, tuple(starts), size, (0, *range(2, 2 + ndim), 1), pixels


def add_channel(a: Tensor, p: Any, name: str) -> Tensor:
    """Add a vector along the channels."""
    return a + p[name].reshape((1, -1) + (1,) * (len(a.shape) - 2))


def split(a: Tensor, n: int) -> Any:
    """Cut the channels into n equal parts."""
    return mops.split(a, a.shape[1] // n, 1)


def split_rz_n(a: Tensor) -> Any:
    """Cut the channels into the first two thirds and the last third."""
    third = a.shape[1] // 3
    return mops.split(a, (2 * third, third), 1)


def sigmoid(a: Tensor) -> Tensor:
    """1 / (1 + exp(−a)) in float64, rounded once: the native float32 kernel is off by 6e-7."""
    return mops.sigmoid(a.astype(ms.float64)).astype(a.dtype)


def tanh(a: Tensor) -> Tensor:
    """The hyperbolic tangent in float64, rounded once: the native float32 kernel is off by 1e-4."""
    return mops.tanh(a.astype(ms.float64)).astype(a.dtype)


def activation(name: str, a: Tensor) -> Tensor:
    """The activation called ``name``."""
    if name == "tanh":
        return tanh(a)
    return mops.relu(a)


def patch(x: Tensor, sizes: Any) -> Tensor:
    """Pixel unshuffle: (N, c, *S) to (N, c·∏p, *S/p), channels in the order (c, i, j)."""
    inside, order, outside = _shuffle(x.shape, sizes)
    return mops.transpose(x.reshape(inside), order).reshape(outside)


def unpatch(a: Tensor, patch: Any) -> Tensor:
    """Pixel shuffle: the inverse of ``patch``."""
    inside, order, outside = _unshuffle(a.shape, patch)
    return mops.transpose(a.reshape(inside), order).reshape(outside)


@constexpr
def _shuffle(shape: Any, sizes: Any) -> Any:
    ndim, inside, taps = len(sizes), [*shape[:2]], 1
    for n, p in zip(shape[2:], sizes, strict=True):
        inside += [n // p, p]
        taps *= p
    order = (0, 1, *range(3, 3 + 2 * ndim, 2), *range(2, 2 + 2 * ndim, 2))
    return tuple(inside), order, (shape[0], shape[1] * taps, *inside[2::2])


@constexpr
def _unshuffle(shape: Any, sizes: Any) -> Any:
    ndim, taps = len(sizes), 1
    for p in sizes:
        taps *= p
    inside = (shape[0], shape[1] // taps, *sizes, *shape[2:])
    order = (0, 1, *(axis for i in range(ndim) for axis in (2 + ndim + i, 2 + i)))
    return inside, order, (shape[0], shape[1] // taps, *(n * p for n, p in zip(shape[2:], sizes, strict=True)))
