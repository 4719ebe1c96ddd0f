"""The operations of the fast sequence function: convolutions with an activation, and derivatives.

On a CPU oneDNN applies the activation while it writes the convolution's output. The operators are
private to PyTorch: they are tried once, and where one is missing, or gives other numbers, plain
operations take their place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convgru.spec.convolution import Convolution
from convgru_torch.convolution import CONVOLUTIONS, Form, form
from convgru_torch.ops import ACTIVATIONS

FORMATS = (torch.channels_last, torch.channels_last, torch.channels_last_3d)
ATEN: Any = torch.ops.aten
FUSED = {"tanh": "tanh", "sigmoid": "sigmoid", "relu": "relu", None: "none"}
"""Activations that oneDNN applies to the output of a convolution, by its names."""
SMALL, LARGE, HUGE = 1 << 11, 3 << 14, 1 << 19
"""From so many numbers on expm1 beats ATen's tanh, and a pass of oneDNN beats expm1, of a tensor
taken as 32 channels at first, then as it is.
"""
FEW = 1 << 16
"""Up to so many numbers oneDNN's convolution starts sooner without the means to activate."""
WIDE = 256
"""From so many channels on oneDNN has the gradient of a weight sooner with channels first."""


def dense(a: Tensor) -> Tensor:
    """Put channels last in memory; ``a`` itself where they are.

    Strides of axes of one element, which torch leaves to chance, are as they would be of more: by
    them torch's convolutions choose a layout, and oneDNN's give wrong numbers for others.
    """
    wanted = FORMATS[a.ndim - 3]
    if 1 not in a.shape and a.is_contiguous(memory_format=wanted):
        return a
    a = a.contiguous(memory_format=wanted)
    strides = _strides(a.shape[:1], a.shape[1], a.shape[2:])
    return a if a.stride() == strides else a.as_strided(a.shape, strides, a.storage_offset())


def _strides(frames: Sequence[int], channels: int, size: Sequence[int]) -> tuple[int, ...]:
    """The strides of (*frames, channels, *size) with channels last in memory."""
    inner = [channels * prod(size[axis + 1 :]) for axis in range(len(size))]
    image = channels * prod(size)
    return *(image * prod(frames[axis + 1 :]) for axis in range(len(frames))), 1, *inner


def empty(like: Tensor, frames: Sequence[int], channels: int, size: Sequence[int]) -> Tensor:
    """Uninitialised (*frames, channels, *size), each frame with channels last in memory."""
    shape = (*frames, channels, *size)
    return torch.empty_strided(shape, _strides(frames, channels, size), dtype=like.dtype, device=like.device)


@lru_cache
def fusible() -> bool:
    """Whether oneDNN's convolutions with activations are there and compute what they should."""
    line = partial(torch.linspace, dtype=torch.float32, device="cpu")  # whatever torch's defaults are now
    try:
        x = dense(line(-3, 3, 2 * 16 * 5 * 5).view(2, 16, 5, 5))
        weight = line(-0.2, 0.2, 32 * 16 * 9).view(32, 16, 3, 3)
        bias = line(-1, 1, 32)
        want = F.conv2d(x, weight, bias, padding=1)
        same = Form((1, 1), (1, 1), (1, 1), 1, (), "constant", 0, False)
        got = [_fused(x, weight, bias, same, name) for name in FUSED]
        ref = [want if name is None else ACTIVATIONS[name](want) for name in FUSED]
        got += [
            _plain(x, weight, bias, same),
            _plain(x, weight, None, same),
            _plain(x[:1, :, :1, :1], weight, bias, same),
        ]
        ref += [want, F.conv2d(x, weight, padding=1), F.conv2d(x[:1, :, :1, :1], weight, bias, padding=1)]
        total = dense(want.clone())
        _accumulate(total, x, weight, same)
        got.append(total)
        ref.append(want + F.conv2d(x, weight, padding=1))
        return all(torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(got, ref, strict=True))
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):  # another build of torch
        return False


def may_fuse(dtype: torch.dtype) -> bool:
    """Whether a call with tensors of this dtype may use oneDNN's operators now."""
    return dtype == torch.float32 and bool(torch.backends.mkldnn.enabled) and fusible()


def _fused(x: Tensor, weight: Tensor, bias: Tensor | None, how: Form, name: str | None) -> Tensor:
    """σ(W*x + b) in one pass."""
    y: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
        dense(x), weight, bias, how.padding, how.stride, how.dilation, how.groups, FUSED[name], [], ""
    )
    return y


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, how: Form) -> Tensor:
    """W*x + b; it starts sooner than ``_fused``."""
    y: Tensor = torch.mkldnn_convolution(dense(x), weight, bias, how.padding, how.stride, how.dilation, how.groups)
    return dense(y)


def _accumulate(total: Tensor, x: Tensor, weight: Tensor, how: Form) -> None:
    """Add W*x to ``total`` in the pass that computes it."""
    sums = dense(total)
    torch.ops.mkldnn._convolution_pointwise_.binary(
        sums, dense(x), weight, None, how.padding, how.stride, how.dilation, how.groups, "add", None, None, [], None
    )
    if sums.data_ptr() != total.data_ptr():  # channels were not last in memory
        total.copy_(sums)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, how: Form, name: str | None, fuse: bool) -> Tensor:
    """φ(W*x + b), or W*x + b without a name; channels last in memory, a new tensor."""
    if how.extra:
        x = dense(F.pad(x, how.extra))
    if fuse and name is None and x.numel() <= FEW:
        return _plain(x, weight, bias, how)
    if fuse and name in FUSED:
        return _fused(x, weight, bias, how, name)
    y = CONVOLUTIONS[x.ndim - 3](x, weight, bias, how.stride, how.padding, how.dilation, how.groups)
    return dense(y) if name is None else activate_(name, dense(y), fuse)


def accumulate(total: Tensor, x: Tensor, weight: Tensor, how: Form, fuse: bool) -> None:
    """Add W*x to ``total``, a tensor of its own memory with channels last."""
    if fuse and not how.extra:
        _accumulate(total, x, weight, how)
    else:
        total.add_(convolve(x, weight, None, how, None, fuse))


def activate_(name: str, a: Tensor, fuse: bool, place: Tensor | None = None) -> Tensor:
    """Apply an activation, as ``convgru_torch.ops.activation`` does, in place or into ``place``."""
    place = a if place is None else place
    if name == "sigmoid":
        return torch.sigmoid(a, out=place)
    return place.copy_(activate(name, a, fuse))


def activate(name: str, a: Tensor, fuse: bool) -> Tensor:
    """Apply an activation; a new tensor."""
    return tanh(a) if name == "tanh" and fuse and a.numel() >= SMALL else ACTIVATIONS[name](a)


def tanh(a: Tensor) -> Tensor:
    """The hyperbolic tangent in float32, several times faster than ATen's and as exact.

    It is the activation of a convolution that changes nothing, or e / (e + 2) with e = exp(2a) − 1,
    which for |a| over 15 is one. (2σ(2a) − 1 is faster still, but wrong by an eps of one near 0.)
    """
    count = a.numel()
    if count < LARGE or count % 32:
        e = torch.mul(a, 2).clamp_(-30, 30).expm1_()
        return dense(e.div_(e + 2))
    a = dense(a)
    strides, start = a.stride(), a.storage_offset()
    wide = count < HUGE or a.ndim != 4
    flat = a.as_strided((1, 32, 1, count // 32), (count, 1, count, 32), start) if wide else a
    same = Form((1, 1), (0, 0), (1, 1), flat.shape[1], (), "constant", 0, False)
    y = _fused(flat, flat.new_ones(flat.shape[1], 1, 1, 1), None, same, "tanh")
    return y.as_strided(a.shape, strides)


def _clipped(grad: Tensor, y: Tensor, slope: float) -> Tensor:
    return torch.where((y > 0) & (y < 1), grad * slope, 0)


DERIVATIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "tanh": ATEN.tanh_backward,
    "sigmoid": ATEN.sigmoid_backward,
    "relu": lambda grad, y: ATEN.threshold_backward(grad, y, 0),
    "leaky_relu": lambda grad, y: ATEN.leaky_relu_backward(grad, y, 0.01, True),
    "hard_sigmoid": lambda grad, y: _clipped(grad, y, 1 / 6),
    "hard_sigmoid_0.2": lambda grad, y: _clipped(grad, y, 0.2),
}
"""grad · φ'(a), from y = φ(a)."""


def transposed(weight: Tensor) -> Tensor:
    """The weight of the convolution that takes a gradient back through one of stride 1."""
    return dense(weight.flip(tuple(range(2, weight.ndim))).transpose(0, 1))


def transposed_form(geometry: Convolution, size: Sequence[int]) -> Form:
    """Its geometry, for images of ``size``."""
    reach = [d * (k - 1) for d, k in zip(geometry.dilation, geometry.kernel_size, strict=True)]
    pads = tuple((r - low, r - high) for r, (low, high) in zip(reach, geometry.pads(size), strict=True))
    ones = (1,) * len(reach)
    return form(Convolution(geometry.kernel_size, ones, geometry.dilation, 1, pads), size)


def input_gradient(grad: Tensor, x: Tensor, weight: Tensor, how: Form) -> Tensor:
    """Gradient with respect to the input of a convolution, like ``x``."""
    padded = x if not how.extra else F.pad(x, how.extra)
    dx, _, _ = _backward(grad, padded, weight, how, (True, False, False))
    return F.pad(dx, tuple(-pad for pad in how.extra)) if how.extra else dx


def wide(x: Tensor, channels: int) -> bool:
    """Whether the gradient of a weight that read so many channels is faster with channels first."""
    return channels >= WIDE and x.device.type == "cpu"


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, how: Form, bias: bool) -> tuple[Tensor, Tensor | None]:
    """Gradients with respect to the weight and the bias of a convolution."""
    padded = x if not how.extra else F.pad(x, how.extra)
    if wide(x, x.shape[1]):
        padded = padded.contiguous()
    elif how.extra:
        padded = dense(padded)
    _, dw, db = _backward(grad, padded, weight, how, (False, True, bias))
    return dw, db if bias else None


def _backward(grad: Tensor, x: Tensor, weight: Tensor, how: Form, mask: tuple[bool, bool, bool]) -> Any:
    sizes, zeros = [weight.shape[0]], (0,) * len(how.padding)
    return ATEN.convolution_backward(
        grad, x, weight, sizes, how.stride, how.padding, how.dilation, False, zeros, how.groups, mask
    )
