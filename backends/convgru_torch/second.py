"""Gradients of the fast sequence function that are to be differentiated again, or in batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from convgru_torch import readable
from convgru_torch.execution import Execution
from convgru_torch.readable import Parts, SequenceCall
from convgru_torch.sequence_plan import Plan


def needed(grads: Iterable[Tensor | None]) -> bool:
    """Whether a backward pass is to be differentiated, or its gradients hide an axis.

    That is one of torch.vmap, or of autograd's ``is_grads_batched``.
    """
    if torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
        return True
    older = getattr(torch._C, "_functorch").is_legacy_batchedtensor  # noqa: B009, no stub knows it
    return any(grad is not None and older(grad) for grad in grads)


def gradients(
    plan: Plan,
    arrays: Mapping[str, Tensor],
    x: Tensor,
    parts: Parts,
    valid: Tensor | None,
    outputs: Tensor | None,
    finals: tuple[Tensor | None, ...],
    needs: tuple[bool, ...],
) -> list[Tensor | None]:
    """The gradients by the readable implementation, themselves differentiable in grad mode."""
    again = torch.is_grad_enabled()
    how = Execution(state_dtype=None if plan.state_dtype == plan.dtype else plan.state_dtype)
    with torch.enable_grad():
        # Views, for an input may depend on another one: the gradient must not go on through it.
        x, *rest = (a.view_as(a) for a in (x, *parts, *arrays.values()))
        parts, arrays = tuple(rest[: len(parts)]), dict(zip(arrays, rest[len(parts) :], strict=True))
        y, last = readable.run(SequenceCall(plan.cell, arrays, x, parts, plan.reverse, valid=valid, execution=how))
    pairs = [(a, grad) for a, grad in zip((y, *last), (outputs, *finals), strict=True) if grad is not None]
    inputs = [a for a, need in zip((x, *rest), needs, strict=True) if need]
    grads = torch.autograd.grad(
        [a for a, _ in pairs], inputs, [grad for _, grad in pairs], create_graph=again, allow_unused=True
    )
    each = iter(grads)
    return [next(each) if need else None for need in needs]
