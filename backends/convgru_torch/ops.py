"""The ops that convgru.equations runs on in PyTorch: channels first, native convolutions, every derivative autograd's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convgru.spec import NORMED, CellSpec
from convgru.spec.convolution import Convolution, Pads

CHANNELS = 1
"""The channel axis of every array seen here: (B, C, *S)."""
CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
POOLS: Sequence[Callable[..., Tensor]] = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}
"""What F.pad calls the padding modes."""


def _ramp(slope: float) -> Callable[[Tensor], Tensor]:
    """slope·x + 0.5, clipped to [0, 1]. Not F.hardsigmoid, whose derivative is a float32 sixth in float64 too."""

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


class Kernel(NamedTuple):
    """A convolution's weights and its geometry for images of one size, in the form that torch takes."""

    weight: Tensor
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    """Zeros on both sides of each dimension, which the convolution adds without a copy."""
    dilation: tuple[int, ...]
    groups: int
    extra: tuple[int, ...]
    """What F.pad has to add, last dimension first; empty where there is nothing."""
    mode: str
    gates: int
    """Into how many gates the output's rows have to be put back; 0 where they stand right."""


class NormPart(NamedTuple):
    """One normalised tensor: number of groups, ε, and the weight and bias of its channels."""

    groups: int
    eps: float
    weight: Tensor
    bias: Tensor


class Params(NamedTuple):
    """One plain cell's parameters: kernels by the names of ``conv`` and ``peep``, vectors by those of ``add_channel`` and ``peep``."""

    kernels: dict[str, Kernel]
    vectors: dict[str, Tensor]
    norms: dict[str, NormPart]


def prepare(
    spec: CellSpec, arrays: Mapping[str, Tensor], prefix: str, size: Sequence[int], state: Sequence[int]
) -> Params:
    """Slice one plain cell's parameters, whose names begin with ``prefix``, for input and state of these sizes. Runs once a call."""

    def recurrent(weight: Tensor, gates: int) -> Kernel:
        return kernel(weight, spec.recurrent_convolution(gates), state)

    kernels = {"ih": kernel(arrays[prefix + "weight_ih"], spec.input_convolution, size)}
    weight = arrays[prefix + "weight_hh"]
    if spec.reset == "before":
        cut = 2 * spec.hidden_channels
        kernels["hh_rz"], kernels["hh_n"] = recurrent(weight[:cut], 2), recurrent(weight[cut:], 1)
    else:
        kernels["hh"] = recurrent(weight, spec.gates)
    ones = (1,) * spec.ndim
    vectors = {name: arrays[prefix + name].view(-1, *ones) for name in ("bias", "bias_hn") if prefix + name in arrays}
    for name in ("peephole_i", "peephole_f", "peephole_o") if spec.peephole is not None else ():
        if spec.peephole == "conv":
            kernels[name] = recurrent(arrays[prefix + name], 1)
        else:
            vectors[name] = arrays[prefix + name]
    return Params(kernels, vectors, _prepare_norms(spec, arrays, prefix))


def _prepare_norms(spec: CellSpec, arrays: Mapping[str, Tensor], prefix: str) -> dict[str, NormPart]:
    """The rows of norm_weight and norm_bias that belong to each normalised tensor."""
    if spec.norm is None:
        return {}
    rows = [len(part) * spec.hidden_channels for part in NORMED[spec.cell]]
    parts = zip(
        NORMED[spec.cell],
        spec.norm.groups,
        arrays[prefix + "norm_weight"].split(rows),
        arrays[prefix + "norm_bias"].split(rows),
        strict=True,
    )
    return {part: NormPart(groups, spec.norm.eps, weight, bias) for part, groups, weight, bias in parts}


def readout(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """W*h + b of a forecaster's readout, whose kernel is 1: what its module computes."""
    return CONVOLUTIONS[h.ndim - 3](h, weight, bias)


def kernel(weight: Tensor, geometry: Convolution, size: Sequence[int]) -> Kernel:
    """Rows in the order that a grouped convolution takes, and the pads for images of ``size``."""
    gates = geometry.gates if geometry.reorders else 0
    if gates:  # what Convolution.row_order says: (gates, groups, …) becomes (groups, gates, …)
        weight = _exchange(weight, 0, gates, geometry.groups)
    pads = geometry.pads(size)
    shared = (0,) * len(pads)
    if geometry.padding_mode == "zeros":
        shared = tuple(min(low, high) for low, high in pads)
        pads = tuple((low - both, high - both) for both, (low, high) in zip(shared, pads, strict=True))
    mode = MODES[geometry.padding_mode]
    return Kernel(weight, geometry.stride, shared, geometry.dilation, geometry.groups, _flat(pads), mode, gates)


def _flat(pads: Pads) -> tuple[int, ...]:
    """Pads as F.pad takes them; empty where there are none."""
    flat = tuple(number for pair in reversed(pads) for number in pair)
    return flat if any(number != 0 for number in flat) else ()


def _exchange(a: Tensor, axis: int, outer: int, inner: int) -> Tensor:
    """An axis that is (outer, inner, …) as (inner, outer, …)."""
    lead, rest = a.shape[:axis], a.shape[axis + 1 :]
    return (
        a.reshape(*lead, outer, inner, a.shape[axis] // (outer * inner), *rest)
        .transpose(axis, axis + 1)
        .reshape(a.shape)
    )


def conv(x: Tensor, p: Params, name: str) -> Tensor:
    """Cross-correlation without bias."""
    weight, stride, padding, dilation, groups, extra, mode, gates = p.kernels[name]
    if extra:
        x = F.pad(x, extra, mode)
    out = CONVOLUTIONS[len(padding) - 1](x, weight, None, stride, padding, dilation, groups)
    return _exchange(out, CHANNELS, groups, gates) if gates else out


def peep(c: Tensor, p: Params, name: str) -> Tensor:
    """P·c: elementwise, or a convolution."""
    return p.vectors[name] * c if name in p.vectors else conv(c, p, name)


def norm(a: Tensor, p: Params, part: str) -> Tensor:
    """Group norm over space and the channels of each group, then weight and bias by channel."""
    own = p.norms[part]
    # Not F.group_norm, which refuses a batch of one with one number in each group.
    return torch.group_norm(a, own.groups, own.weight, own.bias, own.eps)


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
    """Pixel unshuffle in any number of dimensions: (B, C, *S) to (B, C·∏p, *S/p), channels in the order (c, i, j)."""
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
