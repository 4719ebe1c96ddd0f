"""The loops over layers, directions and time, on frames (T·B, C, *S) with time outermost; alike in both modes."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore.ops import constexpr

from convgru import equations
from convgru.spec.shapes import layer_prefix, step_prefixes
from convgru_mindspore import native_ops, ops
from convgru_mindspore.convolution import pool

Tensor = Any


def prepare(spec: Any, arrays: Any, prefix: str) -> Any:
    """The parameters of each step of each layer and direction in the form that the ops take, once a call: one flat list."""
    params = []
    for index in range(len(spec.layers)):
        steps = spec.layers[index].steps
        for names in step_names(spec, index, prefix):
            for k in range(len(names)):
                params.append(ops.prepare(steps[k], arrays, names[k]))
    return params


@constexpr
def step_names(spec: Any, index: int, prefix: str) -> Any:
    """For each direction of a layer, how the names of each of its steps' parameters begin."""
    return step_prefix(spec, index, prefix)


def step_prefix(spec: Any, index: int, prefix: str) -> Any:
    """``step_names``, in Python."""
    inner = step_prefixes(spec.layers[index])
    return tuple(tuple(prefix + layer_prefix(index, d) + each for each in inner) for d in spec.directions)


def run(
    spec: Any, params: Any, x: Tensor, batch: int, state: Any, extras: Any, accurate: bool, every: bool, last: bool
) -> Any:
    """The outputs of the top layer, or with ``every`` a list of all layers', and the final state.

    ``extras`` is (seq_length, context, masks), each of which may be None. With ``last`` an output is that of each sample's last
    frame, (B, H, *S), and the others of the top layer are not kept.
    """
    if accurate:
        return _run(ops, spec, params, x, batch, state, extras, every, last)
    return _run(native_ops, spec, params, x, batch, state, extras, every, last)


def _run(
    module: Any, spec: Any, params: Any, x: Tensor, batch: int, state: Any, extras: Any, every: bool, last: bool
) -> Any:
    seq_length, context, masks = extras
    time, count, top = x.shape[0] // batch, len(spec.directions), len(spec.layers) - 1
    valid = validity(seq_length, time, len(x.shape))
    if valid is not None:
        x = mops.where(valid[0], x, mops.zeros_like(x))
    if spec.output_size is not None:
        x = pool(x, spec.output_size)
    heads, outputs, final, first = [x] * count, [], [], 0
    for index in range(len(spec.layers)):
        steps = len(spec.layers[index].steps)
        keep = index < top or not last
        pick = last and (every or index == top)
        found, picked = [], []
        for d in range(count):
            entry = index * count + d
            call = (
                valid,
                _frames(context, entry, batch, len(x.shape), valid),
                _masks_of(spec, masks, entry, batch, x.dtype),
            )
            y, parts, one = _layer(
                module,
                spec.layers[index],
                params[first : first + steps],
                heads[d],
                batch,
                state[entry],
                call,
                d == 1,
                keep,
                pick,
            )
            first = first + steps
            found.append(y)
            picked.append(one)
            final.append(parts)
        joined = spec.bidirectional == "layer" or every or index == top
        whole = _merged(module, spec, found) if keep and joined else None
        if every or index == top:
            outputs.append(_merged(module, spec, picked) if pick else whole)
        if index < top:
            heads = [whole] * count if spec.bidirectional == "layer" else found
            heads = _dropped(spec, index, heads, masks)
    return outputs if every else outputs[0], tuple(final)


def validity(seq_length: Any, time: int, axes: int) -> Any:
    """Which frames are valid: of all (T·B, 1, ...), of each step (B, 1, ...), and the lengths; None without lengths."""
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
    """The context of one layer and direction: None, one tensor for all steps, or a tuple with one for each.

    What it holds in the padding is zeroed: a NaN there would be one in every gradient, though no output reads it.
    """
    if context is None:
        return None
    own = context[entry]
    if len(own.shape) == axes:
        return own
    own = own.reshape((-1, *own.shape[2:]))
    if valid is not None:
        own = mops.where(valid[0], own, mops.zeros_like(own))
    return mops.split(own, batch, 0)


def _masks_of(spec: Any, masks: Any, entry: int, batch: int, dtype: Any) -> Any:
    """What multiplies h where it enters U, and for each part of the state what zoneout keeps: a tuple with one mask for each step.

    In evaluation zoneout keeps its mean.
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
            own = masks[mask_name("zoneout", entry, part)]
            zone.append(mops.split(own.reshape((-1, *own.shape[2:])), batch, 0))
    return recurrent, zone


def _layer(
    module: Any,
    cell: Any,
    params: Any,
    x: Tensor,
    batch: int,
    entry: Any,
    call: Any,
    reverse: bool,
    keep: bool,
    pick: bool,
) -> Any:
    """One layer in one direction: its input convolutions over all frames at once, then the loop over time.

    Outputs of all frames if ``keep``, the final state, and if ``pick`` the output of each sample's last frame.
    """
    valid, context, (recurrent, zone) = call
    steps, gates = cell.steps, []
    for k in range(len(steps)):
        gates.append(mops.split(equations.input_gates(module, steps[k], params[k], x), batch, 0))
    pair = cell.cell == "lstm"
    parts = (entry[0], entry[1]) if pair else (entry,)
    time = len(gates[0])
    outputs, last = [], None
    for index in range(time):
        t = time - 1 - index if reverse else index
        old = parts
        now = context[t] if isinstance(context, (tuple, list)) else context
        for k in range(len(steps)):
            parts = equations.step_of(steps[k])(module, steps[k], params[k], gates[k][t], parts, now, recurrent)
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
    """Going backward, each sample's last frame is the first that is valid; zeros where there is none."""
    if valid is None:
        return h if before is None else before
    return mops.where(valid[2] == t + 1, h, mops.zeros_like(h) if before is None else before)


def _merged(module: Any, spec: Any, heads: Any) -> Tensor:
    """One output for each frame."""
    if len(heads) == 1:
        return heads[0]
    return equations.merge(module, spec.merge, heads[0], heads[1])


def _dropped(spec: Any, index: int, heads: Any, masks: Any) -> Any:
    """What the next layer reads."""
    if masks is None or spec.dropout == 0:
        return heads
    if spec.bidirectional != "stack":
        y = heads[0]
        mask = masks[mask_name("dropout", index, "")]
        return [y * mask.reshape(y.shape)] * len(heads)
    found = []
    for d in range(len(heads)):
        mask = masks[mask_name("dropout", index, spec.directions[d])]
        found.append(heads[d] * mask.reshape(heads[d].shape))
    return found


@constexpr
def mask_name(kind: str, index: int, part: str) -> str:
    """The name of a mask: ``recurrent.0``, ``zoneout.0.h``, ``dropout.0``, ``dropout.0.bwd``."""
    return f"{kind}.{index}.{part}" if part else f"{kind}.{index}"
