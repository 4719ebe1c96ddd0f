"""The fast implementation of a layer: ``convgru_torch.sequence`` as a function of autograd."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from convgru.spec import CellSpec
from convgru_torch import accelerator, graphed, second, sequence
from convgru_torch.plans import planned
from convgru_torch.readable import Parts, SequenceCall, check_state, ends
from convgru_torch.sequence_plan import Plan, on_accelerator, plan_for

DTYPES = (torch.float32, torch.float64)
HALF = (torch.bfloat16, torch.float16)
CAST = ("weight_ih", "weight_hh")
"""What autocast casts."""
OPEN = ("tanh", "relu", "leaky_relu")
"""Activations that have a derivative where they are zero or one, as padding sets gates."""


def why_not(call: SequenceCall) -> str | None:
    """Return the reason why the fast sequence function does not apply to a call, or None."""
    return _why_not_now(call.x) or _why_not_cell(call.cell) or _why_not_call(call) or _why_not_tensors(call)


def _why_not_now(x: Tensor) -> str | None:
    """What else torch does at present: traces, transforms, modes."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return "it is traced (torch.compile, torch.export, torch.jit.trace)"
    if torch._C._are_functorch_transforms_active():
        return "a transform of torch.func is active"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation is active"
    if autocasts(x) and not (on_accelerator(x) and x.dtype != torch.float64):
        return "autocast is on"
    if torch._C._len_torch_dispatch_stack() > 0:
        return "a TorchDispatchMode is active"
    return None


def autocasts(x: Tensor) -> bool:
    """Whether autocast is on for a tensor's device."""
    return torch.is_autocast_enabled(x.device.type if x.device.type in ("cpu", "cuda") else "cpu")


@planned
def _why_not_cell(cell: CellSpec) -> str | None:
    """What the network is."""
    reasons = (
        (cell.norm is not None, "the layer has a norm"),
        (bool(cell.updates), "the layer has updates"),
        (cell.peephole == "conv", "its peepholes are convolutions"),
        (cell.groups > 1, "its convolutions have groups"),
        (cell.padding_mode != "zeros", f"its padding_mode is {cell.padding_mode!r}"),
        # The gradient that torch 2.13 has for the weight of a strided convolution writes beyond its
        # memory where channels are last (kernel 1, stride 2).
        (any(s > 1 for s in cell.stride), "its stride is not 1"),
        (any(s > 1 for s in cell.recurrent_stride), "its recurrent_stride is not 1"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def _why_not_call(call: SequenceCall) -> str | None:
    """What this call has besides."""
    if call.zoneout:
        return "it has zoneout"
    if call.recurrent_mask is not None:
        return "it has recurrent dropout"
    if call.valid is not None and call.cell.recurrent_activation in OPEN and not on_accelerator(call.x):
        return "the gates that padding sets have a derivative there"
    return None if call.context is None else "it is given a context"


def _why_not_tensors(call: SequenceCall) -> str | None:
    """What the tensors are."""
    x, dtype, fast_device = call.x, call.x.dtype, on_accelerator(call.x)
    if fast_device and autocasts(x):
        dtype = next(iter(call.arrays.values())).dtype
    states: tuple[torch.dtype | None, ...] = (dtype,)
    if fast_device:
        states = (dtype, torch.float32, torch.float64)
    allowed = DTYPES + HALF if fast_device else DTYPES
    wrong = "not all tensors are of float32, or all of float64"
    wrong += ", bfloat16 or float16" if fast_device else ""
    if dtype not in allowed:
        return wrong
    for a in (x, *call.parts, *call.arrays.values()):
        if type(a) is not Tensor and type(a) is not nn.Parameter:
            return "not all tensors are plain ones"
        if a.device != x.device or (a.device.type != "cpu" and not fast_device):
            return "not all tensors are on the CPU, or on one CUDA device"
        if a.layout is not torch.strided:
            return "not all tensors are dense"
    if any(a.dtype != dtype for a in call.arrays.values()) or any(part.dtype not in states for part in call.parts):
        return wrong
    if x.dtype != dtype and not (fast_device and autocasts(x)):
        return wrong
    return None if call.x.numel() and call.parts[0].numel() else "the input is empty"


def run(call: SequenceCall) -> tuple[Tensor, Parts]:
    """Run one layer in one direction: the output, or each sample's last, and the final state.

    Raises ValueError for a state of another shape.
    """
    kind = call.x.device.type
    if not on_accelerator(call.x):
        return _run(call)
    with _current(call.x):
        if not autocasts(call.x):
            return _run(call)
        low = torch.get_autocast_dtype(kind)
        arrays = {name: a.to(low) if name in CAST else a for name, a in call.arrays.items()}
        with torch.autocast(kind, enabled=False):
            return _run(call._replace(x=call.x.to(low), arrays=arrays))


def _current(x: Tensor) -> AbstractContextManager[Any]:
    """Make the device of a tensor the one on which Triton launches kernels."""
    if x.device.type != "cuda" or x.device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(x.device)


def _run(call: SequenceCall) -> tuple[Tensor, Parts]:
    """The same, where autocast is off."""
    plan = plan_for(call.cell, call.x, call.parts[0], call.reverse, call.execution.memory == "lean")
    expected = plan.state_size[-call.cell.ndim :]
    check_state(call.cell, (plan.batch, plan.hidden, *expected), call.parts)
    x, parts, arrays, valid = call.x, call.parts, call.arrays, call.valid
    if call.cell.ndim == 1:
        x, parts = x.unsqueeze(-2), tuple(part.unsqueeze(-2) for part in parts)
        arrays = {name: a.unsqueeze(-2) if a.ndim > 1 else a for name, a in arrays.items()}
        valid = None if valid is None else valid.unsqueeze(-2)
    if torch.is_grad_enabled() and any(a.requires_grad for a in (x, *parts, *arrays.values())):
        function = graphed.Sequence if call.execution.cuda_graphs else Sequence
        y, *last = function.apply(  # type: ignore[no-untyped-call]
            plan, tuple(arrays), len(parts), valid, x, *parts, *arrays.values()
        )
        final = tuple(last)
        # In both layouts; what the user gets must not be what the gradient needs.
        if y.is_contiguous() and not call.execution.cuda_graphs:
            y = y.clone()
    elif call.execution.cuda_graphs:
        y, final = graphed.states(plan, arrays, x, parts, valid, call.last_only and valid is None)
    elif call.last_only and valid is None and not plan.accelerator:
        last_output, final = sequence.ends(plan, arrays, x, parts, _all_zero(plan, parts))
        y, final = last_output[None], _apart(final)
    else:
        hint = {} if plan.accelerator else {"zero": _all_zero(plan, parts)}
        saved = _means(plan).forward(plan, arrays, x, parts, valid, save=False, **hint)
        y, final = saved.states[0], _apart(saved.final)
        if plan.time == 1 and valid is None and not plan.accelerator:  # one number twice: one transposition
            y = final[0].clone()[None]
    if call.last_only:
        y = y[-1] if valid is None else torch.where(ends(valid), y, 0).sum(0)
    elif valid is not None:
        y = torch.where(valid, y, 0)
    if call.cell.ndim == 1:
        y, final = y.squeeze(-2), tuple(part.squeeze(-2) for part in final)
    return y, final


def _apart(parts: Iterable[Tensor]) -> Parts:
    """The final state in memory of its own: who writes into the output must not change it."""
    return tuple(part.clone(memory_format=torch.contiguous_format) for part in parts)


def _all_zero(plan: Plan, parts: Parts) -> bool:
    """Whether the state is zeros; a single step seldom begins with them, and is not looked at."""
    return plan.time > 1 and not any(bool(part.any()) for part in parts)


def _means(plan: Plan) -> Any:
    """The functions that run a plan."""
    return accelerator if plan.accelerator else sequence


class Sequence(torch.autograd.Function):
    """One layer in one direction over a sequence: states h after each frame, final state.

    Its gradient is that of the readable implementation where it is to be differentiated again, and
    where it comes in batches (``is_grads_batched``, vectorised Jacobians and Hessians).
    """

    @staticmethod
    def forward(
        ctx: Any, plan: Plan, names: tuple[str, ...], count: int, valid: Tensor | None, x: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        """Run; ``rest`` is the ``count`` parts of the state, then the parameters ``names``."""
        parts, arrays = rest[:count], dict(zip(names, rest[count:], strict=True))
        # An accelerator would have to be waited for.
        zero = [not plan.accelerator and not part.any() for part in parts]
        ctx.hint = {} if plan.accelerator else {"zero": all(zero)}
        saved = _means(plan).forward(plan, arrays, x, parts, valid, save=True, **ctx.hint)
        ctx.plan, ctx.names, ctx.count = plan, names, count
        ctx.set_materialize_grads(False)
        # A state of zeros, that of a call without one, is made again rather than kept.
        needs = ctx.needs_input_grad[5 : 5 + count]
        first = [None if no and not need else part for part, no, need in zip(parts, zero, needs, strict=True)]
        ctx.save_for_backward(valid, x, *first, *arrays.values(), *saved.states, *saved.gates)
        return saved.states[0], *(part.clone() for part in saved.final)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, outputs: Tensor | None, *finals: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients with respect to the arguments."""
        plan, names, count = ctx.plan, ctx.names, ctx.count
        valid, x, *tensors = ctx.saved_tensors
        shape = (plan.batch, plan.hidden, *plan.state_size)
        parts, tensors = tuple(x.new_zeros(shape) if a is None else a for a in tensors[:count]), tensors[count:]
        arrays, tensors = dict(zip(names, tensors[: len(names)], strict=True)), tensors[len(names) :]
        needs = ctx.needs_input_grad[4:]
        if second.needed((outputs, *finals)):
            again = second.gradients(plan, arrays, x, parts, valid, outputs, finals, needs)
            return None, None, None, None, *again
        saved = sequence.Saved(tuple(tensors[:count]), tuple(tensors[count:]))
        wanted = needs[0], any(needs[1 + count :])
        hint = ctx.hint if plan.accelerator else {"through": any(needs[1 : 1 + count]), **ctx.hint}
        with torch.autocast(x.device.type, enabled=False) if plan.accelerator else nullcontext():
            grads = _means(plan).backward(plan, arrays, x, parts, valid, saved, outputs, finals, wanted, **hint)
        weights = [
            grads.arrays.get(name) if need else None for name, need in zip(names, needs[1 + count :], strict=True)
        ]
        states = [grad if need else None for grad, need in zip(grads.parts, needs[1 : 1 + count], strict=True)]
        return None, None, None, None, grads.x, *states, *weights
