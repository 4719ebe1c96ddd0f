"""Loops over time, layers and directions, time-major; modules and pure functions use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convgru import equations
from convgru.spec import CellSpec, NetworkSpec
from convgru.spec.shapes import cell_parameter_shapes, dropout_mask, layer_prefix, step_prefixes
from convgru_torch import ops
from convgru_torch.export import check_time_is_fixed
from convgru_torch.masks import Masks

Parts = tuple[Tensor, ...]
"""The state of one layer and direction as the equations take it: (h,) or (h, c). Users have h
itself where it is alone.
"""
LayerCall = Callable[..., tuple[Tensor, Any]]
"""One layer in one direction over a sequence: a ``convgru_torch.layers.Layer``, or ``run_layer``
with its first arguments filled in.
"""
CHUNK = 8 << 20
"""Bytes of input gates to compute at once on a CPU."""


def functional_layers(spec: NetworkSpec, arrays: Mapping[str, Tensor], prefix: str = "") -> list[list[LayerCall]]:
    """Make each layer, in all its directions, from canonical ``arrays`` under ``prefix``."""

    def layer(index: int, direction: str) -> LayerCall:
        cell, start = spec.layers[index], prefix + layer_prefix(index, direction)
        parameters = {name: arrays[start + name] for name in cell_parameter_shapes(cell)}
        return partial(run_layer, cell, parameters, reverse=direction == "bwd", zoneout=spec.zoneout)

    return [[layer(index, direction) for direction in spec.directions] for index in range(len(spec.layers))]


def run_network(
    spec: NetworkSpec,
    layers: Sequence[Sequence[LayerCall]],
    x: Tensor,
    state: Sequence[Any],
    *,
    valid: Tensor | None = None,
    context: Sequence[Tensor] | None = None,
    masks: Masks | None = None,
    all_layers: bool = False,
    last_only: bool = False,
) -> tuple[list[Tensor], list[Any]]:
    """Run the layers over x (T, B, C, *S); return the outputs and the final state.

    The outputs are those of the last layer, or of all layers.

    Outputs are sequences, or with ``last_only`` each sample's last valid frame. ``valid`` (T, B, 1,
    …) says which frames are no padding; ``context`` holds a tensor for each entry of the state.
    """
    check_time_is_fixed(spec.title, x)
    if spec.output_size is not None:
        pooled = ops.pool(x.flatten(0, 1), spec.output_size)
        x = pooled.reshape(x.shape[:2] + pooled.shape[1:])
    if valid is not None:
        x = torch.where(valid, x, 0)
    masks = masks or {}
    sequences = [x] * len(spec.directions)
    outputs: list[Tensor] = []
    final: list[Any] = []
    for index, directions in enumerate(layers):
        top = index == len(layers) - 1
        last = last_only and top
        for d, layer in enumerate(directions):
            entry = len(final)
            options = _masks_of(spec, entry, masks)
            h = state[entry][0] if isinstance(state[entry], (tuple, list)) else state[entry]
            expected = h.shape if last else (*x.shape[:1], *h.shape)
            sequences[d], new = layer(
                sequences[d],
                state[entry],
                valid=valid,
                context=None if context is None else context[entry],
                last_only=last,
                **options,
            )
            _check_output(spec, index, spec.directions[d], sequences[d], expected)
            final.append(tuple(new) if isinstance(new, list) else new)
        if spec.bidirectional == "layer":
            sequences = [_merged(spec, sequences, last)]
        if all_layers or top:
            output = sequences[0] if len(sequences) == 1 else _merged(spec, sequences, last)
            outputs.append(_last_of(output, valid) if last_only and not top else output)
        if not top:
            sequences = _dropped(spec, index, sequences, masks)
    return outputs, final


def _check_output(spec: NetworkSpec, index: int, direction: str, y: Any, expected: Sequence[int]) -> None:
    """Raise ValueError for a layer's output of another shape, which a hook may have returned."""
    shape = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
    if shape != tuple(expected):
        name = f"{spec.title} {layer_prefix(index, direction)[:-1]}"
        raise ValueError(
            f"{name} expected an output of shape {tuple(expected)} of the layer and its hooks, got {shape}"
        )


def _masks_of(spec: NetworkSpec, entry: int, masks: Masks) -> dict[str, Any]:
    """Select the masks of one layer and direction: the keyword arguments of its call."""
    names = [f"zoneout.{entry}.{part}" for part in spec.layers[0].state_names]
    zoneout = tuple(masks[name] for name in names) if names[0] in masks else None
    return {"recurrent_mask": masks.get(f"recurrent.{entry}"), "zoneout_masks": zoneout}


def _merged(spec: NetworkSpec, outputs: Sequence[Tensor], last: bool) -> Tensor:
    """Merge the outputs of two directions: sequences, or last frames."""
    forward, backward = outputs
    if last:
        frames: Tensor = equations.merge(ops, spec.merge, forward, backward)
        return frames
    merged: Tensor = equations.merge(ops, spec.merge, forward.flatten(0, 1), backward.flatten(0, 1))
    return merged.reshape(forward.shape[:2] + merged.shape[1:])


def _dropped(spec: NetworkSpec, index: int, outputs: Sequence[Tensor], masks: Masks) -> list[Tensor]:
    """Apply dropout between layers; return what the next layer reads, in each direction."""
    if spec.bidirectional == "stack":
        names = [dropout_mask(spec, index, direction) for direction in spec.directions]
        return [y * masks[name] if name in masks else y for name, y in zip(names, outputs, strict=True)]
    name, y = dropout_mask(spec, index, spec.directions[0]), outputs[0]
    return [y * masks[name] if name in masks else y] * len(spec.directions)


def _last_of(y: Tensor, valid: Tensor | None) -> Tensor:
    """Each sample's last valid frame of a sequence; zeros where there is none."""
    return y[-1] if valid is None else torch.where(_ends(valid), y, 0).sum(0)


def _ends(valid: Tensor) -> Tensor:
    """Mask of each sample's last valid frame."""
    return valid & ~torch.cat((valid[1:], torch.zeros_like(valid[:1])))


class _Sweep(NamedTuple):
    """One layer in one direction over one sequence: everything but the state."""

    cell: CellSpec
    steps: list[tuple[equations.Step, CellSpec, ops.Params]]
    """The plain cells that run one after another in each time step."""
    x: Tensor
    reverse: bool
    zoneout: float
    valid: Tensor | None
    context: Tensor | None
    recurrent_mask: Tensor | None
    zoneout_masks: Sequence[Tensor] | None


def run_layer(
    cell: CellSpec,
    arrays: Mapping[str, Tensor],
    x: Tensor,
    state: Any,
    *,
    reverse: bool = False,
    zoneout: float = 0.0,
    valid: Tensor | None = None,
    context: Tensor | None = None,
    recurrent_mask: Tensor | None = None,
    zoneout_masks: Sequence[Tensor] | None = None,
    last_only: bool = False,
) -> tuple[Tensor, Any]:
    """Run one layer in one direction over x (T, B, C, *S); parameters by short name.

    Arguments and results as in ``convgru_torch.layers.Layer.forward``. Raises ValueError for a
    state of another shape.
    """
    parts: Parts = tuple(state) if isinstance(state, (tuple, list)) else (state,)
    size, state_size = x.shape[3:], parts[0].shape[2:]
    steps = [
        (equations.step_of(step), step, ops.prepare(step, arrays, prefix, size, state_size))
        for step, prefix in zip(cell.steps, step_prefixes(cell), strict=True)
    ]
    sweep = _Sweep(cell, steps, x, reverse, zoneout, valid, context, recurrent_mask, zoneout_masks)
    y, final = _last_output(sweep, parts) if last_only else _outputs(sweep, parts)
    return y, final[0] if len(final) == 1 else final


def _outputs(sweep: _Sweep, parts: Parts) -> tuple[Tensor, Parts]:
    """All outputs, output[t] belonging to frame t, and the final state."""
    outputs: list[Tensor] = []
    final = parts
    for _, final in _states(sweep, parts):
        outputs.append(final[0])
    y = torch.stack(outputs[::-1] if sweep.reverse else outputs)
    return y if sweep.valid is None else torch.where(sweep.valid, y, 0), final


def _last_output(sweep: _Sweep, parts: Parts) -> tuple[Tensor, Parts]:
    """Each sample's output for its last valid frame and the final state; stores no other output.

    The output is zeros where there is no valid frame.
    """
    ends = None if sweep.valid is None else _ends(sweep.valid).unbind(0)
    y, final = torch.zeros_like(parts[0]), parts
    for t, final in _states(sweep, parts):
        if ends is not None:
            y = torch.where(ends[t], final[0], y)
        elif t == sweep.x.shape[0] - 1:
            y = final[0]
    return y, final


def _states(sweep: _Sweep, parts: Parts) -> Iterator[tuple[int, Parts]]:
    """Yield each time step and the state after it; many frames share one input convolution."""
    dtype, x = parts[0].dtype, sweep.x
    valid = None if sweep.valid is None else sweep.valid.unbind(0)
    context = None if sweep.context is None else _frames(sweep.context, x)
    for start, chunk in _chunks(sweep, parts[0]):
        gates = [_gates(cell, p, chunk) for _, cell, p in sweep.steps]
        _check_state(sweep.cell, gates[0][0], parts)
        times = range(chunk.shape[0])
        for i in reversed(times) if sweep.reverse else times:
            t, new = start + i, parts
            for (step, cell, p), gates_x in zip(sweep.steps, gates, strict=True):
                now = None if context is None else context[t]
                new = step(ops, cell, p, gates_x[i], new, now, sweep.recurrent_mask)
                # Without a bias, autocast would let the state fall to the convolution's own
                # precision.
                new = tuple(part.to(dtype) for part in new)
            if sweep.zoneout:
                masks = sweep.zoneout_masks
                kept = [sweep.zoneout] * len(new) if masks is None else [mask[t] for mask in masks]
                new = equations.zoneout(kept, parts, new)
            if valid is not None:
                new = tuple(torch.where(valid[t], a, b) for a, b in zip(new, parts, strict=True))
            parts = new
            yield t, parts


def _check_state(cell: CellSpec, gates: Tensor, parts: Parts) -> None:
    """Raise ValueError for a state of another shape, as a hook may return and torch broadcast."""
    expected = (gates.shape[0], cell.hidden_channels, *gates.shape[2:])
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


def _chunks(sweep: _Sweep, h: Tensor) -> list[tuple[int, Tensor]]:
    """Cut the input in time: yield each piece with its first time step, in reading order."""
    x, count = sweep.x, _frames_at_once(sweep, h)
    if count >= x.shape[0]:
        return [(0, x)]
    chunks = [(count * i, chunk) for i, chunk in enumerate(x.split(count))]
    return chunks[::-1] if sweep.reverse else chunks


def _frames_at_once(sweep: _Sweep, h: Tensor) -> int:
    """How many frames to convolve in one call; large buffers cost page faults on a CPU."""
    x = sweep.x
    time = x.shape[0]
    if time == 1 or x.device.type != "cpu" or torch.compiler.is_compiling():
        return time
    frame = prod(h.shape) * sweep.cell.gates * len(sweep.steps) * x.element_size()
    return max(1, min(time, CHUNK // max(1, frame)))
