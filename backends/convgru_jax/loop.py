"""Loops over time, layers and directions: pure functions of prepared parameters, run under jit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jax import numpy as jnp

from convgru import equations
from convgru.spec import CellSpec, NetworkSpec
from convgru.spec.shapes import cell_parameter_shapes, dropout_mask, layer_prefix, step_prefixes
from convgru_jax import ops, parts
from convgru_jax.layer_loop import (
    Extras,
    Frame,
    LayerScan,
    Parts,
    advance,
    blank,
    column,
    zone_of,
)

Arrays = Mapping[str, jax.Array]
"""Parameters by canonical name."""
State = tuple[Any, ...]
"""One entry for each layer and direction, forward first: h (B, *S, H), or (h, c) of an LSTM."""
Prepared = list[list[ops.Params]]
"""For each layer and direction, as in a state, the parameters of each of its ``steps``."""


def prepare(spec: NetworkSpec, arrays: Mapping[str, jax.Array], method: str, prefix: str = "") -> Prepared:
    """Prepare the parameters of all layers and directions, whose names begin with ``prefix``."""
    return [
        prepare_cell(cell, arrays, method, prefix + layer_prefix(index, direction))
        for index, cell in enumerate(spec.layers)
        for direction in spec.directions
    ]


def prepare_cell(cell: CellSpec, arrays: Mapping[str, jax.Array], method: str, prefix: str = "") -> list[ops.Params]:
    """The parameters of each of a cell's steps."""
    layer = {name: arrays[prefix + name] for name in cell_parameter_shapes(cell)}
    return [
        ops.prepare(step, {name[len(inner) :]: a for name, a in layer.items() if name.startswith(inner)}, method)
        for inner, step in zip(step_prefixes(cell), cell.steps, strict=True)
    ]


def run(
    spec: NetworkSpec,
    params: Prepared,
    x: jax.Array,
    state: State,
    extras: Extras,
    *,
    return_all_layers: bool = False,
    last_only: bool = False,
    checkpoint_frames: int | None = None,
) -> tuple[list[jax.Array], State]:
    """The outputs (T, B, *S, H) of the top layer, or of all, and the final state.

    With ``last_only`` the outputs are those of the last valid frame, (B, *S, H), and the top layer
    keeps no others. ``checkpoint_frames`` makes parts of so many frames, each through all layers,
    or in two directions layer by layer.
    """
    if checkpoint_frames is not None and spec.bidirectional is None:
        return _in_parts(spec, params, x, state, extras, checkpoint_frames, return_all_layers, last_only)
    valid = None
    if extras.lengths is not None:
        valid = column(jnp.arange(x.shape[0], dtype=jnp.int32)[:, None] < extras.lengths, x)
        x = jnp.where(valid, x, 0)
        extras = extras._replace(context=_valid_context(extras.context, valid))
    if spec.output_size is not None:
        x = ops.pool(x, spec.output_size)
    sequences = dict.fromkeys(spec.directions, x)
    outputs: list[jax.Array] = []
    final: list[Any] = []
    for index, cell in enumerate(spec.layers):
        top = index == len(spec.layers) - 1
        for d, direction in enumerate(spec.directions):
            i = index * len(spec.directions) + d
            scan = LayerScan(spec, cell, params[i], i, extras, valid, checkpoint_frames, reverse=direction == "bwd")
            sequences[direction], parts = scan(sequences[direction], _parts(state[i]), keep=not (top and last_only))
            final.append(entry_of(parts))
        if return_all_layers or top or spec.bidirectional == "layer":
            whole = _merged(spec, sequences)
            outputs.append(last_frame(whole, extras.lengths) if last_only and not top else whole)
            if spec.bidirectional == "layer":
                sequences = dict.fromkeys(spec.directions, whole)
        if not top:
            sequences = {d: _dropped(spec, index, d, a, extras.masks) for d, a in sequences.items()}
    return (outputs if return_all_layers else outputs[-1:]), tuple(final)


def _in_parts(
    spec: NetworkSpec,
    params: Prepared,
    x: jax.Array,
    state: State,
    extras: Extras,
    frames: int,
    every: bool,
    last_only: bool,
) -> tuple[list[jax.Array], State]:
    """``run`` of a network in one direction, in checkpointed parts of so many frames."""
    timed = {str(i): a for i, a in enumerate(extras.context or ()) if a.ndim == x.ndim}
    contexts = extras.context and tuple(a if a.ndim == x.ndim else ops.wide(a) for a in extras.context)
    timed |= {name: a for name, a in (extras.masks or {}).items() if not name.startswith("recurrent")}

    def part(state: State, now: Any) -> tuple[State, Any]:
        x, index, timed = now
        lengths = None if extras.lengths is None else extras.lengths - index[0]
        context = contexts and tuple(timed.get(str(i), a) for i, a in enumerate(contexts))
        masks = extras.masks and {name: timed.get(name, a) for name, a in extras.masks.items()}
        cut = Extras(lengths, context, masks)
        outputs, state = run(spec, params, x, state, cut, return_all_layers=every, last_only=last_only)
        return state, None if last_only else tuple(outputs)

    final, outputs = parts.run(part, frames, state, (x, jnp.arange(x.shape[0], dtype=jnp.int32), timed))
    if last_only:  # what each layer put out last
        layers = final if every else final[-1:]
        return [blank(_parts(entry)[0], extras.lengths) for entry in layers], final
    return list(outputs), final


def _valid_context(context: tuple[jax.Array, ...] | None, valid: jax.Array) -> tuple[jax.Array, ...] | None:
    """Zero the padded frames of a context that has time.

    A NaN there would reach every gradient, though no output reads it.
    """
    return context and tuple(jnp.where(valid, a, 0) if a.ndim == valid.ndim else a for a in context)


def _merged(spec: NetworkSpec, sequences: Mapping[str, jax.Array]) -> jax.Array:
    """Merge the directions into one output; output[t] belongs to frame t in both."""
    if spec.bidirectional is None:
        return sequences["fwd"]
    merged: jax.Array = equations.merge(ops, spec.merge, sequences["fwd"], sequences["bwd"])
    return merged


def _dropped(
    spec: NetworkSpec, index: int, direction: str, x: jax.Array, masks: Mapping[str, jax.Array] | None
) -> jax.Array:
    mask = (masks or {}).get(dropout_mask(spec, index, direction))
    return x if mask is None else x * mask


def one_frame(
    spec: NetworkSpec,
    params: Prepared,
    x: jax.Array | None,
    state: State,
    context: tuple[jax.Array, ...] | None = None,
    masks: Mapping[str, jax.Array] | None = None,
    gates: tuple[jax.Array, ...] | None = None,
) -> tuple[jax.Array, State]:
    """Run one frame (B, *S, C) through all layers of a network without a backward direction.

    Masks come without their time axis. ``gates``, if given, are the first layer's convolved input,
    and x is not read.
    """
    masks = masks or {}
    entries: list[Any] = []
    for i, (cell, p) in enumerate(zip(spec.layers, params, strict=True)):
        if i == 0 and x is not None and spec.output_size is not None:
            x = ops.pool(x, spec.output_size)
        frame = Frame(x, gates if i == 0 else None, None if context is None else context[i], zone_of(cell, i, masks))
        parts = advance(spec, cell, p, frame, _parts(state[i]), masks.get(f"recurrent.{i}"))
        entries.append(entry_of(parts))
        x = _dropped(spec, i, "fwd", parts[0], masks)
    assert x is not None
    return x, tuple(entries)


def last_frame(y: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """Each sample's last valid frame of y (T, B, …); zeros where there is none."""
    if lengths is None:
        return y[-1]
    index = column(jnp.maximum(lengths - 1, 0)[None], y)
    return blank(jnp.take_along_axis(y, index, 0)[0], lengths)


def _parts(entry: Any) -> Parts:
    return entry if isinstance(entry, tuple) else (entry,)


def entry_of(parts: Parts) -> Any:
    """One entry of a state: h, or (h, c)."""
    return parts[0] if len(parts) == 1 else parts
