"""How an accelerator holds frames: their layout, their convolutions, what pointwise parts know."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convgru_torch import sequence_ops
from convgru_torch.convolution import CONVOLUTIONS, Form


class Frames(NamedTuple):
    """What the pointwise part of a step needs to know of a layer's frames.

    Attributes:
        hidden: channels of the state.
        pixels: of the state.
        last: whether channels are last in memory.
        outer, inner: the recurrent activation and the activation.
        compute: dtype of the arithmetic.
    """

    hidden: int
    pixels: int
    last: bool
    outer: str
    inner: str
    compute: torch.dtype


def arranged(a: Tensor, last: bool) -> Tensor:
    """Lay out (B, C, *S) with channels last in memory, or contiguous; ``a`` itself where it is."""
    return sequence_ops.dense(a) if last else a.contiguous()


def empty(
    like: Tensor, lead: Sequence[int], channels: int, size: Sequence[int], last: bool, dtype: torch.dtype | None = None
) -> Tensor:
    """Uninitialised (*lead, channels, *size), each frame laid out so."""
    shape, image = (*lead, channels, *size), channels * prod(size)
    if not last:
        return torch.empty(shape, dtype=dtype or like.dtype, device=like.device)
    outer = tuple(image * prod(lead[axis + 1 :]) for axis in range(len(lead)))
    inner = tuple(channels * prod(size[axis + 1 :]) for axis in range(len(size)))
    return torch.empty_strided(shape, (*outer, 1, *inner), dtype=dtype or like.dtype, device=like.device)


def convolve(x: Tensor, weight: Tensor, how: Form, last: bool) -> Tensor:
    """W*x, laid out so; both operands are already."""
    if how.extra:
        x = arranged(F.pad(x, how.extra), last)
    return arranged(CONVOLUTIONS[x.ndim - 3](x, weight, None, how.stride, how.padding, how.dilation, how.groups), last)


def transposed(weight: Tensor, last: bool) -> Tensor:
    """The weight of the convolution that takes a gradient back through one of stride 1."""
    return arranged(weight.flip(tuple(range(2, weight.ndim))).transpose(0, 1), last)
