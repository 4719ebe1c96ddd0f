"""The loop of one layer in one direction over time, and one step of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax import lax
from jax import numpy as jnp

from convgru import equations
from convgru.spec import CellSpec, NetworkSpec
from convgru_jax import ops, parts

Parts = tuple[jax.Array, ...]
"""One entry of a state: (h,), or (h, c) of an LSTM."""
Step = Callable[..., Any]
"""The body of a scan."""
KEPT = ("convgru_correlate", "conv_general_dilated", "dot_general", "tanh", "logistic")
"""The primitives whose results a step may keep for its derivative."""


class Extras(NamedTuple):
    """The optional arguments of a call, time first, channels last; see ``convgru.calls.Extras``."""

    lengths: jax.Array | None = None
    context: tuple[jax.Array, ...] | None = None
    masks: dict[str, jax.Array] | None = None


class Frame(NamedTuple):
    """What one step of one layer reads: its input, and the optional arguments' frame.

    The input is x, or already convolved: ``gates`` has one array for each of the cell's steps.
    """

    x: jax.Array | None
    gates: tuple[jax.Array, ...] | None
    context: jax.Array | None = None
    zone: Parts | None = None
    valid: jax.Array | None = None
    first: jax.Array | None = None


class LayerScan:
    """One layer in one direction, run over all frames."""

    def __init__(
        self,
        spec: NetworkSpec,
        cell: CellSpec,
        params: list[ops.Params],
        entry: int,
        extras: Extras,
        valid: jax.Array | None,
        checkpoint_frames: int | None,
        *,
        reverse: bool,
    ) -> None:
        self.checkpoint_frames = checkpoint_frames
        self.spec, self.cell, self.params, self.reverse = spec, cell, params, reverse
        self.lengths, self.valid = extras.lengths, valid
        context = None if extras.context is None else extras.context[entry]
        timed = context is not None and context.ndim > cell.ndim + 2
        self.fixed = None if timed or context is None else ops.wide(context)
        self.timed = context if timed else None
        masks = extras.masks or {}
        self.recurrent = masks.get(f"recurrent.{entry}")
        self.zone = zone_of(cell, entry, masks)

    def __call__(self, x: jax.Array, state: Parts, *, keep: bool) -> tuple[jax.Array, Parts]:
        """Return the outputs and the final state.

        The outputs are those of all frames if ``keep``, else only each sample's last valid one.
        """
        frames = Frame(x, None, self.timed, self.zone, self.valid)
        if keep:
            final, y = self.over(self.keeping, state, frames)
            return y, final
        if not self.reverse:
            final, _ = self.over(lambda old, frame: (self.step(old, frame), None), state, frames)
            return blank(final[0], self.lengths), final
        # Going backward, the last frame of a sample is the first that is valid.
        t = jnp.arange(x.shape[0], dtype=jnp.int32)[:, None]
        first = t == (x.shape[0] if self.lengths is None else self.lengths) - 1
        held = (state, jnp.zeros_like(state[0]))
        frames = frames._replace(first=column(first, x))
        (final, y), _ = self.over(self.holding, held, frames)
        return y, final

    def over(self, step: Step, carry: Any, frames: Frame) -> tuple[Any, Any]:
        """Scan over all frames, in checkpointed parts if there are to be any."""

        def part(carry: Any, frames: Frame) -> tuple[Any, Any]:
            if frames.x is not None and ops.hoists_input(self.params[0]):
                pairs = zip(self.cell.steps, self.params, strict=True)
                gates = tuple(_over_time(cell, p, frames.x) for cell, p in pairs)
                frames = frames._replace(x=None, gates=gates)
            return lax.scan(lean(step), carry, frames, reverse=self.reverse)

        return parts.run(part, self.checkpoint_frames, carry, frames, reverse=self.reverse)

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
        context = frame.context if self.fixed is None else self.fixed.astype(old[0].dtype)
        new = advance(self.spec, self.cell, self.params, frame._replace(context=context), old, self.recurrent)
        if frame.valid is None:
            return new
        return tuple(jnp.where(frame.valid, a, b) for a, b in zip(new, old, strict=True))


def lean(step: Step) -> Step:
    """Make the step of a scan that keeps little for its derivative, and recomputes the rest.

    Kept is what is dear: results of convolutions and of tanh and sigmoid, and these only where the
    derivative reads them. JAX by itself keeps every factor of every product, twice as much, and to
    write and read that takes longer than to compute it again.
    """
    return jax.checkpoint(step, policy=_is_kept, prevent_cse=False)


def _is_kept(primitive: Any, *_: Any, **params: Any) -> bool:
    return primitive.name in KEPT or params.get("name") == ops.KEPT


def advance(
    spec: NetworkSpec, cell: CellSpec, params: list[ops.Params], frame: Frame, old: Parts, recurrent: jax.Array | None
) -> Parts:
    """One step of one layer: each of the cell's steps in a row on the state, then zoneout."""
    new, every = old, frame.gates
    if every is None:
        assert frame.x is not None
        every = input_gates(cell, params, frame.x)
    for step, p, gates in zip(cell.steps, params, every, strict=True):
        new = equations.step_of(step)(ops, step, p, gates, new, frame.context, recurrent)
    if frame.zone is not None:
        return equations.zoneout(frame.zone, old, new)
    if spec.zoneout:  # in evaluation each unit keeps its mean
        return equations.zoneout((spec.zoneout,) * len(new), old, new)
    return new


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


def blank(h: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """Zero h (B, …) where a sample has no frames."""
    return h if lengths is None else jnp.where(column(lengths[None] > 0, h[None])[0], h, 0)


def column(a: jax.Array, x: jax.Array) -> jax.Array:
    """Give a (T, B) as many axes as x (T, B, …)."""
    return a.reshape(*a.shape, *(1,) * (x.ndim - 2))
