"""The loops over layers, directions and time, on frames (T·B, C, *S), time outermost."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore.ops import constexpr

from convgru import equations
from convgru.spec.shapes import layer_prefix, step_prefixes
from convgru_mindspore import ops
from convgru_mindspore.convolution import pool

Tensor = Any


def prepare(spec: Any, arrays: Any, prefix: str, compute_dtype: Any) -> Any:
    """The parameters of each step of each layer and direction as the ops read them: a flat list."""
    params = []
    for index in range(len(spec.layers)):
        steps = spec.layers[index].steps
        for names in step_names(spec, index, prefix):
            for k in range(len(names)):
                params.append(ops.prepare(steps[k], arrays, names[k], compute_dtype))
    return params


@constexpr
def step_names(spec: Any, index: int, prefix: str) -> Any:
    """For each direction of a layer, the prefix of each of its steps' parameter names."""
    steps = step_prefixes(spec.layers[index])
    return tuple(tuple(prefix + layer_prefix(index, d) + each for each in steps) for d in spec.directions)


def run(
    spec: Any,
    layers: Any,
    params: Any,
    x: Tensor,
    batch: int,
    state: Any,
    extras: Any,
    every: bool,
    last: bool,
) -> Any:
    """The top layer's outputs, or with ``every`` a list of all layers', and the final state.

    Through the cells of ``layers``, called for each layer and direction; or if that is None, on the
    prepared ``params``. ``extras`` is (seq_length, context, masks), each of which may be None. With
    ``last`` an output is that of each sample's last frame, (B, H, *S), and the others of the top
    layer are not kept.
    """
    seq_length, context, masks = extras
    time, count, top = x.shape[0] // batch, len(spec.directions), len(spec.layers) - 1
    valid = validity(seq_length, time, len(x.shape))
    if valid is not None:
        x = mops.where(valid[0], x, mops.zeros_like(x))
    if spec.output_size is not None:
        x = pool(x, spec.output_size)
    inputs, outputs, final, first = [x] * count, [], [], 0
    for index in range(len(spec.layers)):
        steps = len(spec.layers[index].steps)
        keep = index < top or not last
        pick = last and (every or index == top)
        sequences, ends = [], []
        for d in range(count):
            entry = index * count + d
            frames = _frames(context, entry, batch, len(x.shape), valid)
            kept = _masks_of(spec, masks, entry, batch, x.dtype)
            if layers is None:
                layer_params = params[first : first + steps]
                y, parts, end = run_direction(
                    spec.layers[index],
                    layer_params,
                    inputs[d],
                    batch,
                    state[entry],
                    valid,
                    frames,
                    kept,
                    d == 1,
                    keep,
                    pick,
                )
            else:
                cell = layers[index].fwd if d == 0 else layers[index].bwd
                sequence = inputs[d].reshape((time, batch, *inputs[d].shape[1:]))
                y, parts, end = cell(sequence, state[entry], valid, frames, kept, d == 1, keep, pick)
                if keep:
                    y = y.reshape((time * batch, *y.shape[2:]))
            first = first + steps
            sequences.append(y)
            ends.append(end)
            final.append(parts)
        joined = spec.bidirectional == "layer" or every or index == top
        whole = _merged(spec, sequences) if keep and joined else None
        if every or index == top:
            outputs.append(_merged(spec, ends) if pick else whole)
        if index < top:
            inputs = [whole] * count if spec.bidirectional == "layer" else sequences
            inputs = _dropped(spec, index, inputs, masks)
    return outputs if every else outputs[0], tuple(final)


def validity(seq_length: Any, time: int, axes: int) -> Any:
    """Masks of the valid frames: of all (T·B, 1, ...), of each step (B, 1, ...), and the lengths.

    None without lengths.
    """
    if seq_length is None:
        return None
    column = (-1,) + (1,) * (axes - 1)
    lengths = seq_length.astype(ms.int32)
    each = []
    for t in range(time):
        each.append((lengths > t).reshape(column))
    whole = mops.expand_dims(lengths, 0) > ms.Tensor(tuple(range(time)), ms.int32).reshape((-1, 1))
    return whole.reshape(column), each, lengths.reshape(column)


def _frames(context: Any, entry: int, batch: int, axes: int, valid: Any) -> Any:
    """Context of one layer and direction: None, one tensor for all steps, or one for each.

    In the padding it is zeroed: a NaN there would reach every gradient, though no output reads it.
    """
    if context is None:
        return None
    frames = context[entry]
    if len(frames.shape) == axes:
        return frames
    frames = frames.reshape((-1, *frames.shape[2:]))
    if valid is not None:
        frames = mops.where(valid[0], frames, mops.zeros_like(frames))
    return mops.split(frames, batch, 0)


def _masks_of(spec: Any, masks: Any, entry: int, batch: int, dtype: Any) -> Any:
    """Recurrent-dropout mask and zoneout masks of one layer and direction.

    Zoneout has for each part of the state one mask a step; in evaluation its mean.
    """
    recurrent: Any = None
    zone: Any = None
    if masks is None:
        if spec.zoneout > 0:
            zone = (ops.constant(spec.zoneout, dtype),)
        return recurrent, zone
    if spec.recurrent_dropout > 0:
        recurrent = masks[mask_name("recurrent", entry, "")]
    if spec.zoneout > 0:
        zone = []
        for part in spec.layers[0].state_names:
            mask = masks[mask_name("zoneout", entry, part)]
            zone.append(mops.split(mask.reshape((-1, *mask.shape[2:])), batch, 0))
    return recurrent, zone


def run_direction(
    cell: Any,
    params: Any,
    x: Tensor,
    batch: int,
    entry: Any,
    valid: Any,
    context: Any,
    kept: Any,
    reverse: bool,
    keep: bool,
    pick: bool,
) -> Any:
    """One layer in one direction: the input convolutions of all frames at once, then the loop.

    Outputs of all frames if ``keep``, the final state, and if ``pick`` the output of each sample's
    last frame.
    """
    recurrent, zone = kept
    steps, gates = cell.steps, []
    for k in range(len(steps)):
        gates.append(mops.split(equations.input_gates(ops, steps[k], params[k], x), batch, 0))
    pair = cell.cell == "lstm"
    parts = (entry[0], entry[1]) if pair else (entry,)
    time = len(gates[0])
    outputs, last = [], None
    for index in range(time):
        t = time - 1 - index if reverse else index
        old = parts
        now = context[t] if isinstance(context, (tuple, list)) else context
        for k in range(len(steps)):
            parts = equations.step_of(steps[k])(ops, steps[k], params[k], gates[k][t], parts, now, recurrent)
        if zone is not None:
            parts = _zoned(zone, t, old, parts)
        if valid is not None:
            parts = _held(valid[1][t], old, parts)
        if keep:
            outputs.append(parts[0])
        if pick and reverse:
            last = _first(valid, t, parts[0], last)
    if pick and not reverse:
        last = parts[0] if valid is None else mops.where(valid[2] > 0, parts[0], mops.zeros_like(parts[0]))
    y = None
    if keep:
        y = mops.concat(outputs[::-1] if reverse else outputs, 0)
        if valid is not None:
            y = mops.where(valid[0], y, mops.zeros_like(y))
    return y, (parts if pair else parts[0]), last


def _zoned(zone: Any, t: int, old: Any, new: Any) -> Any:
    """Zoneout of each part of the state."""
    parts = []
    for i in range(len(new)):
        mask = zone[i][t] if isinstance(zone, list) else zone[0]
        parts.append(equations.kept(mask, old[i], new[i]))
    return tuple(parts)


def _held(valid: Tensor, old: Any, new: Any) -> Any:
    """The new state where the frame is valid, else the old one."""
    parts = []
    for i in range(len(new)):
        parts.append(mops.where(valid, new[i], old[i]))
    return tuple(parts)


def _first(valid: Any, t: int, h: Tensor, before: Any) -> Any:
    """Backward pass, last_only: keep the first valid output met.

    Zeros for a sample without valid frames.
    """
    if valid is None:
        return h if before is None else before
    return mops.where(valid[2] == t + 1, h, mops.zeros_like(h) if before is None else before)


def _merged(spec: Any, directions: Any) -> Tensor:
    """The outputs of one or both directions as one output."""
    if len(directions) == 1:
        return directions[0]
    return equations.merge(ops, spec.merge, directions[0], directions[1])


def _dropped(spec: Any, index: int, inputs: Any, masks: Any) -> Any:
    """The inputs of the next layer after dropout."""
    if masks is None or spec.dropout == 0:
        return inputs
    if spec.bidirectional != "stack":
        y = inputs[0]
        mask = masks[mask_name("dropout", index, "")]
        return [y * mask.reshape(y.shape)] * len(inputs)
    dropped = []
    for d in range(len(inputs)):
        mask = masks[mask_name("dropout", index, spec.directions[d])]
        dropped.append(inputs[d] * mask.reshape(inputs[d].shape))
    return dropped


@constexpr
def mask_name(kind: str, index: int, part: str) -> str:
    """The name of a mask: ``recurrent.0``, ``zoneout.0.h``, ``dropout.0``, ``dropout.0.bwd``."""
    return f"{kind}.{index}.{part}" if part else f"{kind}.{index}"
