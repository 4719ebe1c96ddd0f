"""Winograd's convolutions: which they are, transformed weights, and gradients.

``convgru_torch.winograd_transforms`` computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight
from torch.utils.weak import WeakIdKeyDictionary

from convgru.errors import UnsupportedError
from convgru.spec import CellSpec, ForecasterSpec, Spec
from convgru.spec.convolution import Convolution
from convgru.spec.shapes import cell_parameter_shapes, step_prefixes
from convgru_torch.winograd_transforms import TRANSFORMS, Cut, adjoint, convolve_tiles, transform

CHANNELS = 128
"""From how many channels on, in and out, it pays."""


def convolutions(cell: CellSpec) -> dict[str, bool]:
    """The convolutions of a layer that this can compute, by name, and whether they are wide.

    It pays from ``CHANNELS`` channels on: the transforms cost the same for one channel as for many.
    """
    wide: dict[str, bool] = {}
    for prefix, step in zip(step_prefixes(cell), cell.steps, strict=True):
        shapes = cell_parameter_shapes(step)
        for name, operand in step.operands.items():
            if operand.convolution is not None and fits(operand.convolution):
                start, stop = operand.rows
                wide[prefix + name] = is_wide((stop - start, shapes[operand.array][1]))
    return wide


def fits(geometry: Convolution) -> bool:
    """Whether a convolution is of the kind that this computes, whatever its channels."""
    plain = geometry.stride == geometry.dilation == (1, 1) and geometry.groups == 1
    return plain and geometry.kernel_size == (3, 3)


def is_wide(channels: Sequence[int]) -> bool:
    """Whether a kernel with so many channels out and in is worth the transforms."""
    return min(channels) >= CHANNELS


def summary(cell: CellSpec) -> str:
    """Which convolutions of a layer are computed so, in words."""
    names = [name for name, wide in convolutions(cell).items() if wide]
    return f"winograd: {', '.join(names) or f'nothing, below {CHANNELS} channels or of another kind'}"


def check_algorithm(owner: str, spec: Spec, algorithm: str) -> None:
    """Raise UnsupportedError for ``winograd`` and a network without a convolution of the kind."""
    if algorithm != "winograd":
        return
    networks = (spec.encoder, spec.decoder) if isinstance(spec, ForecasterSpec) else (spec,)
    if not any(convolutions(cell) for network in networks if network is not None for cell in network.layers):
        raise UnsupportedError(
            f"{owner} expected a network for algorithm='winograd', with a convolution of images (ndim=2) whose kernel is "
            f"(3, 3), stride 1, dilation 1 and groups 1, got {spec}"
        )


def runs_on(weight: Tensor) -> bool:
    """Whether to compute with this kernel here: float32 or float64, on a CPU, without autocast.

    Half precision has no digits to lose, and the libraries of accelerators choose for themselves. A
    program that is traced has the ordinary convolution, and so have torch.vmap's kernels, of which
    one image may meet many.
    """
    if weight.device.type != "cpu" or weight.dtype not in TRANSFORMS or torch.compiler.is_compiling():
        return False
    if torch.is_autocast_enabled("cpu") or torch._C._get_tracing_state() is not None:
        return False
    return not _is_vmapped(weight)


def _is_vmapped(a: Tensor) -> bool:
    """Whether torch.vmap maps over a tensor, at any level of torch.func's transforms."""
    functorch = getattr(torch._C, "_functorch")  # noqa: B009, no stub knows it
    while functorch.is_functorch_wrapped_tensor(a):
        if functorch.is_batchedtensor(a):
            return True
        a = functorch.get_unwrapped(a)
    return False


def transformed(weight: Tensor, owner: Tensor) -> Tensor:
    """``transform(weight)``, of rows of the parameter ``owner``.

    Without gradients it is kept, for a network that is called again and again.
    """
    if torch.is_grad_enabled() or type(owner) not in (Tensor, torch.nn.Parameter):
        return transform(weight.detach())
    return kept(owner, (weight.storage_offset(), *weight.shape), (weight,), transform)


def kept(owner: Tensor, key: Any, weights: tuple[Tensor, ...], make: Callable[..., Tensor]) -> Tensor:
    """``make(*weights)``, kept as long as ``owner`` lives and their numbers are the same."""
    of_owner: dict[Any, tuple[tuple[Tensor, ...], Tensor]] = KEPT.setdefault(owner, {})
    if key in of_owner:
        old, result = of_owner[key]
        if all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(old, weights, strict=True)):
            return result
    copies = tuple(weight.detach().clone() for weight in weights)
    of_owner[key] = copies, make(*copies)
    return of_owner[key][1]


KEPT: Any = WeakIdKeyDictionary()
"""Transformed kernels, and the kernels that they are of, by parameter and rows."""


def _apply(function: type[torch.autograd.Function], *args: Any) -> Tensor:
    result: Tensor = function.apply(*args)
    return result


class _Winograd(torch.autograd.Function):
    """The convolution, or with ``back`` its transpose as a map of images: each other's gradients.

    The weight's gradient is that of the ordinary one, which is more exact.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, u: Tensor, cut: Cut, back: bool) -> Tensor:
        return (adjoint if back else convolve_tiles)(x, u, cut)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, weight, u, ctx.cut, ctx.back = inputs
        ctx.save_for_backward(x, weight, u)
        ctx.save_for_forward(x, weight, u)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,), (x, weight, u) = grads, ctx.saved_tensors
        by_image, by_weight = ctx.needs_input_grad[:2]
        dx = _apply(_Winograd, grad, weight, u, ctx.cut, not ctx.back) if by_image else None
        image, result = (grad, x) if ctx.back else (x, grad)
        dw = conv2d_weight(image, weight.shape, result, padding=ctx.cut.padding) if by_weight else None
        return dx, dw, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        (dx, dw, *_), (x, weight, u) = tangents, ctx.saved_tensors
        parts = [_apply(_Winograd, dx, weight, u, ctx.cut, ctx.back)] if dx is not None else []
        if dw is not None and ctx.back:
            parts.append(conv2d_input((*x.shape[:1], dw.shape[1], *ctx.cut.size), dw, x, padding=ctx.cut.padding))
        elif dw is not None:
            parts.append(F.conv2d(x, dw, padding=ctx.cut.padding))
        return sum(parts[1:], parts[0])


def correlate(x: Tensor, weight: Tensor, padding: tuple[int, ...], u: Tensor | None = None) -> Tensor:
    """Cross-correlate (N, C, H, W) with (O, C, 3, 3), as torch.nn.functional.conv2d does.

    Differentiable any number of times, in both modes. The gradients with respect to x are computed
    in the same way, those with respect to the weight by an ordinary convolution.

    Args:
        x: image, float32 or float64.
        weight: kernel.
        padding: zeros on both sides of each dimension.
        u: ``transform(weight)``, of a weight that is used several times.
    """
    if u is None:
        u = transform(weight.detach())
    size = (x.shape[2], x.shape[3])
    return _apply(_Winograd, x, weight, u, Cut(size, (padding[0], padding[1])), False)
