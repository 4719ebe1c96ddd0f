"""A ConvGRU without gradients by Winograd's convolutions, both of a gate's in one.

W*x + U*h is summed in the transformed domain: x is transformed once a frame, h and r∘h once each,
and only the pre-activations are transformed back. ``convgru_torch.readable``, whose convolutions
are separate, transforms back twice as many.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from convgru.spec.cell import CellSpec
from convgru_torch import ops, winograd
from convgru_torch import winograd_transforms as transforms
from convgru_torch.readable import Parts, SequenceCall, check_state


def why_not(call: SequenceCall) -> str | None:
    """Return the reason why this does not apply to a call, or None."""
    cell, arrays = call.cell, call.arrays
    tensors = (call.x, *call.parts, *arrays.values())
    if not _is_of_the_kind(cell) or call.zoneout or not all(winograd.convolutions(cell).values()):
        return "it is not a wide ConvGRU of reset='before' without norm, updates and zoneout, with padding 'same'"
    if any(a is not None for a in (call.valid, call.context, call.recurrent_mask)):
        return "it has lengths, a context or recurrent dropout"
    if torch.is_grad_enabled() and any(a.requires_grad for a in tensors):
        return "gradients are asked for"
    if any(type(a) is not Tensor and type(a) is not nn.Parameter for a in tensors):
        return "not all tensors are plain ones"
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return "a transform of torch.func or forward-mode differentiation is active"
    if not winograd.runs_on(call.x) or any(a.dtype != call.x.dtype for a in tensors):
        return "not all tensors are of float32, or all of float64, on the CPU"
    return None


def _is_of_the_kind(cell: CellSpec) -> bool:
    plain = cell.reset == "before" and not cell.updates and cell.norm is None and cell.padding_mode == "zeros"
    return plain and cell.padding in ("same", ((1, 1), (1, 1))) and len(winograd.convolutions(cell)) == 3


def run(call: SequenceCall) -> tuple[Tensor, Parts]:
    """Run one layer in one direction: the output, or the last one, and the final state.

    Raises ValueError for a state of another shape.
    """
    transforms.keep_freed_memory()
    x, (h,), cell = call.x, call.parts, call.cell
    check_state(cell, (x.shape[1], cell.hidden_channels, *x.shape[3:]), call.parts)
    weights = (call.arrays["weight_ih"], call.arrays["weight_hh"])
    u = winograd.kept(weights[0], "gates", weights, lambda w, v: transforms.transform(torch.cat((w, v), 1)))
    bias = call.arrays.get("bias")
    outputs: list[Tensor] = []
    for frame in reversed(x.unbind(0)) if call.reverse else x.unbind(0):
        h = _step(cell, u, None if bias is None else bias.view(-1, 1, 1), frame, h)
        if not call.last_only:
            outputs.append(h)
        elif not call.reverse or not outputs:
            outputs = [h]
    if call.last_only:
        return outputs[0].clone(), (h,)
    return torch.stack(outputs[::-1] if call.reverse else outputs), (h,)


def _step(cell: CellSpec, u: Tensor, bias: Tensor | None, x: Tensor, h: Tensor) -> Tensor:
    """One step: the pre-activations of r and z from [x, h], that of n from [x, r∘h]."""
    hidden, (height, width) = cell.hidden_channels, (h.shape[2], h.shape[3])
    cut = transforms.Cut((height, width), (1, 1))
    u_rz, u_n = u.split([2 * hidden, hidden], 1)
    b_rz, b_n = (0, 0) if bias is None else bias.split([2 * hidden, hidden])
    tiles_x, tiles_h, spans = transforms.tiles(x, cut), transforms.tiles(h, cut), transforms.chunks(cut, h.shape[0])
    rz, n = (transforms.empty_result(h, channels, cut) for channels in (2 * hidden, hidden))
    images: list[Tensor] = []
    for span in spans:
        images.append(transforms.transform_image(*(transforms.part(tiles, span) for tiles in (tiles_x, tiles_h))))
        transforms.write_results(rz, span, cut, u_rz, images[-1])
    r, z = _activation(cell.recurrent_activation, rz[..., :width].add_(b_rz)).chunk(2, 1)
    tiles_r = transforms.tiles(r * h, cut)
    for span, image in zip(spans, images, strict=True):
        image[:, x.shape[1] :] = transforms.transform_image(transforms.part(tiles_r, span))
        transforms.write_results(n, span, cut, u_n, image)
    return torch.lerp(_activation(cell.activation, n[..., :width].add_(b_n)), h, z)


def _activation(name: str, a: Tensor) -> Tensor:
    """The activation, in place where it is one of the usual two; tanh is 2σ(2a) − 1."""
    if name == "sigmoid":
        return a.sigmoid_()
    return a.mul_(2).sigmoid_().mul_(2).sub_(1) if name == "tanh" else ops.activation(name, a)
