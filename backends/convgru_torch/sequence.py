"""The fast sequence function: one layer in one direction, forward and back, as pure functions.

The gradient is written by hand: a step back computes what depends on the step after it, and the
weights' gradients are those of many frames at once. Nothing here is differentiated by autograd;
``convgru_torch.fast`` makes a function of it that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convgru_torch import sequence_gru, sequence_lstm, sequence_rnn
from convgru_torch.sequence_gates import Chunk, Gates, WeightGradients, frames_gradient
from convgru_torch.sequence_ops import dense, empty
from convgru_torch.sequence_plan import Arrays, Plan

Parts = tuple[Tensor, ...]
CELLS: dict[str, Any] = {"gru": sequence_gru, "lstm": sequence_lstm, "rnn": sequence_rnn}


class Saved(NamedTuple):
    """What the gradient needs of the forward pass, besides its arguments.

    Attributes:
        states: the states after each frame, (T, B, H, *S) for each part.
        gates: of each frame, (T, B, K, *S); empty if they are computed again.
        final: the state after the last frame that is read.
    """

    states: tuple[Tensor, ...]
    gates: tuple[Tensor, ...]
    final: Parts = ()


class Gradients(NamedTuple):
    """Gradients with respect to the arguments of ``forward``; None where not wanted."""

    x: Tensor | None
    parts: Parts
    arrays: dict[str, Tensor]


def forward(
    plan: Plan,
    arrays: Arrays,
    x: Tensor,
    parts: Parts,
    valid: Tensor | None,
    save: bool,
    zero: bool = False,
    every: bool = True,
) -> Saved:
    """Run over a sequence; the states hold still where a sample's frames are not ``valid``.

    Args:
        plan: of this call.
        arrays: the parameters by short name, of the plan's dimensions, as everything here.
        x: (T, B, C, *S).
        parts: the initial state, h or h and c, each (B, H, *S).
        valid: (T, B, 1, …) of bool, or None.
        save: whether to keep states and gates for ``backward``; a lean plan keeps no gates.
        zero: whether the initial state is zeros, which need not be convolved.
        every: whether to keep h of every frame where ``save`` is False.
    """
    cell = CELLS[plan.cell.cell]
    gates = Gates(plan, arrays, plan.batch, zero)
    memory = [_places(plan, x, save or (every and part == 0)) for part in range(len(parts))]
    widths = cell.kept(plan) if save and not plan.lean else ()
    held = tuple(empty(x, (plan.time, plan.batch), width, plan.state_size) for width in widths)
    invalid = None if valid is None else (~valid).unbind(0)
    parts = tuple(dense(part) for part in parts)
    for start, stop in plan.spans:
        gates.open(x[start:stop])
        for t in plan.within(start, stop):
            gates.frame(t - start)
            new = tuple(places[t] for _, places in memory)
            gates.kept = [stack[t] for stack in held]
            blocks = cell.step(plan, gates, arrays, parts, None if invalid is None else invalid[t], new)
            for place, block in zip(gates.kept, blocks, strict=False):
                if block is not place:
                    place.copy_(block)
            parts, gates.idle = new, False
    return Saved(tuple(states for states, _ in memory), held, parts)


def ends(plan: Plan, arrays: Arrays, x: Tensor, parts: Parts, zero: bool = False) -> tuple[Tensor, Parts]:
    """The state h after frame T − 1, which a reverse plan reads first, and the final state.

    Keeps no other.
    """
    saved = forward(plan, arrays, x, parts, None, save=False, zero=zero, every=False)
    return saved.states[0][0] if plan.reverse else saved.final[0], saved.final


def _places(plan: Plan, like: Tensor, whole: bool) -> tuple[Tensor, Sequence[Tensor]]:
    """Memory for a part of the state, and the place of each frame in it.

    If not of the ``whole`` sequence, there is a place for the first one that is read, and two for
    all others in turn, which stay in the processor's cache.
    """
    memory = empty(like, (plan.time if whole else min(3, plan.time), plan.batch), plan.hidden, plan.state_size)
    places = memory.unbind(0)
    if not whole:
        order = [0, *(1 + at % 2 for at in range(plan.time - 1))]
        places = tuple(places[at] for at in (reversed(order) if plan.reverse else order))
    return memory, places


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
    through: bool = True,
    zero: bool = False,
) -> Gradients:
    """Go back through the sequence; the arguments of ``forward``, what it saved, and gradients.

    Args:
        outputs: gradient with respect to the states h after each frame, (T, B, H, *S), or None.
        finals: the same for each part of the final state.
        wanted: whether the gradients with respect to x, and to the parameters, are wanted.
        through: whether that with respect to the initial state is.
        zero: whether the initial state is zeros.
    """
    cell = CELLS[plan.cell.cell]
    sums = WeightGradients(plan, arrays, wanted[1])
    transposes = cell.transposes(plan, arrays, wanted[0])
    dx = torch.empty_like(x) if wanted[0] else None
    grads = tuple(
        torch.zeros_like(dense(part)) if grad is None else dense(grad).clone()
        for part, grad in zip(parts, finals, strict=True)
    )
    for start, stop in reversed(plan.spans):
        frames = x[start:stop]
        joined = partial(empty, saved.states[0], (stop - start, plan.batch), plan.hidden, plan.state_size)
        before = [
            states_before(plan, first, s, start, stop, joined) for first, s in zip(parts, saved.states, strict=True)
        ]
        after = [s[start:stop] for s in saved.states]
        mask = None if valid is None else valid[start:stop]
        if saved.gates or not cell.kept(plan):
            held: Sequence[Tensor] = [g[start:stop] for g in saved.gates]
        else:
            held = _again(plan, cell, arrays, frames, before, mask)
        back = cell.Back(plan, arrays, transposes, Chunk(before, after, held, mask))
        given = None if outputs is None else dense(outputs[start:stop].flatten(0, 1)).view(after[0].shape)
        for t in reversed(plan.within(start, stop)):
            if given is not None:
                grads[0].add_(given[t - start])
            first = t == plan.times[0]
            grads = back.step(t - start, grads, through or not first, zero and first)
        gate_grads = back.finish(frames, sums)
        if dx is not None:
            dx[start:stop].copy_(frames_gradient(plan, arrays, frames, gate_grads) if back.dx is None else back.dx)
    return Gradients(dx, grads, sums.sums)


def states_before(
    plan: Plan, first: Tensor, states: Tensor, start: int, stop: int, joined: Callable[[], Tensor]
) -> Tensor:
    """The states before each frame of a chunk; ``joined`` makes a buffer for those of its edge."""
    if plan.reverse:
        if stop < plan.time:
            return states[start + 1 : stop + 1]
        pieces = [states[start + 1 : stop], first[None]]
    else:
        if start > 0:
            return states[start - 1 : stop - 1]
        pieces = [first[None], states[: stop - 1]]
    buffer, at = joined(), 0
    for piece in pieces:
        buffer[at : at + len(piece)].copy_(piece)
        at += len(piece)
    return buffer


def _again(
    plan: Plan,
    cell: Any,
    arrays: Arrays,
    x: Tensor,
    before: Sequence[Tensor],
    valid: Tensor | None,
) -> list[Tensor]:
    """Compute the gates of all frames of a chunk at once, from the states before them."""
    lead, count = before[0].shape[:2], before[0].shape[0] * plan.batch
    gates = Gates(plan, arrays, count)
    if len(plan.blocks) == 1:  # a cell may write there; others return tensors of their own
        gates.kept = [empty(x, (count,), width, plan.state_size) for width in cell.kept(plan)]
    gates.open(x.flatten(0, 1)[None])
    gates.frame(0)
    parts = tuple(dense(part.flatten(0, 1)) for part in before)
    out = [torch.empty_like(part) for part in parts]
    invalid = None if valid is None else ~valid.flatten(0, 1)
    blocks = cell.step(plan, gates, arrays, parts, invalid, out)
    return [dense(block).view(*lead, *block.shape[1:]) for block in blocks]


__all__: list[str] = ["Gradients", "Saved", "backward", "ends", "forward", "states_before"]
