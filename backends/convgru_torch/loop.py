"""The loops over time, layers and directions, time first: what run and forecast share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from convgru import equations
from convgru.spec import CellSpec, NetworkSpec
from convgru.spec.shapes import layer_prefix, step_prefixes
from convgru_torch import ops
from convgru_torch.export import check_time_is_fixed
from convgru_torch.masks import Masks

Parts = tuple[Tensor, ...]
"""The state of one layer and direction as the equations take it: (h,) or (h, c)."""
CHUNK = 8 << 20
"""How many bytes of input gates to compute at once on a CPU."""


class Layer(NamedTuple):
    """One layer in one direction, prepared: its plain cells, and which entry of the state is its own."""

    cell: CellSpec
    steps: list[tuple[CellSpec, ops.Params]]
    entry: int
    reverse: bool


@dataclass(frozen=True)
class Call:
    """What a call brings besides input and state, time first.

    ``valid`` (T, B, 1, *1) says which frames are no padding; ``context`` holds, for each entry of the state, (B, G·H, *S) or
    (T, B, G·H, *S).
    """

    masks: Masks
    valid: Tensor | None = None
    context: Sequence[Tensor] | None = None


def prepare(
    spec: NetworkSpec, arrays: Mapping[str, Tensor], prefix: str, size: Sequence[int], state: Sequence[Parts]
) -> list[list[Layer]]:
    """The layers, each in all its directions, for input of ``size`` and states like these. Runs once a call."""
    if spec.output_size is not None:
        size = spec.output_size
    count = len(spec.directions)
    layers: list[list[Layer]] = []
    for index, cell in enumerate(spec.layers):
        layers.append([])
        own = state[index * count][0].shape[2:]
        for d, direction in enumerate(spec.directions):
            prefixes = [prefix + layer_prefix(index, direction) + inner for inner in step_prefixes(cell)]
            steps = [
                (step, ops.prepare(step, arrays, name, size, own))
                for step, name in zip(cell.steps, prefixes, strict=True)
            ]
            layers[-1].append(Layer(cell, steps, index * count + d, direction == "bwd"))
        size = own
    return layers


def network(
    spec: NetworkSpec,
    layers: list[list[Layer]],
    x: Tensor,
    state: Sequence[Parts],
    call: Call,
    *,
    every: bool = False,
    last: bool = False,
) -> tuple[list[Tensor], list[Parts]]:
    """Run over x (T, B, C, *S): the output of the last layer, or of ``every`` one, and the final state.

    Outputs are sequences, or with ``last`` each sample's last valid frame.
    """
    check_time_is_fixed(spec.title, x)
    if spec.output_size is not None:
        pooled = ops.pool(x.flatten(0, 1), spec.output_size)
        x = pooled.reshape(x.shape[:2] + pooled.shape[1:])
    if call.valid is not None:
        x = torch.where(call.valid, x, 0)
    heads = [x] * len(spec.directions)
    outputs: list[Tensor] = []
    final: list[Parts] = []
    for index, pair in enumerate(layers):
        top = index == len(layers) - 1
        swept = [_sweep(own, head, state[own.entry], call, last and top) for own, head in zip(pair, heads, strict=True)]
        heads = [head for head, _ in swept]
        final += [parts for _, parts in swept]
        if spec.bidirectional == "layer":
            heads = [_merged(spec, heads, last and top)]
        if every or top:
            output = heads[0] if len(heads) == 1 else _merged(spec, heads, last and top)
            outputs.append(_last_of(output, call.valid) if last and not top else output)
        if not top:
            heads = _dropped(spec, index, heads, call.masks)
    return outputs, final


def _merged(spec: NetworkSpec, heads: Sequence[Tensor], last: bool) -> Tensor:
    """One output from those of two directions: sequences, or last frames."""
    forward, backward = heads
    if last:
        found: Tensor = equations.merge(ops, spec.merge, forward, backward)
        return found
    merged: Tensor = equations.merge(ops, spec.merge, forward.flatten(0, 1), backward.flatten(0, 1))
    return merged.reshape(forward.shape[:2] + merged.shape[1:])


def _dropped(spec: NetworkSpec, index: int, heads: Sequence[Tensor], masks: Masks) -> list[Tensor]:
    """What the next layer reads, in each direction."""
    if spec.bidirectional == "stack":
        names = [f"dropout.{index}.{direction}" for direction in spec.directions]
        return [masks.dropout(name, head) for name, head in zip(names, heads, strict=True)]
    return [masks.dropout(f"dropout.{index}", heads[0])] * len(spec.directions)


def _last_of(y: Tensor, valid: Tensor | None) -> Tensor:
    """Each sample's last valid frame of a sequence; zeros where there is none."""
    if valid is None:
        return y[-1]
    return torch.where(_ends(valid), y, 0).sum(0)


def _ends(valid: Tensor) -> Tensor:
    """Which frame of each sample is its last valid one."""
    return valid & ~torch.cat((valid[1:], torch.zeros_like(valid[:1])))


def _sweep(layer: Layer, x: Tensor, parts: Parts, call: Call, last: bool) -> tuple[Tensor, Parts]:
    """One layer in one direction: its outputs, output[t] belonging to frame t, or the last valid one; and its final state."""
    valid, final = call.valid, parts
    if not last:
        outputs = []
        for _, final in _states(layer, x, parts, call):
            outputs.append(final[0])
        y = torch.stack(outputs[::-1] if layer.reverse else outputs)
        return y if valid is None else torch.where(valid, y, 0), final
    ends = None if valid is None else _ends(valid).unbind(0)
    found = torch.zeros_like(parts[0])
    for t, final in _states(layer, x, parts, call):
        if ends is not None:
            found = torch.where(ends[t], final[0], found)
        elif t == x.shape[0] - 1:
            found = final[0]
    return found, final


def _states(layer: Layer, x: Tensor, parts: Parts, call: Call) -> Iterator[tuple[int, Parts]]:
    """Each time step and the state after it: the input convolutions of many frames at once, then the steps."""
    dtype, masks, entry = parts[0].dtype, call.masks, layer.entry
    valid = None if call.valid is None else call.valid.unbind(0)
    context = None if call.context is None else _frames(call.context[entry], x)
    recurrent = masks.recurrent(entry, parts[0])
    steps = [(equations.step_of(cell), cell, p) for cell, p in layer.steps]
    for start, chunk in _chunks(layer, x, parts[0]):
        gates = [_gates(cell, p, chunk) for cell, p in layer.steps]
        times = range(chunk.shape[0])
        for i in reversed(times) if layer.reverse else times:
            t, new = start + i, parts
            for (step, cell, p), gates_x in zip(steps, gates, strict=True):
                new = step(ops, cell, p, gates_x[i], new, None if context is None else context[t], recurrent)
                # Without a bias, autocast would let the state fall to the convolution's own precision.
                new = tuple(part.to(dtype) for part in new)
            new = masks.zoneout(entry, t, parts, new)
            if valid is not None:
                new = tuple(torch.where(valid[t], a, b) for a, b in zip(new, parts, strict=True))
            parts = new
            yield t, parts


def _gates(cell: CellSpec, p: ops.Params, chunk: Tensor) -> tuple[Tensor, ...]:
    """The input gates of each frame of a chunk."""
    gates: Tensor = equations.input_gates(ops, cell, p, chunk.flatten(0, 1))
    return gates.reshape(chunk.shape[:2] + gates.shape[1:]).unbind(0)


def _frames(context: Tensor, x: Tensor) -> Sequence[Tensor]:
    """The context of each frame."""
    return context.unbind(0) if context.ndim == x.ndim else [context] * x.shape[0]


def _chunks(layer: Layer, x: Tensor, h: Tensor) -> list[tuple[int, Tensor]]:
    """The input cut in time, each piece with the time step at which it starts, in the order in which they are read."""
    count = _frames_at_once(layer, x, h)
    if count >= x.shape[0]:
        return [(0, x)]
    chunks = [(count * i, chunk) for i, chunk in enumerate(x.split(count))]
    return chunks[::-1] if layer.reverse else chunks


def _frames_at_once(layer: Layer, x: Tensor, h: Tensor) -> int:
    """How many frames to convolve at once: on a CPU large buffers cost more, in page faults, than they save."""
    time = x.shape[0]
    if time == 1 or x.device.type != "cpu" or torch.compiler.is_compiling():
        return time
    frame = prod(h.shape) * layer.cell.gates * len(layer.steps) * x.element_size()
    return max(1, min(time, CHUNK // max(1, frame)))
