"""The ops of ``convgru.equations`` on MindSpore tensors, channels first, in both modes."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore.ops import constexpr, operations

from convgru.spec.cell import ACTIVATIONS
from convgru_mindspore.convolution import convolve, ordered, plain, pointwise

Tensor = Any
gradient = mops.GradOperation(get_all=True)
"""The gradients of a function with respect to all its arguments."""


def prepare(cell: Any, arrays: Any, prefix: str, compute_dtype: Any) -> Any:
    """The parameters of one step, whose names begin with ``prefix``, as the ops below read them.

    A tuple of the operands' names, then for each kernel (weight, geometry), in ``compute_dtype``
    unless that is None; for each norm (groups, ε, weight, bias); for each elementwise peephole
    (weight,); and vectors as they are. No dict: graphs of free shapes mix up the entries of one.
    """
    p = [names(cell)]
    for _, use, array, rows, geometry, groups, eps in operands(cell):
        value = _rows(arrays[prefix + array], rows)
        if use == "convolve":
            p.append(_kernel(value, geometry, compute_dtype))
        elif use == "norm":
            bias = _rows(arrays[prefix + "norm_bias"], rows)
            p.append((groups, constant(eps, wide(value.dtype)), value, bias))
        elif use == "scale":
            p.append((value,))
        else:
            p.append(value)
    return tuple(p)


@constexpr
def names(cell: Any) -> Any:
    """The names of a step's operands."""
    return tuple(cell.operands)


@constexpr
def position(known: Any, name: str) -> int:
    """Where in prepared parameters the operand ``name`` is."""
    return 1 + known.index(name)


@constexpr
def operands(cell: Any) -> Any:
    """``CellSpec.operands`` as nested tuples, which a graph can hold.

    For each operand its name, use, array, rows, geometry, groups and ε.
    """
    return tuple(
        (name, o.use, o.array, o.rows, () if o.convolution is None else plain(o.convolution), o.groups, o.eps)
        for name, o in cell.operands.items()
    )


def leaves(cell: Any, p: Any) -> Any:
    """The tensors of what ``prepare`` made of one step, in a flat tuple."""
    flat, index = [], 0
    for _, use, _, _, _, _, _ in operands(cell):
        index = index + 1
        if use == "norm":
            flat.append(p[index][2])
            flat.append(p[index][3])
        elif use == "convolve" or use == "scale":
            flat.append(p[index][0])
        else:
            flat.append(p[index])
    return tuple(flat)


def from_leaves(cell: Any, flat: Any, at: int) -> Any:
    """What ``prepare`` made of one step, from its ``leaves``, which begin at ``flat[at]``."""
    p = [names(cell)]
    for _, use, _, _, geometry, groups, eps in operands(cell):
        if use == "norm":
            p.append((groups, constant(eps, wide(flat[at].dtype)), flat[at], flat[at + 1]))
            at = at + 1
        elif use == "convolve":
            p.append((flat[at], geometry))
        elif use == "scale":
            p.append((flat[at],))
        else:
            p.append(flat[at])
        at = at + 1
    return tuple(p)


@constexpr
def leaf_count(cell: Any) -> int:
    """The number of ``leaves`` of one step."""
    return sum(2 if o.use == "norm" else 1 for o in cell.operands.values())


def _rows(weight: Tensor, rows: Any) -> Tensor:
    """Some of the rows of a parameter."""
    if rows[1] - rows[0] == weight.shape[0]:
        return weight
    return weight[rows[0] : rows[1]]


def _kernel(weight: Tensor, geometry: Any, compute_dtype: Any) -> Any:
    if compute_dtype is not None and compute_dtype != weight.dtype:
        weight = weight.astype(compute_dtype)
    return ordered(weight, geometry), geometry


@constexpr
def constant(value: float, dtype: Any) -> Any:
    """A number as a tensor; MindSpore rounds Python's numbers to float32, even beside float64."""
    return ms.Tensor(value, dtype)


@constexpr
def wide(dtype: Any) -> Any:
    """The dtype for statistics of tensors of this dtype: float32 at least."""
    return ms.float32 if dtype == ms.float16 else dtype


def prepare_readout(ndim: int, weight: Tensor, bias: Tensor, compute_dtype: Any) -> Any:
    """The parameters of a forecaster's readout as the ops below read them."""
    return ("readout", "readout_bias"), _kernel(weight, pointwise(ndim), compute_dtype), bias


def conv(x: Tensor, p: Any, name: str) -> Tensor:
    """Cross-correlation."""
    weight, geometry = p[position(p[0], name)]
    return convolve(x, weight, geometry)


def peep(c: Tensor, p: Any, name: str) -> Tensor:
    """P·c: elementwise, or a convolution."""
    weight = p[position(p[0], name)]
    if len(weight) == 1:
        return c * weight[0]
    return convolve(c, weight[0], weight[1])


def norm(a: Tensor, p: Any, part: str) -> Tensor:
    """Group norm, then weight and bias by channel; statistics in float32 at least."""
    groups, eps, weight, bias = p[position(p[0], "norm_" + part)]
    cut = a.reshape((a.shape[0], groups, -1)).astype(wide(a.dtype))
    centred = cut - cut.mean(2, keep_dims=True)
    scaled = centred / mops.sqrt((centred * centred).mean(2, keep_dims=True) + eps)
    column = (1, -1) + (1,) * (len(a.shape) - 2)
    return scaled.reshape(a.shape).astype(a.dtype) * weight.reshape(column) + bias.reshape(column)


def add_channel(a: Tensor, p: Any, name: str) -> Tensor:
    """Add a vector along the channels; ``+`` with broadcasting takes 20 to 60 times as long."""
    return operations.BiasAdd()(a, p[position(p[0], name)])  # pyright: ignore


def split(a: Tensor, n: int) -> Any:
    """Cut the channels into n equal parts; ``mops.split`` does not compile in every gradient."""
    return operations.Split(1, n)(a)  # pyright: ignore


def split_rz_n(a: Tensor) -> Any:
    """Cut the channels into the first two thirds and the last third."""
    third = a.shape[1] // 3
    return mops.split(a, (2 * third, third), 1)


def concat(a: Tensor, b: Tensor) -> Tensor:
    """Put the channels of b behind those of a."""
    return mops.concat((a, b), 1)


def sigmoid(a: Tensor) -> Tensor:
    """The logistic function, to 1.2e-7: ½ + ½·tanh(a/2); below −17 it is 0."""
    if a.dtype == ms.float64:
        return mops.sigmoid(a)
    return (half_tanh(a.astype(ms.float32) * 0.25) + 0.5).astype(a.dtype)


def tanh(a: Tensor) -> Tensor:
    """The hyperbolic tangent, to 1.8e-7, and to five units in the last place."""
    if a.dtype == ms.float64:
        return mops.tanh(a)
    half = half_tanh(a.astype(ms.float32) * 0.5)
    return (half + half).astype(a.dtype)


def half_tanh(a: Tensor) -> Tensor:
    """½·tanh(2a) in float32, as t / (1 + t²) with t = tanh(a).

    MindSpore's own float32 tanh is good to a few units in the last place up to 2.5, and off by 1e-4
    at 5, of which a 20,000th remains here; its sigmoid is off by 8e-7. In float64 either takes two
    to three times as long.
    """
    t = mops.tanh(a)
    return t * operations.Reciprocal()(t * t + 1)  # pyright: ignore


def activation(name: str, a: Tensor) -> Tensor:
    """The activation called ``name``."""
    if name == "tanh":
        return tanh(a)
    if name == "sigmoid":
        return sigmoid(a)
    return piecewise(name, a)


WIDTHS = {"hard_sigmoid": 6, "hard_sigmoid_0.2": 5}
"""Of the piecewise linear activations with two bends, the distance between them."""


@constexpr
def width(name: str) -> int:
    """The width of an activation. Raises ValueError for a name that is none."""
    if name not in WIDTHS:
        raise ValueError(f"MindSpore expected an activation of {', '.join(map(repr, ACTIVATIONS))}, got {name!r}")
    return WIDTHS[name]


def piecewise(name: str, a: Tensor) -> Tensor:
    """The piecewise linear activations.

    By division, because MindSpore rounds a factor such as 0.01 to float32.
    """
    if name == "relu":
        return mops.relu(a)
    if name == "leaky_relu":
        return mops.where(a > 0, a, a / 100)
    line = a / width(name) + 0.5
    zero: Any = operations.ZerosLike()(a)
    return mops.where(line <= 0, zero, mops.where(line >= 1, mops.ones_like(a), line))


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
