"""Loops over time, layers and directions: pure functions of prepared parameters, run under jit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax import lax
from jax import numpy as jnp

from convgru import equations
from convgru.spec import CellSpec, NetworkSpec
from convgru.spec.shapes import cell_parameter_shapes, dropout_mask, layer_prefix, step_prefixes
from convgru_jax import ops

Arrays = Mapping[str, jax.Array]
"""Parameters by canonical name."""
Parts = tuple[jax.Array, ...]
State = tuple[Any, ...]
"""One entry for each layer and direction, forward first: h (B, *S, H), or (h, c) of an LSTM."""
Prepared = list[list[ops.Params]]
"""For each layer and direction, as in a state, the parameters of each of its ``steps``."""


class Extras(NamedTuple):
    """The optional arguments of a call, time first, channels last; see ``convgru.calls.Extras``."""

    lengths: jax.Array | None = None
    context: tuple[jax.Array, ...] | None = None
    masks: dict[str, jax.Array] | None = None


class Frame(NamedTuple):
    """What one step of one layer reads: its convolved input, and the optional arguments' frame.

    ``gates`` has one array for each of the cell's steps.
    """

    gates: tuple[jax.Array, ...]
    context: jax.Array | None = None
    zone: Parts | None = None
    valid: jax.Array | None = None
    first: jax.Array | None = None


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
) -> tuple[list[jax.Array], State]:
    """The outputs (T, B, *S, H) of the top layer, or of all, and the final state.

    With ``last_only`` the outputs are those of the last valid frame, (B, *S, H), and the top layer
    keeps no others.
    """
    valid = None
    if extras.lengths is not None:
        valid = _column(jnp.arange(x.shape[0])[:, None] < extras.lengths, x)
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
            scan = _Scan(spec, cell, params[i], i, extras, valid, reverse=direction == "bwd")
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


class _Scan:
    """One layer in one direction, run over all frames."""

    def __init__(
        self,
        spec: NetworkSpec,
        cell: CellSpec,
        params: list[ops.Params],
        entry: int,
        extras: Extras,
        valid: jax.Array | None,
        *,
        reverse: bool,
    ) -> None:
        self.spec, self.cell, self.params, self.reverse = spec, cell, params, reverse
        self.lengths, self.valid = extras.lengths, valid
        context = None if extras.context is None else extras.context[entry]
        timed = context is not None and context.ndim > cell.ndim + 2
        self.fixed = None if timed else context
        self.timed = context if timed else None
        masks = extras.masks or {}
        self.recurrent = masks.get(f"recurrent.{entry}")
        self.zone = zone_of(cell, entry, masks)

    def __call__(self, x: jax.Array, state: Parts, *, keep: bool) -> tuple[jax.Array, Parts]:
        """Return the outputs and the final state.

        The outputs are those of all frames if ``keep``, else only each sample's last valid one.
        """
        gates = tuple(_over_time(step, p, x) for step, p in zip(self.cell.steps, self.params, strict=True))
        frames = Frame(gates, self.timed, self.zone, self.valid)
        if keep:
            final, y = lax.scan(self.keeping, state, frames, reverse=self.reverse)
            return y, final
        if not self.reverse:
            final, _ = lax.scan(lambda old, frame: (self.step(old, frame), None), state, frames)
            return _blank(final[0], self.lengths), final
        # Going backward, the last frame of a sample is the first that is valid.
        t = jnp.arange(x.shape[0])[:, None]
        first = t == (x.shape[0] if self.lengths is None else self.lengths) - 1
        held = (state, jnp.zeros_like(state[0]))
        frames = frames._replace(first=_column(first, x))
        (final, y), _ = lax.scan(self.holding, held, frames, reverse=True)
        return y, final

    def keeping(self, old: Parts, frame: Frame) -> tuple[Parts, jax.Array]:
        """Scan body that outputs every frame, zeros where it is not valid."""
        new = self.step(old, frame)
        return new, new[0] if frame.valid is None else jnp.where(frame.valid, new[0], 0)

    def holding(self, carry: tuple[Parts, jax.Array], frame: Frame) -> tuple[tuple[Parts, jax.Array], None]:
        """Scan body that carries each sample's last valid frame only."""
        new = self.step(carry[0], frame)
        assert frame.first is not None
        return (new, jnp.where(frame.first, new[0], carry[1])), None

    def step(self, old: Parts, frame: Frame) -> Parts:
        """Return the state after a frame: the old state where the frame is not valid."""
        context = self.fixed if frame.context is None else frame.context
        new = advance(self.spec, self.cell, self.params, frame._replace(context=context), old, self.recurrent)
        if frame.valid is None:
            return new
        return tuple(jnp.where(frame.valid, a, b) for a, b in zip(new, old, strict=True))


def advance(
    spec: NetworkSpec, cell: CellSpec, params: list[ops.Params], frame: Frame, old: Parts, recurrent: jax.Array | None
) -> Parts:
    """One step of one layer: each of the cell's steps in a row on the state, then zoneout."""
    new = old
    for step, p, gates in zip(cell.steps, params, frame.gates, strict=True):
        new = equations.step_of(step)(ops, step, p, gates, new, frame.context, recurrent)
    if frame.zone is not None:
        return equations.zoneout(frame.zone, old, new)
    if spec.zoneout:  # in evaluation each unit keeps its mean
        return equations.zoneout((spec.zoneout,) * len(new), old, new)
    return new


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
        if i > 0 or gates is None:
            assert x is not None
            x = ops.pool(x, spec.output_size) if i == 0 and spec.output_size is not None else x
            gates = input_gates(cell, p, x)
        frame = Frame(gates, None if context is None else context[i], zone_of(cell, i, masks))
        parts = advance(spec, cell, p, frame, _parts(state[i]), masks.get(f"recurrent.{i}"))
        entries.append(entry_of(parts))
        x = _dropped(spec, i, "fwd", parts[0], masks)
    assert x is not None
    return x, tuple(entries)


def input_gates(cell: CellSpec, params: list[ops.Params], x: jax.Array) -> tuple[jax.Array, ...]:
    """W*x + b of images (B, *S, C) for each of the cell's steps."""
    return tuple(equations.input_gates(ops, step, p, x) for step, p in zip(cell.steps, params, strict=True))


def _over_time(cell: CellSpec, p: ops.Params, x: jax.Array) -> jax.Array:
    """W*x + b of all frames (T, B, *S, C) at once.

    The batch goes first: with it sharded over devices, merging (T, B) would make XLA gather
    everything everywhere.
    """
    turned = jnp.swapaxes(x, 0, 1)
    gates = equations.input_gates(ops, cell, p, turned.reshape(-1, *turned.shape[2:]))
    return jnp.swapaxes(gates.reshape(*turned.shape[:2], *gates.shape[1:]), 0, 1)


def zone_of(cell: CellSpec, entry: int, masks: Mapping[str, jax.Array]) -> Parts | None:
    """The masks of zoneout for each part of a state, if there are any."""
    if f"zoneout.{entry}.h" not in masks:
        return None
    return tuple(masks[f"zoneout.{entry}.{name}"] for name in cell.state_names)


def last_frame(y: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """Each sample's last valid frame of y (T, B, …); zeros where there is none."""
    if lengths is None:
        return y[-1]
    index = _column(jnp.maximum(lengths - 1, 0)[None], y)
    return _blank(jnp.take_along_axis(y, index, 0)[0], lengths)


def _blank(h: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """Zero h (B, …) where a sample has no frames."""
    return h if lengths is None else jnp.where(_column(lengths[None] > 0, h[None])[0], h, 0)


def _column(a: jax.Array, x: jax.Array) -> jax.Array:
    """Give a (T, B) as many axes as x (T, B, …)."""
    return a.reshape(*a.shape, *(1,) * (x.ndim - 2))


def _parts(entry: Any) -> Parts:
    return entry if isinstance(entry, tuple) else (entry,)


def entry_of(parts: Parts) -> Any:
    """One entry of a state: h, or (h, c)."""
    return parts[0] if len(parts) == 1 else parts
