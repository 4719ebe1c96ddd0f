"""The ops that convgru.equations runs on in PyTorch: channels first, native convolutions, every derivative autograd's own."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convgru.convolution import Convolution
from convgru.shapes import layer_prefix
from convgru.spec import CellSpec, ForecasterSpec

CHANNELS = 1
"""The channel axis of every array seen here: (B, C, *S)."""
CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


class Kernel(NamedTuple):
    """A convolution's weights and its geometry, in the form that torch takes."""

    weight: Tensor
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    """Zeros on both sides of each dimension, which the convolution adds without a copy."""
    extra: tuple[int, ...]
    """Zeros on one side alone, last dimension first, as F.pad takes them; empty where there are none."""


class Params(NamedTuple):
    """One layer's parameters: kernels by the name that ``conv`` knows, vectors by the name that ``add_channel`` knows."""

    kernels: dict[str, Kernel]
    vectors: dict[str, Tensor]


def prepare(spec: CellSpec, arrays: Mapping[str, Tensor], layer: int, prefix: str = "") -> Params:
    """Slice one layer's parameters for the ops below. Runs once a call."""
    own = prefix + layer_prefix(layer)
    recurrent = spec.recurrent_convolution
    kernels = {"ih": kernel(arrays[own + "weight_ih"], spec.input_convolution)}
    weight = arrays[own + "weight_hh"]
    if spec.reset == "before":
        cut = 2 * spec.hidden_channels
        kernels["hh_rz"] = kernel(weight[:cut], recurrent)
        kernels["hh_n"] = kernel(weight[cut:], recurrent)
    else:
        kernels["hh"] = kernel(weight, recurrent)
    ones = (1,) * spec.ndim
    vectors = {name: arrays[own + name].view(-1, *ones) for name in ("bias", "bias_hn") if own + name in arrays}
    return Params(kernels, vectors)


def prepare_readout(spec: ForecasterSpec, arrays: Mapping[str, Tensor]) -> Params:
    """A forecaster's readout, for the ops below."""
    ones = (1,) * spec.ndim
    weight = kernel(arrays["readout.weight"], Convolution(ones, ones, "valid"))
    return Params({"readout": weight}, {"readout_bias": arrays["readout.bias"].view(-1, *ones)})


def kernel(weight: Tensor, geometry: Convolution) -> Kernel:
    """Split the zeros of a geometry into what both sides share and what one side has more."""
    shared = tuple(min(pair) for pair in geometry.pads)
    extra: tuple[int, ...] = ()
    if any(low != high for low, high in geometry.pads):
        for both, (low, high) in zip(shared, geometry.pads, strict=True):
            extra = (low - both, high - both, *extra)
    return Kernel(weight, geometry.dilation, shared, extra)


def conv(x: Tensor, p: Params, name: str) -> Tensor:
    """Cross-correlation without bias."""
    k = p.kernels[name]
    if k.extra:
        x = F.pad(x, k.extra)
    return CONVOLUTIONS[len(k.padding) - 1](x, k.weight, padding=k.padding, dilation=k.dilation)


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


def sigmoid(a: Tensor) -> Tensor:
    """1 / (1 + exp(−a))."""
    return torch.sigmoid(a)


def tanh(a: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return torch.tanh(a)


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
