"""Convolutions with any padding and padding mode, and groups within each gate.

They are built on torch's own convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convgru.spec.convolution import Convolution, Pads
from convgru_torch import winograd

CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}
"""Padding mode to its name in F.pad."""


class Form(NamedTuple):
    """A convolution's geometry for images of one size, in the form torch takes."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    """Zero padding, equal on both sides, which the convolution adds without a copy."""
    dilation: tuple[int, ...]
    groups: int
    extra: tuple[int, ...]
    """Padding that F.pad adds, last dimension first; empty for none."""
    mode: str
    gates: int
    """Number of gates among which to reorder the output's channels; 0 for none."""
    winograd: bool
    """Whether Winograd's algorithm can compute it."""


class Kernel(NamedTuple):
    """A convolution's weight and its geometry."""

    weight: Tensor
    form: Form
    transformed: Tensor | None
    """Of the weight, where Winograd's algorithm computes the convolution."""
    result: torch.dtype | None
    """Dtype of the result, where that is not the weight's; inputs are then cast to the weight's."""


def kernel(weight: Tensor, form: Form, owner: Tensor | None = None, result: torch.dtype | None = None) -> Kernel:
    """Make a Kernel: rows ordered for a grouped convolution, or transformed for Winograd's.

    That is tried for a weight that comes with its ``owner``, the parameter whose rows it is.
    """
    if owner is not None and form.winograd and winograd.is_wide(weight.shape[:2]) and winograd.runs_on(weight):
        return Kernel(weight, form, winograd.transformed(weight, owner), result)
    if form.gates:  # what Convolution.row_order says: (gates, groups, …) becomes (groups, gates, …)
        weight = _exchange(weight, 0, form.gates, form.groups)
    return Kernel(weight, form, None, result)


def form(geometry: Convolution, size: Sequence[int]) -> Form:
    """Work out how torch computes a convolution of images of ``size``."""
    pads = geometry.pads(size)
    shared = (0,) * len(pads)
    if geometry.padding_mode == "zeros":
        shared = tuple(min(low, high) for low, high in pads)
        pads = tuple((low - both, high - both) for both, (low, high) in zip(shared, pads, strict=True))
    mode, gates = MODES[geometry.padding_mode], geometry.gates if geometry.reorders else 0
    return Form(
        geometry.stride, shared, geometry.dilation, geometry.groups, _flat(pads), mode, gates, winograd.fits(geometry)
    )


def _flat(pads: Pads) -> tuple[int, ...]:
    """Pads as F.pad takes them; empty where there are none."""
    flat = tuple(number for pair in reversed(pads) for number in pair)
    return flat if any(number != 0 for number in flat) else ()


def _exchange(a: Tensor, axis: int, outer: int, inner: int) -> Tensor:
    """Swap the two factors of an axis: reorder rows from (gates, groups) to (groups, gates)."""
    lead, rest = a.shape[:axis], a.shape[axis + 1 :]
    return (
        a.reshape(*lead, outer, inner, a.shape[axis] // (outer * inner), *rest)
        .transpose(axis, axis + 1)
        .reshape(a.shape)
    )


def convolve(x: Tensor, kernel: Kernel) -> Tensor:
    """Cross-correlate (B, C, *S) with a kernel, without bias."""
    weight, form, transformed, result = kernel
    stride, padding, dilation, groups, extra, mode, gates, _ = form
    if result is not None:
        x = x.to(weight.dtype)
    if extra:
        x = F.pad(x, extra, mode)
    if transformed is not None:
        out = winograd.correlate(x, weight, padding, transformed)
        return out if result is None else out.to(result)
    out = CONVOLUTIONS[len(padding) - 1](x, weight, None, stride, padding, dilation, groups)
    if gates:
        out = _exchange(out, 1, groups, gates)
    return out if result is None else out.to(result)


def readout(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """W*h + b of a forecaster's readout, whose kernel is 1: what its module computes."""
    return CONVOLUTIONS[h.ndim - 3](h, weight, bias)
