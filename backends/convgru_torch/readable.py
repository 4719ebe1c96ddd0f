"""The readable implementation of a layer: a loop over ``convgru.equations`` with autograd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from convgru import equations
from convgru.spec import CellSpec
from convgru.spec.shapes import step_prefixes
from convgru_torch import ops
from convgru_torch.execution import AUTOMATIC, Execution

Parts = tuple[Tensor, ...]
"""The state of one layer and direction as the equations take it: (h,) or (h, c). Users have h
itself where it is alone.
"""
CHUNK = 8 << 20
"""Bytes of input gates to compute at once on a CPU."""


class SequenceCall(NamedTuple):
    """One call of one layer in one direction over a sequence: what an implementation runs.

    The tensors are as in ``convgru_torch.layers.Layer.forward``.
    """

    cell: CellSpec
    arrays: Mapping[str, Tensor]
    """Parameters by short name (``weight_ih`` …)."""
    x: Tensor
    parts: Parts
    reverse: bool = False
    zoneout: float = 0.0
    valid: Tensor | None = None
    context: Tensor | None = None
    recurrent_mask: Tensor | None = None
    zoneout_masks: Sequence[Tensor] | None = None
    last_only: bool = False
    execution: Execution = AUTOMATIC


Step = tuple[equations.Step, CellSpec, ops.Params]
"""A plain cell; several of them run one after another in each time step."""


def run(call: SequenceCall) -> tuple[Tensor, Parts]:
    """Run one layer in one direction: the output, or each sample's last, and the final state.

    Raises ValueError for a state of another shape.
    """
    size, state_size = call.x.shape[3:], call.parts[0].shape[2:]
    steps = [
        (
            equations.step_of(step),
            step,
            ops.prepare(
                step, call.arrays, prefix, size, state_size, call.execution.algorithm, call.execution.state_dtype
            ),
        )
        for step, prefix in zip(call.cell.steps, step_prefixes(call.cell), strict=True)
    ]
    return (_last_output if call.last_only else _outputs)(call, steps)


def _outputs(call: SequenceCall, steps: Sequence[Step]) -> tuple[Tensor, Parts]:
    """All outputs, output[t] belonging to frame t, and the final state."""
    outputs: list[Tensor] = []
    final = call.parts
    for _, final in _states(call, steps):
        outputs.append(final[0])
    y = torch.stack(outputs[::-1] if call.reverse else outputs)
    return y if call.valid is None else torch.where(call.valid, y, 0), final


def ends(valid: Tensor) -> Tensor:
    """Mask of each sample's last valid frame."""
    return valid & ~torch.cat((valid[1:], torch.zeros_like(valid[:1])))


def _last_output(call: SequenceCall, steps: Sequence[Step]) -> tuple[Tensor, Parts]:
    """Each sample's output for its last valid frame and the final state; stores no other output.

    The output is zeros where there is no valid frame.
    """
    last = None if call.valid is None else ends(call.valid).unbind(0)
    y, final = torch.zeros_like(call.parts[0]), call.parts
    for t, final in _states(call, steps):
        if last is not None:
            y = torch.where(last[t], final[0], y)
        elif t == call.x.shape[0] - 1:
            y = final[0].clone()  # who writes into the output must not change the state
    return y, final


def _states(call: SequenceCall, steps: Sequence[Step]) -> Iterator[tuple[int, Parts]]:
    """Yield each time step and the state after it; many frames share one input convolution."""
    x, parts = call.x, call.parts
    dtype = parts[0].dtype
    valid = None if call.valid is None else call.valid.unbind(0)
    context = None if call.context is None else _frames(call.context, x)
    for start, chunk in _chunks(call, steps):
        gates = [_gates(cell, p, chunk) for _, cell, p in steps]
        _check_state(call.cell, gates[0][0], parts)
        times = range(chunk.shape[0])
        for i in reversed(times) if call.reverse else times:
            t, new = start + i, parts
            for (step, cell, p), gates_x in zip(steps, gates, strict=True):
                now = None if context is None else context[t]
                new = step(ops, cell, p, gates_x[i], new, now, call.recurrent_mask)
                # Without a bias, autocast would let the state fall to the convolution's own
                # precision.
                new = tuple(part.to(dtype) for part in new)
            if call.zoneout:
                masks = call.zoneout_masks
                kept = [call.zoneout] * len(new) if masks is None else [mask[t] for mask in masks]
                new = equations.zoneout(kept, parts, new)
            if valid is not None:
                new = tuple(torch.where(valid[t], a, b) for a, b in zip(new, parts, strict=True))
            parts = new
            yield t, parts


def _check_state(cell: CellSpec, gates: Tensor, parts: Parts) -> None:
    """Raise ValueError for a state of another shape, as a hook may return and torch broadcast."""
    check_state(cell, (gates.shape[0], cell.hidden_channels, *gates.shape[2:]), parts)


def check_state(cell: CellSpec, expected: tuple[int, ...], parts: Parts) -> None:
    """Raise ValueError for a state that has not the expected shape."""
    for name, part in zip(cell.state_names, parts, strict=True):
        if tuple(part.shape) != expected:
            raise ValueError(f"{cell.title} layer expected a state {name} of shape {expected}, got {tuple(part.shape)}")


def _gates(cell: CellSpec, p: ops.Params, chunk: Tensor) -> tuple[Tensor, ...]:
    """The input gates of each frame of a chunk."""
    gates: Tensor = equations.input_gates(ops, cell, p, chunk.flatten(0, 1))
    return gates.reshape(chunk.shape[:2] + gates.shape[1:]).unbind(0)


def _frames(context: Tensor, x: Tensor) -> Sequence[Tensor]:
    """The context of each frame."""
    return context.unbind(0) if context.ndim == x.ndim else [context] * x.shape[0]


def _chunks(call: SequenceCall, steps: Sequence[Step]) -> list[tuple[int, Tensor]]:
    """Cut the input in time: yield each piece with its first time step, in reading order."""
    x, count = call.x, _frames_at_once(call, len(steps))
    if count >= x.shape[0]:
        return [(0, x)]
    chunks = [(count * i, chunk) for i, chunk in enumerate(x.split(count))]
    return chunks[::-1] if call.reverse else chunks


def _frames_at_once(call: SequenceCall, steps: int) -> int:
    """How many frames to convolve in one call; large buffers cost page faults on a CPU."""
    x = call.x
    time = x.shape[0]
    if time == 1 or x.device.type != "cpu" or torch.compiler.is_compiling():
        return time
    frame = prod(call.parts[0].shape) * call.cell.gates * steps * x.element_size()
    return max(1, min(time, CHUNK // max(1, frame)))
