"""The loops over layers, directions and time, on sequences (T, B, C, *S)."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore.ops import constexpr

from convgru import equations
from convgru.spec.shapes import layer_prefix, step_prefixes
from convgru_mindspore import ops
from convgru_mindspore.convolution import pool
from convgru_mindspore.direction import frame_numbers, images, run_direction, sequence

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
    spec: Any, layers: Any, params: Any, x: Tensor, state: Any, extras: Any, every: bool, last: bool, impl: str
) -> Any:
    """The top layer's outputs (T, B, H, *S), or with ``every`` all layers', and the final state.

    Through the cells of ``layers``, called for each layer and direction; or if that is None, on the
    prepared ``params``. ``extras`` is (seq_length, context, masks), each of which may be None. With
    ``last`` an output is that of each sample's last frame, (B, H, *S), and the others of the top
    layer are not kept. ``impl`` is "auto", "fast" or "readable".
    """
    seq_length, context, masks = extras
    count, top, axes = len(spec.directions), len(spec.layers) - 1, len(x.shape)
    valid = validity(seq_length, x)
    if valid is not None:
        x = mops.where(valid[0], x, mops.zeros_like(x))
    if spec.output_size is not None:
        x = sequence(pool(images(x), spec.output_size), x)
    inputs, outputs, final, first = [x] * count, [], [], 0
    for index in range(len(spec.layers)):
        steps = len(spec.layers[index].steps)
        keep = index < top or not last
        pick = last and (every or index == top)
        sequences, ends = [], []
        for d in range(count):
            entry = index * count + d
            frames = _frames(context, entry, axes, valid)
            kept = _masks_of(spec, masks, entry)
            if layers is None:
                own = params[first : first + steps]
                y, parts, end = run_direction(
                    spec.layers[index], own, inputs[d], state[entry], valid, frames, kept, d == 1, keep, pick, impl
                )
            else:
                cell = layers[index].fwd if d == 0 else layers[index].bwd
                y, parts, end = cell(inputs[d], state[entry], valid, frames, kept, d == 1, keep, pick, impl)
            first = first + steps
            sequences.append(y)
            ends.append(end)
            final.append(parts)
        joined = spec.bidirectional == "layer" or every or index == top
        whole = _merged(spec, sequences, True) if keep and joined else None
        if every or index == top:
            outputs.append(_merged(spec, ends, False) if pick else whole)
        if index < top:
            inputs = [whole] * count if spec.bidirectional == "layer" else sequences
            inputs = _dropped(spec, index, inputs, masks)
    return outputs if every else outputs[0], tuple(final)


def validity(seq_length: Any, x: Tensor) -> Any:
    """Which frames of (T, B, ...) are valid: (T, B, 1, ...), and the lengths (B, 1, ...).

    None without lengths.
    """
    if seq_length is None:
        return None
    lengths = seq_length.astype(ms.int32).reshape((-1,) + (1,) * (len(x.shape) - 2))
    numbers = frame_numbers(x).reshape((-1,) + (1,) * (len(x.shape) - 1))
    return mops.expand_dims(lengths, 0) > numbers, lengths


def _frames(context: Any, entry: int, axes: int, valid: Any) -> Any:
    """Context of one layer and direction: None, (B, ...) for all steps, or (T, B, ...).

    In the padding it is zeroed: a NaN there would reach every gradient, though no output reads it.
    """
    if context is None:
        return None
    frames = context[entry]
    if len(frames.shape) == axes and valid is not None:
        frames = mops.where(valid[0], frames, mops.zeros_like(frames))
    return frames


def _masks_of(spec: Any, masks: Any, entry: int) -> Any:
    """Recurrent-dropout mask and zoneout masks of one layer and direction.

    Zoneout has for each part of the state masks (T, B, ...); in evaluation their mean, a number.
    """
    recurrent: Any = None
    zone: Any = None
    if masks is None:
        if spec.zoneout > 0:
            zone = spec.zoneout
        return recurrent, zone
    if spec.recurrent_dropout > 0:
        recurrent = masks[mask_name("recurrent", entry, "")]
    if spec.zoneout > 0:
        zone = []
        for part in spec.layers[0].state_names:
            zone.append(masks[mask_name("zoneout", entry, part)])
        zone = tuple(zone)
    return recurrent, zone


def _merged(spec: Any, directions: Any, sequences: bool) -> Tensor:
    """The outputs of one or both directions as one output."""
    if len(directions) == 1:
        return directions[0]
    if not sequences:
        return equations.merge(ops, spec.merge, directions[0], directions[1])
    y = equations.merge(ops, spec.merge, images(directions[0]), images(directions[1]))
    return sequence(y, directions[0])


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
