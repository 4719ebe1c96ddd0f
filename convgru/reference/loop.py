"""The reference's loops over time, layers and directions: channels last, further axes leading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convgru import equations
from convgru.reference import ops
from convgru.spec import CellSpec, ForecasterSpec, NetworkSpec
from convgru.spec.shapes import dropout_mask, layer_prefix, step_prefixes

Arrays = Mapping[str, np.ndarray]
Frames = list[np.ndarray]
Parts = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Call:
    """Optional arguments of a call, channels last.

    Attributes:
        lengths: (B,), valid frames of each sample.
        context: for each layer and direction the arrays (B, *S, G·H) of all frames.
        masks: by the names of ``convgru.spec.shapes.mask_shapes``.
        ops: the operations: ``convgru.reference.ops``, or a taped, disturbed or faster form.
        on_state: a function applied to every new state.
    """

    lengths: np.ndarray | None = None
    context: Sequence[Frames] | None = None
    masks: Mapping[str, np.ndarray] | None = None
    ops: Any = ops
    on_state: Callable[[Any], Any] | None = None


def run(
    spec: NetworkSpec, arrays: Arrays, prefix: str, frames: Frames, state: list[Parts], call: Call
) -> tuple[list[Frames], list[Parts]]:
    """Output frames of every layer, and the final state of each layer and direction."""
    if spec.output_size is not None:
        frames = [call.ops.pool(frame, spec.output_size) for frame in frames]
    valid = None
    if call.lengths is not None:
        ones = (1,) * (spec.ndim + 1)
        valid = [(call.lengths > t).reshape(-1, *ones) for t in range(len(frames))]
        frames = [np.where(v, frame, 0) for v, frame in zip(valid, frames, strict=True)]
    inputs = dict.fromkeys(spec.directions, frames)
    layers: list[Frames] = []
    final: list[Parts] = []
    for index, cell in enumerate(spec.layers):
        for d, direction in enumerate(spec.directions):
            entry = index * len(spec.directions) + d
            layer = _Layer(spec, cell, arrays, prefix + layer_prefix(index, direction), entry, call)
            inputs[direction], parts = layer(inputs[direction], state[entry], valid, direction == "bwd")
            final.append(parts)
        layers.append(_merged(spec, inputs, call.ops, valid))
        if spec.bidirectional == "layer":
            inputs = dict.fromkeys(spec.directions, layers[-1])
        inputs = {d: _dropped(spec, index, d, frames, call) for d, frames in inputs.items()}
    return layers, final


def _merged(spec: NetworkSpec, outputs: Mapping[str, Frames], ops: Any, valid: Any) -> Frames:
    """One output for each frame: output[t] belongs to frame t in both directions."""
    if spec.bidirectional is None:
        return outputs["fwd"]
    return [equations.merge(ops, spec.merge, a, b) for a, b in zip(outputs["fwd"], outputs["bwd"], strict=True)]


def _dropped(spec: NetworkSpec, index: int, direction: str, frames: Frames, call: Call) -> Frames:
    name = dropout_mask(spec, index, direction)
    mask = (call.masks or {}).get(name)
    return frames if mask is None else [frame * m for frame, m in zip(frames, mask, strict=True)]


class _Layer:
    """One layer in one direction."""

    def __init__(self, spec: NetworkSpec, cell: CellSpec, arrays: Arrays, prefix: str, entry: int, call: Call) -> None:
        self.steps = cell.steps
        self.params = [
            call.ops.prepare(step, _layer_arrays(arrays, prefix + inner))
            for step, inner in zip(cell.steps, step_prefixes(cell), strict=True)
        ]
        self.call = call
        masks = call.masks or {}
        self.context = None if call.context is None else call.context[entry]
        self.recurrent = masks.get(f"recurrent.{entry}")
        self.zone: Callable[[int], Parts | list[float]] | None = None
        if f"zoneout.{entry}.h" in masks:
            zone_masks = [masks[f"zoneout.{entry}.{name}"] for name in cell.state_names]
            self.zone = lambda t: tuple(mask[t] for mask in zone_masks)
        elif spec.zoneout:  # in evaluation each unit keeps its mean
            self.zone = lambda t: [spec.zoneout] * len(cell.state_names)

    def __call__(self, frames: Frames, parts: Parts, valid: Any, reverse: bool) -> tuple[Frames, Parts]:
        outputs: Frames = [frames[0]] * len(frames)
        for t in reversed(range(len(frames))) if reverse else range(len(frames)):
            new = self.step(frames[t], parts, t)
            if valid is not None:
                new = tuple(np.where(valid[t], a, b) for a, b in zip(new, parts, strict=True))
            parts = new
            outputs[t] = new[0] if valid is None else np.where(valid[t], new[0], 0)
        return outputs, parts

    def step(self, x: np.ndarray, old: Parts, t: int) -> Parts:
        ops, new = self.call.ops, old
        context = None if self.context is None else self.context[t]
        for spec, p in zip(self.steps, self.params, strict=True):
            gates_x = equations.input_gates(ops, spec, p, x)
            new = equations.step_of(spec)(ops, spec, p, gates_x, new, context, self.recurrent)
        if self.zone is not None:
            new = equations.zoneout(self.zone(t), old, new)
        return new if self.call.on_state is None else tuple(map(self.call.on_state, new))


def _layer_arrays(arrays: Arrays, prefix: str) -> Arrays:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def forecast(
    spec: ForecasterSpec,
    arrays: Arrays,
    frames: Frames,
    steps: int,
    state: list[Parts],
    call: Call,
    targets: Frames | None = None,
    forced: Sequence[np.ndarray] | None = None,
    resume: bool = False,
) -> tuple[Frames, list[Parts]]:
    """The ``steps`` frames that follow, and the state of the network that made the last of them."""
    tops: Frames = []  # the encoder's last hidden state, if the encoder itself goes on to predict
    if not resume:
        read = [call.ops.patch(frame, spec.patch) for frame in frames]
        layers, state = run(spec.encoder, arrays, "encoder.", read, state, call)
        tops = layers[-1][-1:] if spec.decoder is None else []
    network, prefix = (spec.encoder, "encoder.") if spec.decoder is None else (spec.decoder, "decoder.")
    readout = call.ops.prepare_readout(spec, arrays)
    frame = frames[-1]
    predictions: Frames = []
    for k in range(steps):
        if k < len(tops):
            top = tops[k]
        else:
            inside = call.ops.patch(frame, spec.patch)
            inside = inside if spec.feedback else np.zeros_like(inside)
            layers, state = run(network, arrays, prefix, [inside], state, call)
            top = layers[-1][-1]
        frame = equations.readout(call.ops, spec, readout, top, frame)
        predictions.append(frame)
        if targets is not None and forced is not None and k + 1 < steps:
            frame = np.where(forced[k], targets[k], frame)
    return predictions, state
