"""The fast sequence function of accelerators in CUDA graphs, kept by ``convgru_torch.graphs``."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convgru_torch import accelerator, graphs, second
from convgru_torch.graphs import Recording, Tensors
from convgru_torch.readable import Parts
from convgru_torch.sequence import Saved
from convgru_torch.sequence_plan import Arrays, Plan

Names = tuple[str, ...]


def _forward(plan: Plan, names: Names, save: bool, given: Tensors) -> Tensors:
    """The forward pass as a function of tensors: states, and what else the gradient needs."""
    valid, (x, parts, arrays) = given[0], _arguments(plan, names, given)
    saved = accelerator.forward(plan, arrays, x, parts, valid, save)
    return *saved.states, *saved.gates


def _arguments(plan: Plan, names: Names, given: Tensors) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    """The arguments of a recording but the first, by what they are."""
    x, *rest = [a for a in given[1:] if a is not None]
    count = len(plan.cell.state_names)
    return x, tuple(rest[:count]), dict(zip(names, rest[count:], strict=True))


def _backward(plan: Plan, names: Names, forward: Recording, wanted: tuple[bool, bool], given: Tensors) -> Tensors:
    """The backward pass as a function of the results' gradients, on the memory of the forward."""
    x, parts, arrays = _arguments(plan, names, forward.given)
    count = len(parts)
    results = [a for a in forward.results if a is not None]
    saved = Saved(tuple(results[:count]), tuple(results[count:]))
    found = accelerator.backward(plan, arrays, x, parts, forward.given[0], saved, given[0], given[1:], wanted)
    return found.x, *found.parts, *(found.arrays.get(name) for name in names)


def _recorded(
    plan: Plan, arrays: Arrays, x: Tensor, parts: Parts, valid: Tensor | None, save: bool
) -> tuple[Recording, list[Tensor]]:
    """Run a recording of the forward pass; its results are its own memory.

    The caller holds ``graphs.LOCK``.
    """
    names, given = tuple(arrays), (valid, x, *parts, *arrays.values())
    recording = graphs.recording((plan, names, save), partial(_forward, plan, names, save), given)
    return recording, [a for a in recording(given) if a is not None]


def states(
    plan: Plan, arrays: Arrays, x: Tensor, parts: Parts, valid: Tensor | None, last_only: bool
) -> tuple[Tensor, Parts]:
    """The states h after each frame, or after frame T − 1 alone, and the final state."""
    with graphs.LOCK:
        _, results = _recorded(plan, arrays, x, parts, valid, False)
        y = results[0][-1:] if last_only else results[0]
        return y.clone(), tuple(s[plan.times[-1]].clone() for s in results)


class Sequence(torch.autograd.Function):
    """What ``convgru_torch.fast.Sequence`` is, with the same arguments, in CUDA graphs.

    The loan is one of the saved tensors, which torch frees after a backward that does not retain
    the graph. Hooks of saved tensors, those of ``torch.utils.checkpoint`` for one, may free it
    before: then backward runs the forward pass again.
    """

    @staticmethod
    def forward(
        ctx: Any, plan: Plan, names: Names, count: int, valid: Tensor | None, x: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        """Run; ``rest`` is the ``count`` parts of the state, then the parameters ``names``."""
        parts, arrays = rest[:count], dict(zip(names, rest[count:], strict=True))
        with graphs.LOCK:
            recording, results = _recorded(plan, arrays, x, parts, valid, True)
            loan = recording.lend()
            own = results[0].clone(), *(s[plan.times[-1]].clone() for s in results[:count])
        ctx.plan, ctx.names, ctx.count, ctx.loan = plan, names, count, weakref.ref(loan)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(loan.tensor(), valid, x, *rest)  # so that torch sees who changes them in place
        return own

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, outputs: Tensor | None, *finals: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients with respect to the arguments."""
        plan, names, count, needs = ctx.plan, ctx.names, ctx.count, ctx.needs_input_grad[4:]
        _, valid, x, *rest = ctx.saved_tensors
        parts, arrays = tuple(rest[:count]), dict(zip(names, rest[count:], strict=True))
        if second.needed((outputs, *finals)):
            grads = second.gradients(plan, arrays, x, parts, valid, outputs, finals, needs)
            return None, None, None, None, *grads
        wanted, given = (needs[0], any(needs[1 + count :])), (outputs, *finals)
        with graphs.LOCK, torch.autocast(x.device.type, enabled=False):
            loan = ctx.loan()
            if loan is None:
                loan = _recorded(plan, arrays, x, parts, valid, True)[0].lend()
            function = partial(_backward, plan, names, loan.recording, wanted)
            found = graphs.recording_back(loan.recording, wanted, function, given)(given)
            pairs = zip(found, needs, strict=True)
            return None, None, None, None, *(a.clone() if need and a is not None else None for a, need in pairs)
