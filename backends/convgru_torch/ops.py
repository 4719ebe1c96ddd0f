"""The ops of ``convgru.equations`` in PyTorch: channels first, differentiated by autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convgru.spec import CellSpec
from convgru.spec.shapes import cell_parameter_shapes
from convgru_torch.convolution import Form, Kernel, convolve, form, kernel
from convgru_torch.plans import planned

CHANNELS = 1
"""The channel axis of every array seen here: (B, C, *S)."""
POOLS: Sequence[Callable[..., Tensor]] = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)


def _ramp(slope: float) -> Callable[[Tensor], Tensor]:
    """Compute slope·x + 0.5, clipped to [0, 1].

    Not F.hardsigmoid, whose derivative is a float32 sixth in float64 too.
    """

    def ramp(a: Tensor) -> Tensor:
        return F.hardtanh(slope * a + 0.5, 0.0, 1.0)

    return ramp


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": _ramp(1 / 6),
    "hard_sigmoid_0.2": _ramp(0.2),
}


class NormPart(NamedTuple):
    """One normalised tensor: number of groups, ε, and the weight and bias of its channels."""

    groups: int
    eps: float
    weight: Tensor
    bias: Tensor


class Params(NamedTuple):
    """The parameters of one plain cell: kernels by the names of ``conv`` and ``peep``, and vectors.

    The vectors go by the names of ``add_channel`` and ``peep``.
    """

    kernels: dict[str, Kernel]
    vectors: dict[str, Tensor]
    norms: dict[str, NormPart]


class _Slice(NamedTuple):
    """One operand of the equations: which rows of which array, and what they are made into."""

    use: str
    name: str
    array: str
    rows: slice | None
    """None for all of them."""
    form: Form | None
    shape: tuple[int, ...]
    """Of a vector; empty to leave it as it is."""
    groups: int
    eps: float


@planned
def _slices(spec: CellSpec, size: tuple[int, ...], state: tuple[int, ...]) -> tuple[_Slice, ...]:
    """The operands of one plain cell, for input and state of these sizes."""
    shapes = cell_parameter_shapes(spec)
    slices = []
    for name, operand in spec.operands.items():
        (start, stop), geometry = operand.rows, operand.convolution
        rows = None if stop - start == shapes[operand.array][0] else slice(start, stop)
        how = None if geometry is None else form(geometry, size if name == "ih" else state)
        shape = (-1, *(1,) * spec.ndim) if operand.use == "add" else ()
        name = name.removeprefix("norm_")
        slices.append(_Slice(operand.use, name, operand.array, rows, how, shape, operand.groups, operand.eps))
    return tuple(slices)


def prepare(
    spec: CellSpec,
    arrays: Mapping[str, Tensor],
    prefix: str,
    size: Sequence[int],
    state: Sequence[int],
    algorithm: str = "direct",
    dtype: torch.dtype | None = None,
) -> Params:
    """Slice the parameters of one plain cell for input and state of these sizes.

    Their names begin with ``prefix``; ``algorithm`` is that of the convolutions, ``dtype`` that of
    everything else, unless it is the parameters'.
    """
    p = Params({}, {}, {})
    for use, name, array, rows, how, shape, groups, eps in _slices(spec, tuple(size), tuple(state)):
        whole = arrays[prefix + array]
        part = whole if rows is None else whole[rows]
        if how is not None:
            p.kernels[name] = kernel(part, how, whole if algorithm == "winograd" else None, dtype)
        elif use == "norm":
            bias = arrays[prefix + "norm_bias"]
            bias = bias if rows is None else bias[rows]
            p.norms[name] = NormPart(
                groups, eps, part if dtype is None else part.to(dtype), bias if dtype is None else bias.to(dtype)
            )
        else:
            p.vectors[name] = part.view(shape) if shape else part
    return p


def conv(x: Tensor, p: Params, name: str) -> Tensor:
    """Cross-correlation without bias."""
    return convolve(x, p.kernels[name])


def peep(c: Tensor, p: Params, name: str) -> Tensor:
    """P·c: elementwise, or a convolution."""
    return p.vectors[name] * c if name in p.vectors else conv(c, p, name)


def norm(a: Tensor, p: Params, part: str) -> Tensor:
    """Group norm over space and the channels of each group, then weight and bias by channel."""
    n = p.norms[part]
    # Not F.group_norm, which refuses a batch of one with one number in each group.
    return torch.group_norm(a, n.groups, n.weight, n.bias, n.eps)


def add_channel(a: Tensor, p: Params, name: str) -> Tensor:
    """Add a vector along the channels."""
    return a + p.vectors[name]


def split(a: Tensor, n: int) -> tuple[Tensor, ...]:
    """Cut the channels into n equal parts."""
    return a.chunk(n, CHANNELS)


def split_rz_n(a: Tensor) -> tuple[Tensor, Tensor]:
    """Cut the channels into the first two thirds and the last third."""
    hidden = a.shape[CHANNELS] // 3
    rz, n = a.split_with_sizes([2 * hidden, hidden], CHANNELS)
    return rz, n


def concat(a: Tensor, b: Tensor) -> Tensor:
    """Put the channels of b behind those of a."""
    return torch.cat((a, b), CHANNELS)


def pool(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Adaptive average pooling of (B, C, *S) to ``size``."""
    reduced: Tensor = POOLS[len(size) - 1](x, size)
    return reduced


def activation(name: str, a: Tensor) -> Tensor:
    """The activation called ``name``."""
    return ACTIVATIONS[name](a)


def patch(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Pixel unshuffle in any number of dimensions: (B, C, *S) to (B, C·∏p, *S/p).

    Channels are in the order (c, i, j).
    """
    batch, channels, *size = x.shape
    ndim = len(sizes)
    cut = x.reshape(batch, channels, *(n for s, p in zip(size, sizes, strict=True) for n in (s // p, p)))
    whole = cut.permute(0, 1, *range(3, 3 + 2 * ndim, 2), *range(2, 2 + 2 * ndim, 2))
    return whole.reshape(batch, channels * prod(sizes), *(s // p for s, p in zip(size, sizes, strict=True)))


def unpatch(a: Tensor, patch: tuple[int, ...]) -> Tensor:
    """Pixel shuffle: the inverse of ``patch``."""
    batch, channels, *size = a.shape
    ndim = len(patch)
    cut = a.reshape(batch, channels // prod(patch), *patch, *size)
    whole = cut.permute(0, 1, *(axis for i in range(ndim) for axis in (2 + ndim + i, 2 + i)))
    return whole.reshape(batch, channels // prod(patch), *(s * p for s, p in zip(size, patch, strict=True)))
