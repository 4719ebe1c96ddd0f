"""A layer over a sequence on an accelerator, forward and back, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convgru_torch.accelerator import frames as layout
from convgru_torch.accelerator.cells import Now, Then, cell_of
from convgru_torch.accelerator.frames import Frames, arranged
from convgru_torch.accelerator.gradients import Sums
from convgru_torch.accelerator.pointwise import functions
from convgru_torch.sequence import Gradients, Parts, Saved, states_before
from convgru_torch.sequence_plan import Arrays, Plan


def _frames(plan: Plan) -> Frames:
    pixels = 1
    for size in plan.state_size:
        pixels *= size
    compute = torch.float64 if torch.float64 in (plan.dtype, plan.state_dtype) else torch.float32
    return Frames(plan.hidden, pixels, plan.last, plan.cell.recurrent_activation, plan.cell.activation, compute)


def _invalid(valid: Tensor | None) -> Tensor | None:
    """Which samples are padding in each frame, (T, B) of bytes, which kernels read row by row."""
    return None if valid is None else (~valid).flatten(1).to(torch.uint8).contiguous()


def forward(plan: Plan, arrays: Arrays, x: Tensor, parts: Parts, valid: Tensor | None, save: bool) -> Saved:
    """Run over a sequence; arguments and result as of ``convgru_torch.sequence.forward``."""
    frames, lead = _frames(plan), (plan.time, plan.batch)
    cell = cell_of(plan)(plan, arrays, frames, functions(x))
    cell.forward()
    keep, size = save and not plan.lean and cell.widths != (1,), plan.state_size
    states = tuple(layout.empty(x, lead, plan.hidden, size, plan.last, plan.state_dtype) for _ in parts)
    held = layout.empty(x, lead, plan.hidden, size, plan.last) if keep and cell.holds else None
    low = None if plan.state_dtype == plan.dtype else layout.empty(x, (2, plan.batch), plan.hidden, size, plan.last)
    parts, invalid = tuple(arranged(part, plan.last) for part in parts), _invalid(valid)
    read, kept = arranged(parts[0].to(plan.dtype), plan.last), None
    for start, stop in ((0, plan.time),) if keep else plan.spans:
        ahead = _hoisted(plan, arrays, x[start:stop])
        kept = ahead if keep else None
        for t in plan.within(start, stop):
            new = tuple(each[t] for each in states)
            copy = None if low is None else low[t % 2]
            cell.step(
                Now(
                    ahead[t - start],
                    parts,
                    read,
                    None if invalid is None else invalid[t],
                    new,
                    copy,
                    None if held is None else held[t],
                )
            )
            parts, read = new, new[0] if copy is None else copy
    return Saved(states, tuple(a for a in (kept, held) if a is not None), parts)


def _hoisted(plan: Plan, arrays: Arrays, x: Tensor) -> Tensor:
    """W*x of all gates of frames (n, B, C, *S)."""
    weight = arranged(arrays["weight_ih"], plan.last)
    ahead = layout.convolve(arranged(x.flatten(0, 1), plan.last), weight, plan.ih, plan.last)
    split: Tensor = ahead.unflatten(0, x.shape[:2])
    return split


def backward(
    plan: Plan,
    arrays: Arrays,
    x: Tensor,
    parts: Parts,
    valid: Tensor | None,
    saved: Saved,
    outputs: Tensor | None,
    finals: Sequence[Tensor | None],
    wanted: tuple[bool, bool],
) -> Gradients:
    """Go back; arguments and result as of ``convgru_torch.sequence.backward``."""
    frames, invalid = _frames(plan), _invalid(valid)
    cell = cell_of(plan)(plan, arrays, frames, functions(x))
    cell.backward()
    sums = Sums(plan, arrays, frames, wanted[1], wanted[0])
    parts = tuple(arranged(part, plan.last) for part in parts)
    carry: list[Tensor | None] = [
        torch.zeros_like(part, dtype=frames.compute)
        if grad is None
        else arranged(grad.to(frames.compute, copy=True), plan.last)
        for part, grad in zip(parts, finals, strict=True)
    ]
    conv: Tensor | None = None
    pieces: dict[int, Tensor] = {}
    for start, stop in reversed(plan.spans):
        chunk = arranged(x[start:stop].flatten(0, 1), plan.last)
        edge = (saved.states[0], (stop - start, plan.batch), plan.hidden, plan.state_size, plan.last)
        joined = partial(layout.empty, *edge)
        before = tuple(
            states_before(plan, first, s, start, stop, joined) for first, s in zip(parts, saved.states, strict=True)
        )
        gates, held = _gates(plan, cell, arrays, x[start:stop], before, invalid, saved, start, stop)
        given = None if outputs is None else arranged(outputs[start:stop].flatten(0, 1), plan.last)
        size = (stop - start, plan.batch)
        grads = [layout.empty(x, size, width * plan.hidden, plan.state_size, plan.last) for width in cell.widths]
        for t in reversed(plan.within(start, stop)):
            i = t - start
            then = Then(
                gates[i],
                None if held is None else held[i],
                tuple(b[i] for b in before),
                tuple(s[t] for s in saved.states),
                None if invalid is None else invalid[t],
                None if given is None else given.unflatten(0, size)[i],
                [g[i] for g in grads],
            )
            conv = cell.step_back(then, carry, conv)
        sums.dx = None
        flat = [g.flatten(0, 1) for g in grads]
        cell.finish(sums, chunk, before[0].flatten(0, 1).to(plan.dtype), gates.flatten(0, 1), flat)
        if plan.cell.cell == "lstm":
            after = saved.states[1][start:stop].flatten(0, 1)
            cell.peepholes(sums, flat[0], before[1].flatten(0, 1), after)
        if sums.dx is not None:
            pieces[start] = sums.dx.unflatten(0, size)
    dx = torch.cat([pieces[start] for start in sorted(pieces)]) if pieces else None
    if conv is not None:
        carry[0] = conv.to(frames.compute) if carry[0] is None else carry[0].add_(conv)
    found = {name: grad.to(arrays[name].dtype) for name, grad in sums.sums.items()}
    return Gradients(dx, tuple(g.to(plan.state_dtype) for g in carry if g is not None), found)


def _gates(
    plan: Plan,
    cell: Any,
    arrays: Arrays,
    x: Tensor,
    before: Parts,
    invalid: Tensor | None,
    saved: Saved,
    start: int,
    stop: int,
) -> tuple[Tensor, Tensor | None]:
    """The gates of a chunk and what else was held: kept, or computed again for all its frames."""
    if saved.gates:
        gates, *others = saved.gates
        return gates[start:stop], others[0][start:stop] if others else None
    if cell.widths == (1,):  # an RNN, whose gate is its state
        return saved.states[0][start:stop], None
    cell.forward()
    flat = tuple(arranged(b.flatten(0, 1), plan.last) for b in before)
    ahead = _hoisted(plan, arrays, x)
    out = [torch.empty_like(part) for part in flat]
    read = arranged(flat[0].to(plan.dtype), plan.last)
    held = torch.empty_like(read) if cell.holds else None
    chunk = None if invalid is None else invalid[start:stop].flatten()
    cell.step(Now(ahead.flatten(0, 1), flat, read, chunk, out, None, held))
    return ahead, None if held is None else held.unflatten(0, ahead.shape[:2])
